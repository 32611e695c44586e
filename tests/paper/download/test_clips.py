"""Laws of downloading: never too much at once, nothing twice, nothing lost, an honest record."""

from __future__ import annotations

import csv
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from clipsep.errors import ClipsepError
from clipsep.paper.download.clips import DownloadSettings, download
from clipsep.paper.download.youtube import FetchFailed, VideoMissing
from clipsep.paper.public_sets import ListedClip
from tests.helpers.audio import tones, write, write_video

LONGER_THAN = 1.0
QUICK = DownloadSettings(workers=3, pause=0, retries=2)
CLIPS = [
    ListedClip(f"{number:011d}", None, None, label, split)
    for number, (label, split) in enumerate(
        [("dog barking", "train"), ("flute", "train"), ("flute", "val"), ("rain", "test")] * 3
    )
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    write_video(path, seconds=2.0)
    return path


class FakeFetch:
    """Copies one video for every clip, or raises what is planned for it, in order.

    ``asked`` counts the requests per clip, ``most`` is the largest number of them at one time.
    """

    def __init__(self, video: Path, **plans: list[Exception | Path]):
        self.video = video
        self.plans = {name.strip("_"): list(plan) for name, plan in plans.items()}
        self.asked: Counter[str] = Counter()
        self.most = 0
        self.together: threading.Barrier | None = None  # all of them have to be here to go on
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, clip: ListedClip, folder: Path, cancelled: threading.Event) -> Path:
        with self._lock:
            self.asked[clip.name] += 1
            self._now += 1
            self.most = max(self.most, self._now)
            plan = self.plans.get(clip.name, [])
            step = plan.pop(0) if len(plan) > 1 else next(iter(plan), self.video)
        if self.together:
            self.together.wait()
        time.sleep(0.005)  # so that one more than allowed would be seen
        with self._lock:
            self._now -= 1
        if isinstance(step, BaseException):
            raise step
        return Path(shutil.copy(step, folder / "video.mp4"))


