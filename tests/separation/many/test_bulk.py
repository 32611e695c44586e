"""Law of bulk separation: the same files wherever they are made, also when a worker is killed."""

from __future__ import annotations

import errno
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clipsep.errors import ClipsepError
from clipsep.media import read_audio
from clipsep.separation.many import bulk as bulk_separation
from clipsep.separation.many.bulk import separate_files
from clipsep.separation.many.recordings import find_recordings
from clipsep.separation.many.request import SeparationRequest
from tests.helpers.audio import tones, write


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(4):
        (folder / str(number % 2)).mkdir(exist_ok=True)
        path = folder / str(number % 2) / f"{number}.wav"
        write(path, tones(16_000, 1, 1.0 + number / 4), 16_000)
    (folder / "broken.wav").write_text("no sound")
    return folder


def run(recordings: Path, output: Path, **place) -> dict[str, np.ndarray]:
    report = separate_files(
        find_recordings([recordings], output), SeparationRequest(["rain"]), output, **place
    )
    assert (report.separated, list(report.failed)) == (4, [recordings / "broken.wav"])
    return {
        path.relative_to(output).as_posix(): read_audio(path)[0]
        for path in output.rglob("*.wav")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def separated(recordings: Path, tmp_path_factory) -> dict[str, np.ndarray]:
    return run(recordings, tmp_path_factory.mktemp("separated"), workers=1)


class KilledOnce(bulk_separation._Separate):
    """Kills its process after its first recording was separated but not noted."""

    def __init__(self, marker: Path, *arguments):
        super().__init__(*arguments)
        object.__setattr__(self, "marker", marker)

    def __call__(self, recording):
        entry = super().__call__(recording)
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return entry

    def __reduce__(self):
        return KilledOnce, (self.marker, self.request, self.output)


@pytest.mark.parametrize("place", ["processes", "Ray"], indirect=True)
def test_files_are_the_same_wherever_they_are_made(
    recordings, separated, place, tmp_path, monkeypatch
):
    marker = tmp_path / "killed"
    monkeypatch.setattr(bulk_separation, "_Separate", partial(KilledOnce, marker))
    sounds = run(recordings, tmp_path / "out", **place)
    assert len(sounds) == 4 and marker.exists()
    assert sounds.keys() == separated.keys()
    for name, expected in separated.items():
        # Workers have fewer threads than a process alone, and sums are rounded otherwise.
        np.testing.assert_allclose(sounds[name], expected, rtol=0, atol=1e-6)


def failing(monkeypatch, name: str, error: Exception) -> None:
    """Separation of the recording of this name fails."""
    separate = bulk_separation.Separator.separate_file

    def separate_file(self, path, *arguments, **options):
        if path.name == name:
            raise error
        return separate(self, path, *arguments, **options)

    monkeypatch.setattr(bulk_separation.Separator, "separate_file", separate_file)


def test_a_fault_of_ours_costs_one_file_and_names_it(recordings, tmp_path, monkeypatch):
    failing(monkeypatch, "1.wav", AttributeError("'NoneType' object has no attribute 'name'"))
    found = find_recordings([recordings], tmp_path)
    report = separate_files(found, SeparationRequest(["rain"]), tmp_path / "out", workers=1)
    assert report.separated == 3, report.failed
    reason = report.failed[recordings / "1" / "1.wav"]
    assert "1.wav' cannot be processed" in reason and "AttributeError" in reason


def test_a_full_disk_ends_the_run_at_once(recordings, tmp_path, monkeypatch):
    full = ClipsepError("'x' could not be written (No space left on device).")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    failing(monkeypatch, "0.wav", full)
    found = find_recordings([recordings], tmp_path)
    with pytest.raises(ClipsepError, match=r"No space left.*remaining files were not tried"):
        separate_files(found, SeparationRequest(["rain"]), tmp_path / "out", workers=1)
    assert not list((tmp_path / "out").rglob("*.wav"))
