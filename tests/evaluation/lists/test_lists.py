"""Public lists of their own form, a few rows long: which files are mixed, how, and what is asked for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.lists import read_any
from clipsep.evaluation.lists.export import write_mixtures
from clipsep.evaluation.mixtures import load_sources
from clipsep.metrics import decibels
from tests.helpers.audio import write

RATE = 16_000


def noise(seed: int, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """[1, T], quiet enough not to clip."""
    return (0.1 * np.random.default_rng(seed).standard_normal((1, round(seconds * rate)))).astype(
        np.float32
    )


def table(path: Path, *rows: tuple[object, ...]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def ratio(sources: np.ndarray) -> float:
    return float(decibels(np.sum(sources[0] ** 2), np.sum(sources[1] ** 2)))


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A reference and a mixture as AudioSep's archives call them."""
    target, other = noise(0), noise(1)
    write(tmp_path / "segment-7.wav", target, RATE)
    write(tmp_path / "mixture-7.wav", target + 0.5 * other, RATE)
    return tmp_path


def test_audiosep_finished_mixtures(given):
    header = ("idx", "caption", "src_wav", "noise_wav")
    path = table(given / "esc50.csv", header, (7, "dog", "a-0.wav", "b-1.wav"))
    (mixture,) = read_any(f"audiosep:{path}")
    assert (mixture.id, mixture.query, mixture.label, mixture.sample_rate) == (
        "7",
        "dog",
        "dog",
        32_000,
    )
    sources = load_sources(mixture)
    assert sources.shape == (2, 16_000)
    assert ratio(sources) == pytest.approx(6.02, abs=0.1)


def test_audiosep_recordings_are_mixed_at_equal_energy(tmp_path):
    write(tmp_path / "a-0.wav", noise(0), RATE)
    write(tmp_path / "b-1.wav", 0.2 * noise(1), RATE)
    header = ("idx", "caption", "src_wav", "noise_wav")
    rows = [(0, "dog", "a-0.wav", "b-1.wav"), (1, "rooster", "b-1.wav", "a-0.wav")]
    path = table(tmp_path / "esc50.csv", header, *rows)
    mixtures = read_any(f"audiosep:{path}")
    assert [mixture.interferers[0].label for mixture in mixtures] == ["rooster", "dog"]
    for mixture in mixtures:
        assert ratio(load_sources(mixture)) == pytest.approx(0, abs=1e-3)


def test_audiosep_captions_have_no_class(given):
    header = ("idx", "caption", "src_wav", "noise_wav1", "noise_wav1")
    path = table(given / "clotho.csv", header, (7, "A dog barks, twice", "a.wav", "b.wav", "c.wav"))
    (mixture,) = read_any(f"audiosep:{path}")
    assert (
        mixture.query == "A dog barks, twice" and mixture.label is None and not mixture.interferers
    )


def test_audiosep_vggsound_and_audioset(given):
    header = ("file_id", "mix_wav", "s0_wav", "s0_text", "s1_wav", "s1_text")
    row = ("x+++y", "mixture-7.wav", "segment-7.wav", "skidding", "z.wav", "rapping")
    (mixture,) = read_any(f"audiosep:{table(given / 'vggsound.csv', header, row)}")
    assert (mixture.query, mixture.interferers[0].label) == ("skidding", "rapping")

    folder = given / "class_id=3"
    folder.mkdir()
    for number in range(12):
        for kind in ("source", "mixture"):
            (folder / f"{number:02d},{kind}.wav").write_bytes(
                (given / "segment-7.wav").read_bytes()
            )
    labels = table(given / "labels.csv", ("index", "mid", "display_name"), (3, "/m/1", "Speech"))
    mixtures = read_any(f"audiosep:{labels}")
    assert len(mixtures) == 10 and mixtures[0].id == "3/00" and mixtures[0].query == "Speech"


