"""The published test mixtures, against numbers that do not come from our code."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from clipsep.errors import UsageError
from clipsep.evaluation.mixtures import load_sources, read_mixture_list, write_mixture_list
from clipsep.paper.mixtures import (
    published_mixtures,
    published_partners,
    published_start,
)
from tests.helpers.audio import tones, write

# What CPython gives for random.seed(i); random.randint(0, n - 1), i = 0, 1, ...
DRAWN = {
    75: [49, 17, 7, 30, 30, 32, 73, 41, 29, 59, 73, 57],  # clips in test-good-no-music.csv
    5322: [3155, 1100, 463, 1949, 1933, 5102, 4700, 2652, 1857, 3792, 4680, 3705],  # test-no-music
    7: [6, 1, 6, 1, 1, 4, 6, 2, 1, 3, 4, 3],
}


def make_list(path: Path, names: list[str], n_frames: int = 12) -> Path:
    path.write_text(
        "".join(f"data/audio/{n}.wav,data/frames/{n},{n_frames},label {n}\n" for n in names)
    )
    return path


def make_files(root: Path, names: list[str]) -> Path:
    """What the lists name, empty."""
    for name in names:
        (root / "data/audio").mkdir(parents=True, exist_ok=True)
        (root / f"data/audio/{name}.wav").touch()
        (root / f"data/frames/{name}").mkdir(parents=True)
    return root


def published_rule(n_frames: int) -> tuple[int, int, int]:
    """Middle frame, first and last sample of a segment, step by step as the published reader."""
    audio_len, rate, fps = 65_535, 16_000, 1
    center_frame = n_frames // 2
    center_time = (center_frame - 0.5) / fps
    center = int(center_time * rate)
    return center_frame, center - audio_len // 2, center + audio_len // 2


@pytest.mark.parametrize("count", DRAWN)
def test_partners_are_the_published_ones(count: int):
    random.seed(99)  # drawing neither depends on the common generator nor moves it
    expected_next = random.Random(99).random()
    assert published_partners(12, count) == [[number] for number in DRAWN[count]]
    assert random.random() == expected_next


def test_further_partners_are_drawn_by_the_same_generator():
    """As the published reader does with --n_test_sources 4."""
    for index, drawn in enumerate(published_partners(12, 7, 3)):
        random.seed(index)
        assert drawn == [random.randint(0, 6) for _ in range(3)]


@pytest.mark.parametrize(
    ("n_frames", "frame", "start"),
    [(12, 6, 55_233), (11, 5, 39_233), (230, 115, 1_799_233), (3, 1, -24_767)],
)
def test_segments_are_the_published_ones(n_frames: int, frame: int, start: int):
    assert published_rule(n_frames) == (frame, start, start + 65_534)
    assert published_start(n_frames) == start


def test_a_mixture_joins_a_target_and_its_partner(tmp_path: Path):
    targets, others = [f"t{i}" for i in range(12)], [f"o{i}" for i in range(7)]
    make_files(tmp_path, targets + others)
    report = published_mixtures(
        make_list(tmp_path / "targets.csv", targets),
        make_list(tmp_path / "others.csv", others, n_frames=11),
        tmp_path,
    )
    assert not report.left_out and not report.trained_on
    assert [mixture.target.stem for mixture in report.mixtures] == targets
    for number, mixture in enumerate(report.mixtures):
        (interferer,) = mixture.interferers
        assert interferer.path == tmp_path / f"data/audio/o{DRAWN[7][number]}.wav"
        assert interferer.label == f"label o{DRAWN[7][number]}"
        assert (mixture.target_start, interferer.start) == (55_233, 39_233)
        assert mixture.id == f"{number:04d}"
        assert mixture.query == mixture.label == f"label t{number}"
        assert mixture.snr_db is None
        assert mixture.target_frames == tmp_path / f"data/frames/t{number}"
        assert mixture.target_frame == 6


def test_a_mixture_of_four_joins_three_partners(tmp_path: Path):
    targets, others = ["t0", "t1"], [f"o{i}" for i in range(7)]
    make_files(tmp_path, targets + others)
    lists = [make_list(tmp_path / f"{name[0]}.csv", name) for name in (targets, others)]
    report = published_mixtures(*lists, tmp_path, n_sources=4)
    partners = published_partners(2, 7, 3)
    for mixture, numbers in zip(report.mixtures, partners, strict=True):
        assert [one.path.stem for one in mixture.interferers] == [f"o{n}" for n in numbers]


def test_a_written_mixture_sounds(tmp_path: Path):
    make_files(tmp_path, ["x"])
    write(tmp_path / "data/audio/x.wav", tones(16_000, 1, 12.0), 16_000)
    list_file = make_list(tmp_path / "list.csv", ["x"])
    report = published_mixtures(list_file, list_file, tmp_path)
    write_mixture_list(report.mixtures, tmp_path / "lists" / "mixtures.csv")
    (mixture,) = read_mixture_list(tmp_path / "lists" / "mixtures.csv")
    assert load_sources(mixture).any() and mixture.target_frames.is_dir()


def test_downloaded_videos_stand_for_listed_files(tmp_path: Path):
    """By their YouTube id; of several clips of one video the one of the label."""
    target, other = "-3MNphBfq_0", "B5KE79I2f-A"
    names = (
        f"train/label_{target.strip('-')}/{target}_000030.mp4",
        f"test/another_label/{other}_000188.mp4",
        f"test/label_{other}/{other}_000220.mp4",
    )
    for name in names:
        (tmp_path / "videos" / name).parent.mkdir(parents=True)
        (tmp_path / "videos" / name).touch()
    report = published_mixtures(
        make_list(tmp_path / "targets.csv", [target]),
        make_list(tmp_path / "others.csv", [other]),
        tmp_path,
        [tmp_path / "videos"],
    )
    (mixture,) = report.mixtures
    assert mixture.target == mixture.target_frames == tmp_path / "videos" / names[0]
    assert mixture.interferers[0].path == tmp_path / "videos" / names[2]
    assert report.trained_on == [mixture.target]


def test_a_mixture_without_all_of_its_files_is_left_out_and_the_others_keep_their_ids(
    tmp_path: Path,
):
    make_files(tmp_path, ["a", "b", "c"])
    (tmp_path / "data/frames/b").rmdir()
    targets = make_list(tmp_path / "targets.csv", ["a", "b", "c"])
    report = published_mixtures(targets, make_list(tmp_path / "others.csv", ["a"]), tmp_path)
    assert [mixture.id for mixture in report.mixtures] == ["0000", "0002"]
    assert report.left_out == {"0001": "data/frames/b"}


def test_a_target_needs_a_label(tmp_path: Path):
    (tmp_path / "list.csv").write_text("a.wav,f,12\n")
    with pytest.raises(UsageError, match=r"'a\.wav' has no label"):
        published_mixtures(tmp_path / "list.csv", tmp_path / "list.csv")


def test_folders_of_videos_have_to_be_there(tmp_path: Path):
    list_file = make_list(tmp_path / "list.csv", ["x"])
    with pytest.raises(UsageError, match="--videos"):
        published_mixtures(list_file, list_file, tmp_path, [tmp_path / "gone"])
