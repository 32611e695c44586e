"""Laws of lists of mixtures: what is written is read, what is wrong is named, how a row sounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.mixtures import (
    SEGMENT,
    Interferer,
    Mixture,
    load_frames,
    load_sources,
    read_mixture_list,
    write_mixture_list,
)
from clipsep.media import read_audio
from tests.helpers.audio import write, write_video

HEADER = "id,target,target_start,interferer,interferer_start,snr_db,query,label,interferer_label"


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    """A clip longer than a segment and one shorter, and the frames of the first."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 80_000)).astype(np.float32)
    target = write(tmp_path / "target.wav", noise[:1], 16_000)
    other = write(tmp_path / "other.wav", noise[1:, :30_000], 16_000)
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(1, 6):
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(frames / f"{number:06d}.jpg")
    interferers = (Interferer(other, 700, "dog"),)
    return Mixture("0000", target, 500, interferers, None, "tuba", "tuba", frames, 3)


def with_interferer(mixture: Mixture, path: Path) -> Mixture:
    return replace(mixture, interferers=(replace(mixture.interferers[0], path=path),))


def samples(path: Path) -> np.ndarray:
    return read_audio(path, mono=True)[0]


def test_what_is_written_is_read(mixture: Mixture, tmp_path: Path):
    mixtures = [
        mixture,
        replace(
            mixture,
            id="0001",
            snr_db=-2.5,
            target_start=-300,
            target_frames=None,
            target_frame=None,
        ),
        replace(mixture, id="0002", interferers=mixture.interferers * 3),
        replace(
            mixture, id="0003", interferers=(Interferer(mixture.target, -5, None),) * 2, label=None
        ),
    ]
    path = tmp_path / "lists" / "mixtures.csv"
    write_mixture_list(mixtures, path)
    assert "../target.wav" in path.read_text()  # the folder may move, as a whole
    found = read_mixture_list(path, must_exist=True)
    assert [resolved(mixture) for mixture in found] == mixtures


def resolved(mixture: Mixture) -> Mixture:
    """Without the dots of relative paths."""
    return replace(
        mixture,
        target=mixture.target.resolve(),
        interferers=tuple(replace(one, path=one.path.resolve()) for one in mixture.interferers),
        target_frames=mixture.target_frames and mixture.target_frames.resolve(),
    )


def test_columns_of_frames_may_be_absent(tmp_path: Path):
    path = tmp_path / "mixtures.csv"
    # With the byte order mark of spreadsheet programs.
    path.write_text(f"{HEADER}\n0000,a.ogg,5,b/c.ogg,0,3.5,siren,siren,rain\n", "utf-8-sig")
    (mixture,) = read_mixture_list(path)
    rain = Interferer(tmp_path / "b/c.ogg", 0, "rain")
    assert mixture == Mixture("0000", tmp_path / "a.ogg", 5, (rain,), 3.5, "siren", "siren")


def test_several_interferers_and_another_root(tmp_path: Path):
    path = tmp_path / "mixtures.csv"
    path.write_text(f"{HEADER}\n0,a.ogg,5,b.ogg; c.ogg,0;7,,siren,siren,rain;\n")
    (mixture,) = read_mixture_list(path, root=Path("/sounds"))
    assert mixture.target == Path("/sounds/a.ogg")
    assert mixture.interferers == (
        Interferer(Path("/sounds/b.ogg"), 0, "rain"),
        Interferer(Path("/sounds/c.ogg"), 7, None),
    )


def test_a_sound_that_is_not_there_is_refused_with_its_line(mixture: Mixture, tmp_path: Path):
    path = tmp_path / "mixtures.csv"
    write_mixture_list(
        [mixture, replace(with_interferer(mixture, tmp_path / "gone.wav"), id="1")], path
    )
    assert len(read_mixture_list(path)) == 2
    with pytest.raises(UsageError, match=r"line 3: the sound '.*gone\.wav' does not exist"):
        read_mixture_list(path, must_exist=True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("id,target\n0,a.wav\n", "lacks the column 'target_start'"),
        (f"{HEADER}\n", "lists no mixtures"),
        (f"{HEADER}\n0,a,1,b,2,,x,x,y\n0,a,one,b,2,,x,x,y\n", "line 3: 'one' is not a number"),
        (f"{HEADER}\n0,a,{'9' * 400},b,2,,x,x,y\n", "line 2: '9+' is not a number"),
        (f"{HEADER}\n0,a,1,b,2,loud,x,x,y\n", "line 2: 'loud' is not a number: correct 'snr_db'"),
        (f"{HEADER}\n0,a,1,b,2,,,x,y\n", "line 2: 'query' is empty"),
        (f"{HEADER}\n0,a,1,b,2,nan,x,x,y\n", "line 2: 'nan' is not a number: correct 'snr_db'"),
        (f"{HEADER}\n0,a,1\n", "line 2: 'interferer' is empty"),
        (f"{HEADER}\n0,a,1,b,2,,x,x,y\n0,a,1,b,2,,x,x,y\n", "line 3: the id '0' is taken"),
        (f"{HEADER}\n0,a,1,b;c,2,,x,x,y\n", "line 2: 'interferer' has 2 and 'interferer_start' 1"),
    ],
)
def test_a_wrong_list_is_refused_by_name_and_line(tmp_path: Path, content: str, problem: str):
    path = tmp_path / "mixtures.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=problem) as caught:
        read_mixture_list(path)
    assert str(path) in str(caught.value)