def test_clapsep_pads_to_ten_seconds(tmp_path):
    write(tmp_path / "a.wav", noise(0), RATE)
    write(tmp_path / "b.wav", noise(1, 12.0), RATE)
    header = ("source_file", "positive_caption", "noise_file", "negative_caption")
    path = table(tmp_path / "list.csv", header, ("a.wav", "a dog barks", "b.wav", "rain falls"))
    (mixture,) = read_any(f"clapsep:{path}")
    assert mixture.interferers[0].label == "rain falls" and mixture.label is None
    sources = load_sources(mixture)
    assert sources.shape == (2, 320_000) and not sources[0, 17_000:].any()
    assert ratio(sources) == pytest.approx(0, abs=1e-3)


def test_dcase_scales_the_noise_and_declips(tmp_path):
    write(tmp_path / "1.wav", 3 * noise(0), RATE)
    write(tmp_path / "2.wav", noise(1), RATE)
    header = ("source", "noise", "snr", "caption")
    path = table(tmp_path / "list.csv", header, (1, 2, -10, "a dog"), (2, 1, 15, "a cat"))
    low, high = read_any(f"dcase:{path}")
    sources = load_sources(low)
    assert ratio(sources) == pytest.approx(-10, abs=1e-3)
    assert np.abs(sources.sum(axis=0)).max() == pytest.approx(0.9, abs=1e-5)
    quiet = load_sources(high)
    assert ratio(quiet) == pytest.approx(15, abs=1e-3)
    assert quiet[0] == pytest.approx(noise(1)[0], abs=1e-6)  # the target keeps its level


def hive_source(path: str, label: str, weight: float, crop: tuple[float, float]) -> dict:
    return {
        "path": path,
        "label": label,
        "chunk_start_second": 0.0,
        "chunk_end_second": 2.0,
        "crop_start_second": crop[0],
        "crop_end_second": crop[1],
        "applied_weight": weight,
    }


def test_hive_takes_stated_pieces_and_every_sound_is_a_target(tmp_path):
    sounds = [noise(seed, 2.0) for seed in range(3)]
    for number, sound in enumerate(sounds):
        write(tmp_path / f"{number}.wav", sound, RATE)
    content = [
        {
            "mix_id": 39,
            "dataset_info": {"sample_rate": RATE, "target_duration": 1.0},
            "sources": [
                hive_source("0.wav", "Pig", 0.5, (0.5, 1.5)),
                hive_source("1.wav", "Boat", 2.0, (0.0, 0.25)),
                hive_source("2.wav", "Rain", 1.0, (1.0, 2.0)),
            ],
            "mixing_params": {"global_normalization_factor": 0.5},
        }
    ]
    path = tmp_path / "hive.json"
    path.write_text(json.dumps(content))
    mixtures = read_any(f"hive:{path}")
    assert [(mixture.id, mixture.query) for mixture in mixtures] == [
        ("39-1", "Pig"),
        ("39-2", "Boat"),
        ("39-3", "Rain"),
    ]
    first, second = load_sources(mixtures[0]), load_sources(mixtures[1])
    assert first.shape == (3, RATE)
    assert first[0] == pytest.approx(0.25 * sounds[0][0, 8000:24_000], abs=1e-6)
    assert second[0, :4000] == pytest.approx(sounds[1][0, :4000], abs=1e-6)
    assert not second[0, 4000:].any()
    assert first.sum(axis=0) == pytest.approx(second.sum(axis=0), abs=1e-6)
    path.write_text(json.dumps([{"mix_id": 1}]))
    with pytest.raises(UsageError, match="mixture 0"):
        read_any(f"hive:{path}")


def test_own_files_of_any_length_and_rate(tmp_path):
    target, other = noise(0, 3.3, 44_100), noise(1, 3.3, 44_100)
    write(tmp_path / "r.wav", target, 44_100)
    write(tmp_path / "m.wav", target + other, 44_100)
    header = ("mixture", "reference", "query", "sample_rate")
    (mixture,) = read_any(
        f"files:{table(tmp_path / 'l.csv', header, ('m.wav', 'r.wav', 'dog', 44100))}"
    )
    assert load_sources(mixture) == pytest.approx(np.concatenate([target, other]), abs=1e-6)


