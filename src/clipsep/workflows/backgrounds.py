"""Generate noises to mix recordings with where no other recordings are given: a poor substitute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from clipsep.files import atomic_write

_RATE, _SECONDS, _COUNT = 16_000, 8, 6


def write_backgrounds(folder: Path) -> None:
    """Write six files of each kind, the same each time, in a folder for each; those that exist stay."""
    for kind, make in _KINDS.items():
        for number in range(_COUNT):
            path = folder / kind / f"{number}.flac"
            if path.exists():
                continue
            samples = make(np.random.default_rng((len(kind), number)))
            peak = np.abs(samples).max()
            with atomic_write(path) as temporary:
                soundfile.write(temporary, 0.5 * samples / peak, _RATE, format="FLAC")


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with a random exponent of frequency, 0 (white) to 2 (brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(_RATE * _SECONDS))
    frequency = np.maximum(np.arange(len(spectrum)), 20 * _SECONDS)  # level below 20 Hz
    return np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1))


def _hum(rng: np.random.Generator) -> np.ndarray:
    """Make a low tone with falling overtones."""
    time = np.arange(_RATE * _SECONDS) / _RATE
    base = rng.uniform(50, 150)
    overtones = np.arange(1, 20)[:, None]
    phases = rng.uniform(0, 2 * np.pi, overtones.shape)
    return (np.sin(2 * np.pi * base * overtones * time + phases) / overtones).sum(axis=0)


def _clicks(rng: np.random.Generator) -> np.ndarray:
    """Short bursts at random times."""
    samples = np.zeros(_RATE * _SECONDS)
    for start in rng.integers(0, len(samples) - 800, rng.integers(10, 60)):
        decay = np.exp(-np.arange(800) / rng.uniform(40, 200))
        samples[start : start + 800] += decay * rng.standard_normal(800)
    return samples


def _melody(rng: np.random.Generator) -> np.ndarray:
    """Tones of random pitch, one after the other."""
    notes = []
    for _ in range(4 * _SECONDS):
        time = np.arange(_RATE // 4) / _RATE
        pitch = 220 * 2 ** (rng.integers(0, 25) / 12)
        partials = sum(np.sin(2 * np.pi * pitch * k * time) / k**2 for k in range(1, 6))
        notes.append(partials * np.exp(-4 * time))
    return np.concatenate(notes)


def _chirps(rng: np.random.Generator) -> np.ndarray:
    """Fast rising and falling tones between pauses."""
    samples = np.zeros(_RATE * _SECONDS)
    length = _RATE // 5
    time = np.arange(length) / _RATE
    for start in rng.integers(0, len(samples) - length, 3 * _SECONDS):
        first, last = rng.uniform(1500, 6000, 2)
        phase = 2 * np.pi * (first * time + (last - first) * time**2 / (2 * time[-1]))
        samples[start : start + length] += np.sin(phase) * np.hanning(length)
    return samples


_KINDS = {
    "noise": _noise,
    "electric_hum": _hum,
    "clicking": _clicks,
    "melody": _melody,
    "chirping": _chirps,
}