def failing(times: int = 1) -> list:
    """A plan: fail so many times; its last step goes on for ever."""
    return [FetchFailed("HTTP Error 429", wait=0.001)] * times


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_clip_comes_to_its_place_with_its_label(video: Path, tmp_path: Path):
    seen = []
    fetch = FakeFetch(video)
    report = download(CLIPS, tmp_path, fetch, LONGER_THAN, QUICK, lambda *step: seen.append(step))
    assert (report.stored, report.already_there) == (12, 0)
    assert not report.missing and not report.failed
    assert set(fetch.asked.values()) == {1}
    assert seen == [(number, 12) for number in range(1, 13)]
    for clip in CLIPS:
        assert (tmp_path / clip.path).read_bytes() == video.read_bytes()
    assert rows(tmp_path / "train" / "labels.csv")[:2] == [
        ["path", "label"],
        ["dog_barking/00000000000.mp4", "dog barking"],
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test", "train", "val"]


@pytest.mark.parametrize("workers", [1, 4])
def test_as_many_at_once_as_allowed_and_never_more(video: Path, tmp_path: Path, workers: int):
    fetch = FakeFetch(video)
    fetch.together = threading.Barrier(workers, timeout=30)
    download(CLIPS, tmp_path, fetch, LONGER_THAN, DownloadSettings(workers, pause=0))
    assert fetch.most == workers


def test_a_resumed_download_is_an_unbroken_one(video: Path, tmp_path: Path):
    """Ctrl-C, then a kill that leaves half a file, then the same call again."""
    gone = [VideoMissing("Private video")]
    missing = {"_00000000004_": gone, "_00000000002_": gone, "_00000000009_": gone}
    download(CLIPS, tmp_path / "whole", FakeFetch(video, **missing), LONGER_THAN, QUICK)

    broken = FakeFetch(video, **missing, _00000000007_=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        download(CLIPS, tmp_path / "broken", broken, LONGER_THAN, QUICK)
    known = {clip.name for clip in CLIPS if (tmp_path / "broken" / clip.path).is_file()}
    if (tmp_path / "broken" / "missing.csv").exists():
        known |= {name for name, _ in rows(tmp_path / "broken" / "missing.csv")[1:]}
    half = tmp_path / "broken" / "partial" / CLIPS[7].name / "video.mp4.part"
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(b"half a video")
    (half.parent.parent / CLIPS[0].name).mkdir(exist_ok=True)  # killed after the file was moved out
    broken.plans.pop("00000000007")
    report = download(CLIPS, tmp_path / "broken", broken, LONGER_THAN, QUICK)

    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert report.stored + report.already_there == 9
    assert known and all(broken.asked[name] == 1 for name in known)


def test_a_missing_video_is_recorded_once_and_not_asked_for_again(video: Path, tmp_path: Path):
    name = CLIPS[1].name
    fetch = FakeFetch(video, _00000000001_=[VideoMissing("Private video")])
    for _ in range(2):
        report = download(CLIPS, tmp_path, fetch, LONGER_THAN, QUICK)
        assert report.missing == {name: "Private video"}
    assert fetch.asked[name] == 1
    again = DownloadSettings(workers=1, pause=0, retry_missing=True)
    download(CLIPS, tmp_path, fetch, LONGER_THAN, again)
    assert fetch.asked[name] == 2
    assert rows(tmp_path / "missing.csv") == [["id", "reason"], [name, "Private video"]]
    fetch.plans.clear()  # it came back
    report = download(CLIPS, tmp_path, fetch, LONGER_THAN, again)
    assert report.stored == 1 and not report.missing
    assert rows(tmp_path / "missing.csv") == [["id", "reason"]]


def test_a_clip_too_short_or_without_frames_is_missing(video: Path, tmp_path: Path):
    sound = write(tmp_path / "sound.wav", tones(16_000, 1, 2.0), 16_000)
    fetch = FakeFetch(video, _00000000000_=[sound])
    report = download(CLIPS[:2], tmp_path / "out", fetch, 2.0, QUICK)
    assert report.missing == {CLIPS[0].name: "has no frames", CLIPS[1].name: "only 2.0 s long"}
    assert set(files(tmp_path / "out")) == {"missing.csv", "train/labels.csv"}


def test_passing_failures_are_tried_again_and_not_recorded(video: Path, tmp_path: Path):
    plan = [*failing(2), video]
    fetch = FakeFetch(video, _00000000000_=list(plan), _00000000005_=list(plan))
    report = download(CLIPS, tmp_path, fetch, LONGER_THAN, QUICK)
    assert report.stored == 12 and not report.failed
    assert fetch.asked[CLIPS[0].name] == fetch.asked[CLIPS[5].name] == 3
    assert not (tmp_path / "missing.csv").exists()


def test_one_clip_that_goes_on_failing_keeps_no_other_away(video: Path, tmp_path: Path):
    """With one worker too: it goes to the end of the queue, and is left for the next run."""
    fetch = FakeFetch(video, _00000000000_=failing())
    settings = DownloadSettings(workers=1, pause=0, retries=2)
    report = download(CLIPS, tmp_path, fetch, LONGER_THAN, settings)
    assert report.stored == 11
    assert report.failed == {CLIPS[0].name: "HTTP Error 429"}
    assert fetch.asked[CLIPS[0].name] == 3
    assert not report.missing and not (tmp_path / "missing.csv").exists()
    fetch.plans.clear()
    assert download(CLIPS, tmp_path, fetch, LONGER_THAN, settings).stored == 1


def test_what_arrives_damaged_is_fetched_again(video: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("clipsep.paper.download.youtube.FAILED_WAIT", 0.001)
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"<html>Too many requests</html>")
    fetch = FakeFetch(video, _00000000000_=[junk, video])
    assert download(CLIPS[:4], tmp_path / "out", fetch, LONGER_THAN, QUICK).stored == 4


def test_a_server_that_refuses_everything_ends_it_and_what_is_there_stays(
    video: Path, tmp_path: Path
):
    download(CLIPS[:4], tmp_path, FakeFetch(video), LONGER_THAN, QUICK)
    kept = files(tmp_path)
    refused = FakeFetch(video, **{f"_{clip.name}_": failing() for clip in CLIPS})
    with pytest.raises(ClipsepError, match=r"HTTP Error 429.*run the same command again"):
        download(CLIPS, tmp_path, refused, LONGER_THAN, QUICK)
    assert sum(refused.asked.values()) < len(CLIPS[4:]) * (QUICK.retries + 1)  # it gave up before
    assert not (tmp_path / "missing.csv").exists()
    assert {
        name: files(tmp_path)[name] for name in kept if name.endswith(".mp4")
    }.items() <= kept.items()
    assert download(CLIPS, tmp_path, FakeFetch(video), LONGER_THAN, QUICK).stored == 8


def test_a_full_disk_ends_it_at_once(video: Path, tmp_path: Path):
    fetch = FakeFetch(video, _00000000002_=[ClipsepError("The disk is full.")])
    with pytest.raises(ClipsepError, match="disk is full"):
        download(CLIPS, tmp_path, fetch, LONGER_THAN, DownloadSettings(workers=1, pause=0))
    assert fetch.asked[CLIPS[2].name] == 1


def test_a_video_follows_its_side_instead_of_being_on_two(video: Path, tmp_path: Path):
    fetch = FakeFetch(video)
    download(CLIPS[:2], tmp_path, fetch, LONGER_THAN, QUICK)
    moved = [replace(clip, split="test") for clip in CLIPS[:2]]
    assert download(moved, tmp_path, fetch, LONGER_THAN, QUICK).already_there == 2
    assert not list((tmp_path / "train").rglob("*.mp4"))
    assert len(list((tmp_path / "test").rglob("*.mp4"))) == 2


def test_a_second_index_adds_to_the_labels(video: Path, tmp_path: Path):
    for part in (CLIPS[:1], CLIPS[1:2]):
        download(part, tmp_path, FakeFetch(video), LONGER_THAN, QUICK)
    assert len(rows(tmp_path / "train" / "labels.csv")) == 3
