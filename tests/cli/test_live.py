"""`clipsep live --raw`: every sample comes back, late by the stated latency and no more."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from clipsep import Separator
from clipsep.cli import main
from tests.helpers.audio import tones

RATE = 16_000


class Pipe:
    """A standard input that notes how much was read when something is written."""

    def __init__(self, data: bytes):
        self._data, self.read_bytes = io.BytesIO(data), 0

    def read1(self, size: int) -> bytes:
        data = self._data.read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize("latency", [0.25, 0.75])
def test_samples_come_back_within_the_latency(model, monkeypatch, latency):
    mixture = tones(RATE, 2, 6.0)
    source = Pipe(mixture.T.astype("<f4").tobytes())
    written, waited = io.BytesIO(), []

    class Out:
        def write(self, data: bytes) -> None:
            waited.append((source.read_bytes - written.tell()) / (RATE * 2 * 4))
            written.write(data)

        def flush(self) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=source))
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=Out(), flush=lambda: None))
        argv = ["live", "-q", "rain", "--raw", "--rate", str(RATE), "--channels", "2"]
        assert main([*argv, "--latency", str(latency), "--model", str(model)]) == 0
    separated = np.frombuffer(written.getvalue(), "<f4").reshape(-1, 2).T
    assert separated.shape == mixture.shape
    assert max(waited) <= latency + 0.051  # the blocks that are read have 50 ms
    whole = Separator.from_pretrained(model).separate(mixture, RATE, ["rain"]).targets["rain"]
    assert np.corrcoef(separated.ravel(), whole.ravel())[0, 1] > 0.9


def test_live_needs_something_to_hear(model, monkeypatch):
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(bytes(64000))))
    )
    assert main(["live", "--raw", "--model", str(model)]) == 2
    assert main(["live", "-q", "rain", "--raw", "--latency", "0.01", "--model", str(model)]) == 2


@pytest.mark.parametrize("command", [["find", "a.wav"], ["separate", "a.wav"], ["live", "--raw"]])
def test_a_recording_as_the_query_needs_a_model_that_reads_audio(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000)
    assert main([*command, "--like", "a.wav"]) == 2
    assert "does not read audio" in capsys.readouterr().err
