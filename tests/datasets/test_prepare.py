"""Laws of prepare: each video once, bad ones listed, the same files whoever did the work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from clipsep.datasets.prepare import videos as videos_module
from clipsep.datasets.prepare.videos import find_videos, prepare
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import hold
from tests.helpers.audio import tones, write, write_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two good videos in folders, and one of each kind that is of no use."""
    folder = tmp_path / "videos"
    for name in ("dog/a.mp4", "cat/b.mp4"):
        (folder / name).parent.mkdir(parents=True)
        write_video(folder / name, seconds=3.0)
    (folder / "broken.mp4").write_bytes((folder / "dog/a.mp4").read_bytes()[:3000])
    write_video(folder / "silent.mp4", seconds=2.0, gain=0.0)
    (folder / "notes.txt").write_text("not a video")
    return folder


def test_good_videos_are_stored_and_bad_ones_listed_with_a_reason(videos: Path, tmp_path: Path):
    found = find_videos([videos])
    assert [video.id for video in found] == ["broken.mp4", "cat/b.mp4", "dog/a.mp4", "silent.mp4"]
    report = prepare(found, tmp_path / "out", workers=1)
    assert (report.stored, report.already_there) == (2, 0)
    assert set(report.rejected) == {"broken.mp4", "silent.mp4"}
    assert "silent" in report.rejected["silent.mp4"]
    dataset = PreparedDataset(tmp_path / "out")
    assert [clip.id for clip in dataset.clips] == ["cat/b.mp4", "dog/a.mp4"]
    assert all(clip.n_frames == 3 for clip in dataset.clips)
    assert dataset.frames(dataset.clips[0])[0].size == (224, 224)


def test_a_fault_of_ours_costs_one_video_and_names_it(videos: Path, tmp_path: Path, monkeypatch):
    read = videos_module.read_video

    def faulty(path: Path, *arguments: object):
        if path.name == "a.mp4":
            raise AttributeError("'NoneType' object has no attribute 'name'")
        return read(path, *arguments)

    monkeypatch.setattr(videos_module, "read_video", faulty)
    report = prepare(find_videos([videos]), tmp_path / "out", workers=1)
    assert report.stored == 1
    reason = report.rejected["dog/a.mp4"]
    assert "a.mp4' cannot be processed" in reason and "AttributeError" in reason


