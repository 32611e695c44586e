"""Laws of the paper's lists: what is read, that splits are the same for all, and what a file is called."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from clipsep.errors import UsageError
from clipsep.paper.public_sets import (
    MUSIC,
    SPLITS,
    VGGSOUND,
    SplitRule,
    read_music,
    read_vggsound,
)

# As in the published files: quoted labels with commas, ids that begin with hyphens.
VGGSOUND_ROWS = """\
---g-f_I2yQ,1,people marching,test
--9O4XZOge4,30,"female speech, woman speaking",train
B5KE79I2f-A,188,wind noise,test
B5KE79I2f-A,220,wind noise,test
-5o4C4ZtHSU,30,police car (siren),train
"""


def video_id(number: int) -> str:
    return f"{number:011d}"


def music_file(path: Path, videos: dict[str, list[str]]) -> Path:
    path.write_text(json.dumps({"version": 1.0, "videos": videos}))
    return path


def test_music_lists_hold_ids_per_label(tmp_path: Path):
    solo = music_file(tmp_path / "solo.json", {"acoustic_guitar": ["IPsA3sz934M", "XTKxjzg1xwM"]})
    duet = music_file(tmp_path / "duet.json", {"flute violin": ["8DHG_hVSw1o", "IPsA3sz934M"]})
    clips = {clip.name: clip for clip in read_music([solo, duet], SplitRule(MUSIC))}
    assert {name: clip.label for name, clip in clips.items()} == {
        "IPsA3sz934M": "acoustic_guitar",  # the first label counts
        "XTKxjzg1xwM": "acoustic_guitar",
        "8DHG_hVSw1o": "flute violin",
    }
    assert clips["8DHG_hVSw1o"].path.endswith("/flute_violin/8DHG_hVSw1o.mp4")
    assert all(clip.start is None and clip.seconds is None for clip in clips.values())


def test_vggsound_has_ten_seconds_from_a_start(tmp_path: Path):
    path = tmp_path / "vggsound.csv"
    path.write_text(VGGSOUND_ROWS)
    clips = {clip.name: clip for clip in read_vggsound(path, SplitRule(VGGSOUND))}
    assert len(clips) == 5
    speech = clips["--9O4XZOge4_000030"]
    assert (speech.video, speech.start, speech.seconds) == ("--9O4XZOge4", 30, 10)
    assert speech.label == "female speech woman speaking"  # as the published lists have it
    assert clips["-5o4C4ZtHSU_000030"].path.endswith("/police_car_siren/-5o4C4ZtHSU_000030.mp4")
    twice = [clips["B5KE79I2f-A_000188"], clips["B5KE79I2f-A_000220"]]
    assert twice[0].split == twice[1].split


@pytest.mark.parametrize("public_set", [MUSIC, VGGSOUND])
def test_sides_have_the_published_shares(public_set):
    rule = SplitRule(public_set)
    splits = [rule.split(video_id(number)) for number in range(20_000)]
    rest = (1 - public_set.train_share) / 2
    for split, share in zip(SPLITS, (public_set.train_share, rest, rest), strict=True):
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.01)


def test_a_side_depends_on_the_id_alone(tmp_path: Path):
    """Whatever else is in the index: what was for training once is never for a test later."""
    ids = [video_id(number) for number in range(300)]
    small = music_file(tmp_path / "small.json", {"flute": ids[:100]})
    large = music_file(tmp_path / "large.json", {"tuba": random.Random(0).sample(ids, len(ids))})
    before = {clip.video: clip.split for clip in read_music([small], SplitRule(MUSIC))}
    after = {clip.video: clip.split for clip in read_music([large, small], SplitRule(MUSIC))}
    assert set(before.values()) == set(SPLITS)
    assert before.items() <= after.items()
    # Literals, so that everyone's splits stay what they are.
    assert [SPLITS.index(before[video]) for video in ids[:8]] == [0, 0, 0, 0, 0, 1, 0, 2]


def test_published_lists_decide_and_the_rest_is_for_training(tmp_path: Path):
    def published(name: str, *ids: str) -> Path:
        path = tmp_path / name
        path.write_text("".join(f"audio/{i}.wav,frames/{i},12,dog\n" for i in ids))
        return path

    ids = [video_id(number) for number in range(500)]
    val, test = published("val.csv", *ids[:20]), published("test.csv", *ids[10:30])
    both = SplitRule(VGGSOUND, {"val": [val], "test": [test]})
    splits = [both.split(video) for video in ids]
    assert splits[:10] == ["val"] * 10
    assert splits[10:30] == ["test"] * 20  # what is in both lists is nothing but a test
    assert set(splits[30:]) == {"train"}
    one = SplitRule(VGGSOUND, {"val": [], "test": [test]})
    assert {one.split(video) for video in ids[30:]} == {"train", "val"}


def test_any_part_of_an_index_has_all_labels(tmp_path: Path):
    videos = {label: [video_id(100 * i + j) for j in range(50)] for i, label in enumerate("abcd")}
    clips = read_music([music_file(tmp_path / "list.json", videos)], SplitRule(MUSIC))
    assert {clip.label for clip in clips[:20]} == set("abcd")
    assert {clip.split for clip in clips[:60]} == set(SPLITS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("abc", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "not a list of MUSIC"),
        ('{"videos": {"flute": "jW_AuF6dQYY"}}', "not a list of MUSIC"),
        (
            '{"videos": {"flute": ["../../etc/pwd"]}}',
            "label 'flute': '../../etc/pwd' is not a YouTube",
        ),
        ('{"videos": {"flute": [3]}}', "3 is not a YouTube id"),
    ],
)
def test_other_json_is_refused_by_name(tmp_path: Path, content: str, problem: str):
    path = tmp_path / "list.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=problem) as caught:
        read_music([path], SplitRule(MUSIC))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "row", ["id,start,label,split", "---g-f_I2yQ,1,people marching", "../../abcde,1,dog,test"]
)
def test_another_csv_is_refused_with_the_line(tmp_path: Path, row: str):
    path = tmp_path / "vggsound.csv"
    path.write_text(VGGSOUND_ROWS + row + "\n")
    with pytest.raises(UsageError, match=r"line 6: "):
        read_vggsound(path, SplitRule(VGGSOUND))


def test_a_missing_index_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"gone\.csv"):
        read_vggsound(tmp_path / "gone.csv", SplitRule(VGGSOUND))