def test_a_missing_list_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"gone\.csv"):
        read_mixture_list(tmp_path / "gone.csv")


def test_published_levels_are_halved_and_one_sample_is_left_out(mixture: Mixture):
    target, other = load_sources(mixture)
    assert target.shape == other.shape == (SEGMENT,)
    expected = samples(mixture.target)[500 : 500 + SEGMENT] / 2
    assert np.array_equal(target[:-1], expected[:-1]) and target[-1] == 0
    short = samples(mixture.interferers[0].path)
    assert np.array_equal(
        other[:-1], np.take(short, np.arange(700, 700 + SEGMENT - 1), mode="wrap") / 2
    )


def test_beyond_the_ends_of_a_long_clip_is_silence(mixture: Mixture):
    before, _ = load_sources(replace(mixture, target_start=-1000))
    assert not before[:1000].any()
    assert np.array_equal(before[1000:-1], samples(mixture.target)[: SEGMENT - 1001] / 2)
    behind, _ = load_sources(replace(mixture, target_start=40_000))
    assert np.array_equal(behind[:40_000], samples(mixture.target)[40_000:] / 2)
    assert not behind[40_000:].any()


def test_a_level_difference_is_kept(mixture: Mixture):
    target, other = load_sources(replace(mixture, snr_db=6.0))
    rms = [float(np.sqrt(np.mean(source**2))) for source in (target, other)]
    assert rms[0] == pytest.approx(0.05, rel=1e-4)
    assert 20 * np.log10(rms[0] / rms[1]) == pytest.approx(6.0, abs=1e-3)


def test_every_interferer_has_its_level(mixture: Mixture):
    three = replace(
        mixture, interferers=(*mixture.interferers, Interferer(mixture.target, 9000, "tuba"))
    )
    rms = np.sqrt(np.mean(load_sources(replace(three, snr_db=20.0)) ** 2, axis=1))
    assert rms == pytest.approx([0.05, 0.005, 0.005], rel=1e-4)


def test_further_published_interferers_are_averaged_to_one_source(mixture: Mixture):
    """As the published reader does above two sounds: the level of the target stays."""
    other = Interferer(mixture.target, 9000, "tuba")
    three = load_sources(replace(mixture, interferers=(*mixture.interferers, other)))
    alone = load_sources(replace(mixture, interferers=(other,)))
    assert three.shape == (2, SEGMENT)
    assert np.array_equal(three[0], load_sources(mixture)[0])
    assert np.allclose(three[1], (load_sources(mixture)[1] + alone[1]) / 2, atol=1e-7)


def test_a_silent_source_has_no_level(mixture: Mixture, tmp_path: Path):
    silent = write(tmp_path / "silent.wav", np.zeros((1, 70_000), np.float32), 16_000)
    with pytest.raises(ClipsepError, match=r"silent\.wav' is silent"):
        load_sources(replace(with_interferer(mixture, silent), snr_db=0.0))
    assert not load_sources(with_interferer(mixture, silent))[1].any()


def test_the_query_is_three_frames_around_the_middle(mixture: Mixture):
    def reds(mixture: Mixture) -> list[int]:
        return [round(frame.getpixel((4, 4))[0] / 10) for frame in load_frames(mixture)]

    assert reds(mixture) == [2, 3, 4]
    assert reds(replace(mixture, target_frame=5)) == [4, 5]
    with pytest.raises(ClipsepError, match="no frame 9"):
        load_frames(replace(mixture, target_frame=9))
    with pytest.raises(ClipsepError, match="names no frames"):
        load_frames(replace(mixture, target_frames=None))


def test_a_video_has_frames_too(mixture: Mixture, tmp_path: Path):
    path = tmp_path / "video.mp4"
    write_video(path, size=(224, 224))  # the red of frame k, at k / 10 s, is 8 k
    frames = load_frames(replace(mixture, target_frames=path, target_frame=2))
    assert [frame.getpixel((150, 100))[0] for frame in frames] == pytest.approx(
        [40, 120, 200], abs=12
    )
