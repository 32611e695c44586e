"""The files that come of a separation: how many of them are kept, and what is said of a failure."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from clipsep.errors import ClipsepError
from clipsep.media import read_audio
from clipsep.serving.work.parts import Part, Separation, _made, _private, mix_file
from clipsep.serving.work.uploads import Recording
from tests.helpers.audio import write


@pytest.fixture
def separation(tmp_path: Path) -> Separation:
    parts = [
        Part(name, kind, write(tmp_path / f"{name}.wav", np.full((1, 8000), 0.1), 8000), -20.0, 0.5)
        for name, kind in (("mixture", "mixture"), ("rain", "target"), ("residual", "residual"))
    ]
    return Separation("a", Recording(parts[0].path, 1.0, 8000, 1), tuple(parts))


def test_a_job_keeps_its_last_few_mixes(separation: Separation, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    made = []
    for number in range(10):
        made.append(mix_file(separation, [-number, 0.0], "wav"))
        os.utime(made[-1], (number, number))  # clocks of files are coarse
    kept = {path.name for path in tmp_path.iterdir()} - before
    assert kept == {path.name for path in made[-4:]}


def test_gains_are_not_rounded(separation: Separation) -> None:
    muted, nearly = (
        read_audio(mix_file(separation, [0.0, gain], "wav"))[0] for gain in (-60.0, -59.96)
    )
    assert (nearly > muted).all()


def test_a_failure_does_not_name_the_folders_of_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "mixture.wav").touch()

    def make(path: Path) -> None:
        raise ClipsepError(
            f"Cannot read '{folder / 'mixture.wav'}' or write '{path.parent / 'x'}'."
        )

    with pytest.raises(ClipsepError) as made, _private(folder):
        make(folder / "part.wav")
    with pytest.raises(ClipsepError) as rendered:
        _made(folder / "part.flac", make)
    for raised in (made, rendered):
        assert str(raised.value) == "Cannot read 'The recording' or write 'x'."
