"""The published test mixtures, against numbers that do not come from our code."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from clipsep.errors import UsageError
from clipsep.evaluation.pairs import load_sources, read_pairs, write_pairs
from clipsep.evaluation.published_pairs import published_pairs
from tests.test_media import tones, write, write_video

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


def published_rule(n_frames: int) -> tuple[int, int, int]:
    """Middle picture, first and last sample of a segment, step by step as the published reader."""
    audio_len, rate, fps = 65_535, 16_000, 1
    center_frame = n_frames // 2
    center_time = (center_frame - 0.5) / fps
    center = int(center_time * rate)
    return center_frame, center - audio_len // 2, center + audio_len // 2


@pytest.mark.parametrize("count", DRAWN)
def test_interferers_are_the_published_ones(tmp_path: Path, count: int):
    targets = make_list(tmp_path / "targets.csv", [f"t{i}" for i in range(12)])
    others = make_list(tmp_path / "others.csv", [f"o{i}" for i in range(count)])
    random.seed(99)  # drawing neither depends on the common generator nor moves it
    expected_next = random.Random(99).random()
    pairs = published_pairs(targets, others, tmp_path).pairs
    assert random.random() == expected_next
    assert [pair.query for pair in pairs] == [f"label t{i}" for i in range(12)]
    assert [pair.interferers[0].label for pair in pairs] == [f"label o{i}" for i in DRAWN[count]]
    assert [pair.id for pair in pairs[:2]] == ["0000", "0001"]
    assert all(pair.snr_db is None for pair in pairs)


@pytest.mark.parametrize(
    ("n_frames", "frame", "start"),
    [(12, 6, 55_233), (11, 5, 39_233), (230, 115, 1_799_233), (3, 1, -24_767)],
)
def test_segments_are_the_published_ones(tmp_path: Path, n_frames: int, frame: int, start: int):
    assert published_rule(n_frames) == (frame, start, start + 65_534)
    list_file = make_list(tmp_path / "list.csv", ["x"], n_frames)
    (pair,) = published_pairs(list_file, list_file, tmp_path).pairs
    assert (pair.target_frame, pair.target_start, pair.interferers[0].start) == (
        frame,
        start,
        start,
    )


def test_files_of_the_lists_are_found_below_the_root(tmp_path: Path):
    root = tmp_path / "root"
    for folder in ("data/audio", "data/frames/x"):
        (root / folder).mkdir(parents=True)
    write(root / "data/audio/x.wav", tones(16_000, 1, 12.0), 16_000)
    Image.new("RGB", (8, 8)).save(root / "data/frames/x/000006.jpg")
    list_file = make_list(tmp_path / "list.csv", ["x"])
    report = published_pairs(list_file, list_file, tmp_path, root)
    assert report.not_found == []
    write_pairs(report.pairs, tmp_path / "lists" / "pairs.csv")
    (pair,) = read_pairs(tmp_path / "lists" / "pairs.csv")
    assert load_sources(pair).any() and pair.target_frames.is_dir()


def test_downloaded_videos_stand_for_listed_files(tmp_path: Path):
    """By their YouTube id; of several clips of one video the one of the label."""
    target, other = "-3MNphBfq_0", "B5KE79I2f-A"
    videos = tmp_path / "videos"
    names = (
        f"train/label_{target}/{target}_000030",
        f"test/another_label/{other}_000188",
        f"test/label_{other}/{other}_000220",
    )
    for name in names:
        (videos / name).parent.mkdir(parents=True)
        write_video(videos / f"{name}.mp4", seconds=1.0)
    report = published_pairs(
        make_list(tmp_path / "targets.csv", [target]),
        make_list(tmp_path / "others.csv", [other]),
        tmp_path,
        tmp_path,
        [videos],
    )
    (pair,) = report.pairs
    assert pair.target == pair.target_frames == videos / f"{names[0]}.mp4"
    assert pair.interferers[0].path == videos / f"{names[2]}.mp4"
    assert report.not_found == []
    assert report.trained_on == [pair.target]


def test_what_is_not_there_is_named_and_kept(tmp_path: Path):
    list_file = make_list(tmp_path / "list.csv", ["x"])
    report = published_pairs(list_file, list_file, tmp_path / "out")
    assert report.not_found == [
        tmp_path / "out" / name
        for name in ("data/audio/x.wav", "data/frames/x", "data/audio/x.wav")
    ]
    assert report.pairs[0].target == tmp_path / "out/data/audio/x.wav"


def test_a_target_needs_a_label(tmp_path: Path):
    (tmp_path / "list.csv").write_text("a.wav,f,12\n")
    with pytest.raises(UsageError, match=r"'a\.wav' has no label"):
        published_pairs(tmp_path / "list.csv", tmp_path / "list.csv", tmp_path)