def test_finished_videos_are_not_decoded_again(videos: Path, tmp_path: Path, monkeypatch):
    from clipsep.datasets.prepare import videos as module

    decoded = []
    read = module.read_video

    def interrupted(path, sample_rate):
        if len(decoded) == 3:
            raise KeyboardInterrupt
        decoded.append(path.name)
        return read(path, sample_rate)

    monkeypatch.setattr(module, "read_video", interrupted)
    found = find_videos([videos])
    with pytest.raises(KeyboardInterrupt):
        prepare(found, tmp_path / "out", workers=1)
    monkeypatch.setattr(
        module, "read_video", lambda path, rate: decoded.append(path.name) or read(path, rate)
    )
    report = prepare(found, tmp_path / "out", workers=1)
    assert sorted(decoded) == ["a.mp4", "b.mp4", "broken.mp4", "silent.mp4"]
    assert report.stored + report.already_there == 2 and len(report.rejected) == 2
    assert len(PreparedDataset(tmp_path / "out")) == 2


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory) -> Path:
    """More videos than a shard holds, some of them silent or broken."""
    folder = tmp_path_factory.mktemp("many")
    write_video(folder / "000.mp4", seconds=1.0)
    for number in range(1, 70):
        shutil.copy(folder / "000.mp4", folder / f"{number:03d}.mp4")
    write_video(folder / "silent.mp4", seconds=1.0, gain=0.0)
    (folder / "033.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="module")
def prepared(many_videos: Path, tmp_path_factory) -> dict[str, bytes]:
    """What one process makes of them."""
    output = tmp_path_factory.mktemp("prepared") / "out"
    prepare(find_videos([many_videos]), output, workers=1)
    return files(output)


@pytest.mark.parametrize("place", ["processes", "Ray"], indirect=True)
def test_the_files_are_the_same_whoever_made_them(many_videos, prepared, place, tmp_path):
    calls = []
    report = prepare(
        find_videos([many_videos]), tmp_path, progress=lambda *call: calls.append(call), **place
    )
    assert (report.stored, len(report.rejected)) == (69, 2)
    assert calls == [(number, 71) for number in range(1, 72)]
    assert files(tmp_path) == prepared
    assert len(prepared) == 4  # two shards, the index and rejected.csv


@pytest.mark.parametrize("place", ["processes", "Ray"], indirect=True)
def test_the_files_are_the_same_after_a_death_and_an_interrupt(
    many_videos, prepared, place, tmp_path, monkeypatch
):
    marker = tmp_path / "killed"
    monkeypatch.setattr(videos_module, "_Stage", partial(KilledOnce, marker))
    output = tmp_path / "out"

    def interrupt(finished: int, _: int) -> None:
        if finished == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(find_videos([many_videos]), output, progress=interrupt, **place)
    assert marker.exists() and not (output / "index.arrow").exists()
    report = prepare(find_videos([many_videos]), output, workers=1)
    assert 0 < report.stored < 40
    assert files(output) == prepared


@dataclass(frozen=True)
class KilledOnce(videos_module._Stage):
    """Kills its process when it meets a certain video for the first time."""

    def __init__(self, marker: Path, output: Path):
        super().__init__(output)
        object.__setattr__(self, "marker", marker)

    def __call__(self, video):
        if video.id == "005.mp4" and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(video)


@pytest.mark.slow
def test_a_video_that_kills_its_workers_is_rejected(many_videos, tmp_path, monkeypatch):
    monkeypatch.setattr(videos_module, "_Stage", KilledAlways)
    found = find_videos([many_videos])[:12]
    report = prepare(found, tmp_path, workers=2)
    assert list(report.rejected) == ["005.mp4"] and "killed" in report.rejected["005.mp4"]
    assert len(PreparedDataset(tmp_path)) == 11


class KilledAlways(videos_module._Stage):
    def __call__(self, video):
        if video.id == "005.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(video)


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_damages_nothing(many_videos, prepared, tmp_path):
    """A limit on the size of files stands for the disk: the second shard does not fit."""
    output = tmp_path / "out"
    limit = max(map(len, prepared.values())) - 1
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from clipsep.cli import main
sys.exit(main(["prepare", {str(many_videos)!r}, "-o", {str(output)!r}, "--workers", "1"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"clipsep: error: Cannot write to '{output}': ")
    assert done.stderr.count("\n") == 1
    with pytest.raises(ClipsepError, match="not finished"):
        PreparedDataset(output)
    prepare(find_videos([many_videos]), output, workers=1)
    assert files(output) == prepared


def test_a_folder_that_workers_do_not_see_is_no_reason_to_reject(videos, tmp_path):
    found = find_videos([videos])
    shutil.rmtree(videos)
    with pytest.raises(ClipsepError, match="does not see the folder"):
        prepare(found, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "rejected.csv").exists()


def test_the_list_of_what_was_rejected_may_be_edited_in_a_spreadsheet(videos, tmp_path):
    prepare(find_videos([videos]), tmp_path / "out", workers=1)
    path = tmp_path / "out" / "rejected.csv"
    path.write_text(path.read_text(), "utf-8-sig")
    report = prepare(find_videos([videos]), tmp_path / "out", workers=1)
    assert report.stored == 0 and list(report.rejected) == ["broken.mp4", "silent.mp4"]


def test_labels_come_from_the_csv_only(videos: Path, tmp_path: Path):
    labels = tmp_path / "labels.csv"
    # With the byte order mark of spreadsheet programs.
    labels.write_text("path,label\ndog/a.mp4,dog barking\n", "utf-8-sig")
    prepare(find_videos([videos], labels), tmp_path / "out", workers=1)
    dataset = PreparedDataset(tmp_path / "out")
    assert [clip.label for clip in dataset.clips] == [None, "dog barking"]
    labels.write_text("file;class\n")
    with pytest.raises(UsageError, match="path,label"):
        find_videos([videos], labels)
    labels.write_text("path,label\nvideos/dog/a.mp4,dog barking\n")
    with pytest.raises(UsageError, match=r"names none of the videos.*'broken\.mp4'"):
        find_videos([videos], labels)


def test_labels_that_come_later_make_the_same_clips(videos: Path, tmp_path: Path):
    labels, early, late = tmp_path / "labels.csv", tmp_path / "early", tmp_path / "late"
    labels.write_text("path,label\ndog/a.mp4,dog barking\ncat/b.mp4,meowing\n")
    prepare(find_videos([videos], labels), early, workers=1)
    prepare(find_videos([videos]), late, workers=1)
    assert PreparedDataset(late).labels == []
    report = prepare(find_videos([videos], labels), late, workers=1)
    assert report.stored == 0
    assert PreparedDataset(late).clips == PreparedDataset(early).clips
    prepare(find_videos([videos]), late, workers=1)
    assert PreparedDataset(late).labels == ["dog barking", "meowing"], "without a CSV they stay"
    labels.write_text("path,label\ndog/a.mp4,howling\ncat/b.mp4,\n")
    prepare(find_videos([videos], labels), late, workers=1)
    assert [clip.label for clip in PreparedDataset(late).clips] == [None, "howling"]


def test_the_folder_of_the_videos_is_no_output_folder(videos: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(videos)
    before = files(videos)
    for output in (videos, tmp_path / "link"):
        with pytest.raises(UsageError, match="folder of the videos, too"):
            prepare(find_videos([videos]), output, workers=1)
    assert files(videos) == before


def test_a_shard_that_was_cut_off_is_replaced(videos: Path, tmp_path: Path):
    output, labels = tmp_path / "out", tmp_path / "labels.csv"
    labels.write_text("path,label\ndog/a.mp4,dog barking\n")
    prepare(find_videos([videos], labels), output, workers=1)
    expected = list(PreparedDataset(output).clips)
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:5000]), Path.unlink):
        damage(next((output / "shards").iterdir()))
        with pytest.raises(ClipsepError, match="prepare' again"):
            PreparedDataset(output)
        assert prepare(find_videos([videos]), output, workers=1).stored == 2
        dataset = PreparedDataset(output)
        assert list(dataset.clips) == expected, "the labels as well"
        assert len(dataset.frames(dataset.clips[0])) == 3


def test_sources_that_cannot_be_used_are_named(videos: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="does not exist"):
        find_videos([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no video file \\("):
        find_videos([tmp_path / "empty"])
    with pytest.raises(UsageError, match="would both be called"):
        find_videos([videos / "dog", videos / "dog/a.mp4"])


def test_a_sound_file_is_no_video(tmp_path: Path):
    path = write(tmp_path / "sound.wav", tones(16000, 1), 16000)
    report = prepare(find_videos([path]), tmp_path / "out", workers=1)
    assert report.stored == 0 and "no video" in report.rejected["sound.wav"]


def test_a_data_set_is_written_by_one_process_at_a_time(videos: Path, tmp_path: Path):
    staging = tmp_path / "out" / "staging"
    staging.mkdir(parents=True)
    held = hold(staging)
    with pytest.raises(UsageError, match="Another process is writing"):
        prepare(find_videos([videos]), tmp_path / "out", workers=1)
    os.close(held)
    assert prepare(find_videos([videos]), tmp_path / "out", workers=1).stored == 2
