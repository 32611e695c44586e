"""A guard of what separation costs: passes of the network, transforms and memory, counted, not timed."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest

from clipsep.separation.masking.streaming import StreamingFilter
from clipsep.spectral import SpectralSettings

SETTINGS = SpectralSettings(level="relative", log_floor=1e-4)
SECONDS, RATE, CHANNELS, QUERIES = 30, 44100, 2, 2
# What it takes today, for 30 s of stereo at 44.1 kHz and two queries. Raise one only with a reason.
PASSES = 9  # of the network
TRANSFORMED = 17.1e6  # samples of rfft and irfft together; 2 windows cover each sample
PEAK_BYTES = 12.6e6
MARGIN = 1.1


def separate(counts: Counter) -> None:
    def predict(log_magnitude: np.ndarray) -> np.ndarray:
        counts["passes"] += len(log_magnitude)
        return np.full((QUERIES, *log_magnitude.shape[2:]), 0.5, np.float32)

    filtered = StreamingFilter(predict, SETTINGS, RATE, CHANNELS)
    second = np.zeros((CHANNELS, RATE), np.float32)
    for _ in range(SECONDS):
        filtered.push(second)
    filtered.push(second[:, :0], last=True)


def test_passes_and_transforms_do_not_grow(monkeypatch: pytest.MonkeyPatch):
    counts: Counter = Counter()

    def counted(transform):
        def run(array, n=None, *args, **kwargs):
            result = transform(array, n, *args, **kwargs)
            counts["samples"] += (array if transform is rfft else result).size
            return result

        return run

    rfft, irfft = np.fft.rfft, np.fft.irfft
    monkeypatch.setattr(np.fft, "rfft", counted(rfft))
    monkeypatch.setattr(np.fft, "irfft", counted(irfft))
    separate(counts)
    assert counts["passes"] <= PASSES
    assert 0.9 * TRANSFORMED < counts["samples"] <= MARGIN * TRANSFORMED


def test_memory_does_not_grow():
    separate(Counter())  # what is kept for later, such as windows, does not count
    tracemalloc.start()
    try:
        separate(Counter())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MARGIN * PEAK_BYTES
