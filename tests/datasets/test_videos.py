"""Laws of prepare and embed: each video once, bad ones listed, the same result after an interrupt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipsep.datasets.embeddings import EmbeddingStore
from clipsep.datasets.store import ClipStore
from clipsep.datasets.videos import embed, find_videos, prepare
from clipsep.errors import UsageError
from tests.test_media import tones, write, write_video


class ColourEncoder:
    """The mean colour of a picture; counts what it is asked for."""

    id, dim = "colour", 3

    def __init__(self):
        self.seen = 0

    def encode_images(self, images):
        self.seen += len(images)
        return torch.tensor(np.array([np.asarray(im).mean(axis=(0, 1)) for im in images]))


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
    store = ClipStore(tmp_path / "out")
    assert [clip.id for clip in store.clips] == ["cat/b.mp4", "dog/a.mp4"]
    assert all(clip.n_frames == 3 for clip in store.clips)
    assert store.frames(store.clips[0])[0].size == (224, 224)


def test_finished_videos_are_not_decoded_again(videos: Path, tmp_path: Path, monkeypatch):
    from clipsep.datasets import videos as module

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
    assert len(ClipStore(tmp_path / "out")) == 2


def test_processes_give_what_one_process_gives(videos: Path, tmp_path: Path):
    found = find_videos([videos])
    prepare(found, tmp_path / "one", workers=1)
    prepare(found, tmp_path / "two", workers=2)
    one, two = ClipStore(tmp_path / "one"), ClipStore(tmp_path / "two")
    assert one.clips == two.clips
    for clip in one.clips:
        assert np.array_equal(one.audio(clip), two.audio(clip))


def test_labels_come_from_the_csv_only(videos: Path, tmp_path: Path):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\ndog/a.mp4,dog barking\n")
    prepare(find_videos([videos], labels), tmp_path / "out", workers=1)
    store = ClipStore(tmp_path / "out")
    assert [clip.label for clip in store.clips] == [None, "dog barking"]
    labels.write_text("file;class\n")
    with pytest.raises(UsageError, match="path,label"):
        find_videos([videos], labels)


def test_sources_that_cannot_be_used_are_named(videos: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="does not exist"):
        find_videos([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no video file \\("):
        find_videos([tmp_path / "empty"])
    with pytest.raises(UsageError, match="would both be called"):
        find_videos([videos / "dog", videos / "dog/a.mp4"])


def test_every_picture_is_embedded_once_and_a_second_call_does_nothing(
    videos: Path, tmp_path: Path
):
    prepare(find_videos([videos]), tmp_path / "out", workers=1)
    store, encoder = ClipStore(tmp_path / "out"), ColourEncoder()
    assert embed(store, encoder, batch_size=4) == encoder.seen == 6
    assert embed(store, encoder) == 0
    embeddings = EmbeddingStore(store, "colour")
    for clip in store.clips:
        expected = [np.asarray(frame).mean(axis=(0, 1)) for frame in store.frames(clip)]
        assert np.allclose(embeddings.clip(clip), expected, atol=1e-3)


def test_a_sound_file_is_no_video(tmp_path: Path):
    path = write(tmp_path / "sound.wav", tones(16000, 1), 16000)
    report = prepare(find_videos([path]), tmp_path / "out", workers=1)
    assert report.stored == 0 and "no pictures" in report.rejected["sound.wav"]