def test_own_recipes_with_several_interferers(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.wav", noise(number), RATE)
    header = ("target", "interferer", "snr_db", "query", "interferer_label")
    row = ("0.wav", "1.wav;2.wav", 5, "dog", "rain;tuba")
    (mixture,) = read_any(f"snr:{table(tmp_path / 'l.csv', header, row)}")
    assert [other.label for other in mixture.interferers] == ["rain", "tuba"]
    sources = load_sources(mixture)
    assert len(sources) == 3 and ratio(sources) == pytest.approx(5, abs=1e-3)


def test_an_id_names_no_file_in_another_folder(given):
    columns = ("id", "mixture", "reference", "query")
    for bad in ("../../evil", "a/../../evil", "..\\evil", "/evil", "C:evil"):
        path = table(given / "l.csv", columns, (bad, "mixture-7.wav", "segment-7.wav", "x"))
        with pytest.raises(UsageError, match="use another id"):
            write_mixtures(f"files:{path}", given / "out" / "files")
        assert not (given / "out").exists()
    row = ("tuba/1..2", "mixture-7.wav", "segment-7.wav", "x")
    write_mixtures(f"files:{table(path, columns, row)}", given / "out")
    files = {str(one.relative_to(given)) for one in (given / "out").rglob("*") if one.is_file()}
    kinds = ("mixture", "reference")
    assert files == {"out/list.csv", *(f"out/{kind}/tuba/1..2.wav" for kind in kinds)}


def test_bad_lists_are_named(given, tmp_path):
    with pytest.raises(UsageError, match="'audiocaps' is not a kind of list"):
        read_any("audiocaps:list.csv")
    with pytest.raises(UsageError, match="Cannot read the list"):
        read_any(f"audiosep:{tmp_path / 'none.csv'}")
    with pytest.raises(UsageError, match="lacks the column 'noise_file'"):
        read_any(f"clapsep:{table(tmp_path / 'l.csv', ('source_file', 'positive_caption'))}")
    header = ("source", "noise", "snr", "caption")
    with pytest.raises(UsageError, match=r"row 2: 'loud' is not a whole number"):
        read_any(f"dcase:{table(tmp_path / 'l.csv', header, (1, 2, 'loud', 'x'))}")
    with pytest.raises(UsageError, match="row 2: the column 'noise' is empty"):
        read_any(f"dcase:{table(tmp_path / 'l.csv', header, (1, '', 3, 'x'))}")
    own = ("target", "interferer", "snr_db", "query")
    for level in ("nan", "inf", "loud"):
        with pytest.raises(UsageError, match=f"'{level}' is not a number: correct 'snr_db'"):
            read_any(f"snr:{table(tmp_path / 'l.csv', own, ('a.wav', 'b.wav', level, 'x'))}")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UsageError, match="is empty"):
        read_any(f"snr:{tmp_path / 'empty.csv'}")
    (tmp_path / "hive.json").write_text("{}")
    with pytest.raises(UsageError, match="is not Hive's metadata"):
        read_any(f"hive:{tmp_path / 'hive.json'}")
    (tmp_path / "hive.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="Cannot read the list"):
        read_any(f"hive:{tmp_path / 'hive.json'}")
    with pytest.raises(UsageError, match=r"the sound '.*1\.wav' does not exist"):
        read_any(f"dcase:{table(tmp_path / 'l.csv', header, (1, 2, 3, 'x'))}")
    with pytest.raises(UsageError, match="Cannot read the folder"):
        read_any(
            f"audiosep:{table(tmp_path / 'l.csv', ('index', 'display_name'), ('x' * 300, 'x'))}"
        )
    write(tmp_path / "mixture-7.wav", noise(0, 1.0), RATE)
    row = ("mixture-7.wav", "segment-7.wav", "x")
    path = table(tmp_path / "l.csv", ("mixture", "reference", "query"), row)
    with pytest.raises(ClipsepError, match=r"differ in length by 0\.50 s"):
        load_sources(read_any(f"files:{path}")[0])
