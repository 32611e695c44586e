"""Laws of the published lists: what is read, what is refused, and the data set they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import UsageError
from clipsep.paper import import_list as module
from clipsep.paper.import_list import import_list
from clipsep.paper.lists import ListRow, find_file, read_list
from tests.helpers.audio import tones, write


def listed(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def make_clip(root: Path, name: str, n_frames: int = 3, rate: int = 16_000) -> None:
    """A wav and frames whose red is ten times their number."""
    for folder in ("audio", "frames"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    write(root / f"audio/{name}.wav", tones(rate, 1, 2.0), rate)
    (root / "frames" / name).mkdir()
    for number in range(1, n_frames + 1):
        frame = Image.new("RGB", (224, 224), (10 * number, 0, 0))
        frame.save(root / f"frames/{name}/{number:06d}.jpg", quality=95)


def test_rows_of_four_and_of_three_columns(tmp_path: Path):
    path = listed(
        tmp_path / "list.csv",
        "a/x.wav,f/x,12,acoustic_guitar",
        "/abs/y.wav,/abs/y,8",
        "",
        'a/z.wav,f/z,12,"bee, wasp, etc. buzzing"',
    )
    assert read_list(path) == [
        ListRow("a/x.wav", "f/x", 12, "acoustic_guitar"),  # underscores stay, as published
        ListRow("/abs/y.wav", "/abs/y", 8, None),
        ListRow("a/z.wav", "f/z", 12, "bee wasp etc. buzzing"),
    ]
    assert read_list(path)[0].video == "x"


@pytest.mark.parametrize("row", ["a.wav,f,many,dog", "a.wav,f", "a.wav,f,3,female speech, woman"])
def test_other_rows_are_refused_with_their_line(tmp_path: Path, row: str):
    path = listed(tmp_path / "list.csv", "a.wav,f,3,dog", row)
    with pytest.raises(UsageError, match=r"list\.csv', line 2: expected wav"):
        read_list(path)


def test_lists_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="lists no clips"):
        read_list(listed(tmp_path / "empty.csv"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_list(tmp_path / "gone.csv")


def test_paths_are_tried_below_every_root(tmp_path: Path):
    (tmp_path / "b").mkdir()
    there = listed(tmp_path / "b" / "x.wav")
    assert find_file("x.wav", (tmp_path / "a", tmp_path / "b")) == there
    assert find_file(str(there), (tmp_path / "a",)) == there
    assert find_file("x.wav", (tmp_path / "a",)) is None


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_imported_list_has_its_sounds_frames_and_labels(tmp_path: Path, workers: int):
    for name in ("tuba/one", "tuba/two"):
        make_clip(tmp_path / "root", name, rate=44_100 if name.endswith("two") else 16_000)
    path = listed(
        tmp_path / "list.csv",
        "audio/tuba/two.wav,frames/tuba/two,2,tuba",
        "audio/tuba/one.wav,frames/tuba/one,3",
    )
    report = import_list(path, tmp_path / "set", tmp_path / "root", workers)
    assert (report.stored, report.rejected) == (2, {})
    dataset = PreparedDataset(tmp_path / "set")
    one, two = dataset.clips
    assert (one.id, one.label, one.n_frames) == ("audio/tuba/one.wav", None, 3)
    assert (two.id, two.label, two.n_frames) == ("audio/tuba/two.wav", "tuba", 2)
    original = np.round(32767 * tones(16_000, 1, 2.0)[0])
    assert np.abs(dataset.audio(one) - original).max() <= 1
    assert two.seconds == pytest.approx(2.0, abs=1e-3)
    # Frames are counted from 1, so the first has a red of 10.
    reds = [frame.getpixel((100, 100))[0] for frame in dataset.frames(one)]
    assert reds == pytest.approx([10, 20, 30], abs=2)
    listed(path, "audio/tuba/two.wav,frames/tuba/two,2,horn")
    assert import_list(path, tmp_path / "set", tmp_path / "root", workers).stored == 0
    assert PreparedDataset(tmp_path / "set").labels == ["horn"], "a corrected label is taken over"


def test_frames_that_are_not_square_are_made_so(tmp_path: Path):
    make_clip(tmp_path, "wide", n_frames=1)
    Image.new("RGB", (640, 360)).save(tmp_path / "frames/wide/000001.jpg")
    path = listed(tmp_path / "list.csv", "audio/wide.wav,frames/wide,1,dog")
    import_list(path, tmp_path / "set", tmp_path, workers=1)
    dataset = PreparedDataset(tmp_path / "set")
    assert dataset.frames(next(iter(dataset.clips)))[0].size == (224, 224)


def test_bad_rows_are_rejected_with_a_reason_and_the_rest_goes_on(tmp_path: Path, monkeypatch):
    read = module.read_audio

    def faulty(path: Path, *arguments: object, **options: object):
        if path.name == "faulty.wav":
            raise AttributeError("'NoneType' object has no attribute 'name'")
        return read(path, *arguments, **options)

    monkeypatch.setattr(module, "read_audio", faulty)
    for name in ("good", "few", "broken", "mute", "none", "short", "faulty"):
        make_clip(tmp_path, name)
    (tmp_path / "frames/few/000003.jpg").unlink()
    (tmp_path / "frames/broken/000002.jpg").write_bytes(b"no frame")
    (tmp_path / "audio/mute.wav").write_bytes(b"no sound")
    write(tmp_path / "audio/short.wav", tones(96_000, 1, 2 / 96_000), 96_000)
    names = ("good", "few", "broken", "mute", "gone", "short", "faulty")
    path = listed(
        tmp_path / "list.csv",
        *(f"audio/{n}.wav,frames/{n},3,dog" for n in names),
        "audio/none.wav,frames/none,0,dog",
    )
    report = import_list(path, tmp_path / "set", tmp_path, workers=1)
    assert report.stored == 1
    reasons = {clip_id.removeprefix("audio/"): why for clip_id, why in report.rejected.items()}
    assert "000003.jpg" in reasons["few.wav"]
    assert "000002.jpg': it is damaged" in reasons["broken.wav"]
    assert "mute.wav" in reasons["mute.wav"]
    assert "'audio/gone.wav' does not exist: check --root" in reasons["gone.wav"]
    assert "has no frames" in reasons["none.wav"]
    assert "too short" in reasons["short.wav"], "an empty clip would end a training"
    assert "faulty.wav' cannot be processed" in reasons["faulty.wav"]


def test_an_import_goes_on_and_takes_up_what_was_repaired(tmp_path: Path, monkeypatch):
    for name in "abc":
        make_clip(tmp_path, name)
    (tmp_path / "audio/c.wav").rename(tmp_path / "c.wav")
    path = listed(tmp_path / "list.csv", *(f"audio/{n}.wav,frames/{n},3,dog" for n in "abc"))
    whole = tmp_path / "whole"
    import_list(path, whole, tmp_path, workers=1)

    read, seen = module.read_audio, []

    def interrupted(wav: Path, *args: object, **options: object):
        if seen == ["a.wav"]:
            raise KeyboardInterrupt
        seen.append(wav.name)
        return read(wav, *args, **options)

    monkeypatch.setattr(module, "read_audio", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_list(path, tmp_path / "set", tmp_path, workers=1)
    monkeypatch.setattr(
        module, "read_audio", lambda *a, **o: seen.append(a[0].name) or read(*a, **o)
    )
    report = import_list(path, tmp_path / "set", tmp_path, workers=1)
    assert seen == ["a.wav", "b.wav"]
    assert (report.already_there, report.stored, len(report.rejected)) == (1, 1, 1)
    assert list(PreparedDataset(tmp_path / "set").clips) == list(PreparedDataset(whole).clips)

    (tmp_path / "c.wav").rename(tmp_path / "audio/c.wav")
    report = import_list(path, tmp_path / "set", tmp_path, workers=1)
    assert (report.already_there, report.stored, report.rejected) == (2, 1, {})
