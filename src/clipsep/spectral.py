"""From waveforms to the bands that a network sees, and from its masks back to any recording's bins.

NumPy alone: `clipsep.models.transforms` has the same in PyTorch, for training. The logarithmic frequency
scale and its inverse are linear interpolations.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

# The published warp is exponential with base 21: a bin at the relative frequency g in [-1, 1] sits at
# the relative band position 2 log(10 g + 11) / log(21) - 1, so that low frequencies get more bands.
_BASE, _SCALE, _SHIFT = 21.0, 10.0, 11.0


class SpectralSettings(BaseModel):
    """How a waveform becomes the network's input; part of every checkpoint.

    Attributes:
        sample_rate: rate of the waveform that the network sees, in Hz.
        n_fft: STFT size and window length (periodic Hann), in samples.
        hop_length: distance of STFT frames, in samples.
        n_bands: F, the number of log-frequency bands.
        segment_frames: T, the number of STFT frames of one training segment.
        log_floor: added to magnitudes before the logarithm.
        level: ``absolute`` takes magnitudes as they are (as published); ``relative`` divides them by
            the segment's root mean square first, so that masks do not depend on loudness.
        warp: ``exact`` frequencies of the bands; ``float32`` rounds them as the published code does,
            which changes the input where neighbouring bins differ by orders of magnitude.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = Field(16000, ge=100, le=1_000_000)
    n_fft: int = Field(1024, ge=2, le=1 << 16)
    hop_length: int = Field(256, ge=1, le=1 << 16)
    n_bands: int = Field(256, ge=2, le=1 << 13)
    segment_frames: int = Field(256, ge=1, le=1 << 13)
    log_floor: float = Field(1e-10, gt=0, le=1e6)
    level: Literal["absolute", "relative"] = "absolute"
    warp: Literal["exact", "float32"] = "exact"

    @property
    def segment_samples(self) -> int:
        """Samples of one training segment: the longest that gives exactly ``segment_frames``."""
        return self.segment_frames * self.hop_length - 1

    @property
    def max_frequency(self) -> float:
        """The highest frequency that the network sees, in Hz."""
        return self.sample_rate / 2


def stft(waveform: np.ndarray, n_fft: int, hop_length: int, center: bool = True) -> np.ndarray:
    """Short-time Fourier transform with a periodic Hann window, zero-padded at both ends.

    Args:
        waveform: float32 [..., samples].
        center: whether frame t is centred on sample ``t * hop_length``.

    Returns:
        complex64 [..., n_fft // 2 + 1, T].
    """
    if center:
        padding = [(0, 0)] * (waveform.ndim - 1) + [(n_fft // 2, n_fft // 2)]
        waveform = np.pad(waveform, padding)
    frames = frames_of(waveform, n_fft, hop_length)
    return rfft(frames * hann(n_fft)).swapaxes(-1, -2)


def istft(spectrum: np.ndarray, n_fft: int, hop_length: int, length: int) -> np.ndarray:
    """Inverse of `stft` (centred): complex [..., F, T] to float32 [..., length] samples."""
    window = hann(n_fft)
    frames = np.fft.irfft(spectrum.swapaxes(-1, -2), n_fft) * window  # [..., T, n_fft]
    n_frames = frames.shape[-2]
    shape = (n_fft + (n_frames - 1) * hop_length,)
    total = np.zeros(frames.shape[:-2] + shape, np.float32)
    weight = np.zeros(shape, np.float32)
    for t in range(n_frames):
        place = slice(t * hop_length, t * hop_length + n_fft)
        total[..., place] += frames[..., t, :]
        weight[place] += window**2
    inside = slice(n_fft // 2, n_fft // 2 + length)
    covered = np.maximum(weight[inside], 1e-11)
    return _fitted(total[..., inside] / covered, length)


def rfft(frames: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """`numpy.fft.rfft` of float32 [..., n] in single precision: complex64 [..., n // 2 + 1].

    NumPy computes an unscaled forward transform in double precision, whatever it is given, and needs
    twice to five times as long for that. A scaled one it computes as it comes.
    """
    spectrum = np.fft.rfft(frames, norm="forward", out=out)
    numbers = spectrum.view(np.float32)
    numbers *= np.float32(frames.shape[-1])
    return spectrum


def frames_of(waveform: np.ndarray, n_fft: int, hop_length: int) -> np.ndarray:
    """Overlapping pieces of [..., samples] as a view, [..., T, n_fft]."""
    pieces = np.lib.stride_tricks.sliding_window_view(waveform, n_fft, axis=-1)
    return pieces[..., ::hop_length, :]


def log_magnitude(spectrum: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Compute the network's input: log of the log-frequency magnitude.

    Args:
        spectrum: the mixture's, complex [..., n_fft // 2 + 1, T].

    Returns:
        float32 [..., n_bands, T].
    """
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    magnitude = np.sqrt(power)
    if settings.level == "absolute":
        return np.log(to_bands(magnitude + np.float32(settings.log_floor), settings))
    rms = np.sqrt(power.mean(axis=(-2, -1), keepdims=True, dtype=np.float32))
    # The constant only keeps digital silence from becoming 0 / 0.
    relative = magnitude / (rms + np.float32(1e-8))
    return np.log(to_bands(relative, settings) + np.float32(settings.log_floor))


def to_bands(magnitude: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Warp [..., n_fft // 2 + 1, T] to the log-frequency bands [..., n_bands, T]."""
    return band_positions(settings.n_fft // 2 + 1, settings.n_bands, settings.warp).read(magnitude)


def from_bands(
    mask: np.ndarray,
    settings: SpectralSettings,
    n_fft: int | None = None,
    sample_rate: int | None = None,
) -> np.ndarray:
    """Bring a mask on log-frequency bands to the linear bins of an STFT at any sample rate.

    Bins above the network's highest frequency get the mask of its highest band.

    Args:
        mask: [..., n_bands, T].
        n_fft, sample_rate: settings of the STFT to mask; by default the network's own.

    Returns:
        [..., n_fft // 2 + 1, T].
    """
    return bin_positions(
        n_fft or settings.n_fft,
        sample_rate or settings.sample_rate,
        settings.n_bands,
        settings.max_frequency,
    ).read(mask)


def apply_mask(
    spectrum: np.ndarray, mask: np.ndarray, settings: SpectralSettings, length: int
) -> np.ndarray:
    """Mask a mixture at the network's own sample rate.

    Args:
        spectrum: the mixture's, complex [..., n_fft // 2 + 1, T].
        mask: values for log-frequency bands, [..., n_bands, T].

    Returns:
        float32 [..., length] samples.
    """
    masked = spectrum * from_bands(mask, settings)
    return istft(masked, settings.n_fft, settings.hop_length, length)


class Interpolation:
    """Linear interpolation of a vector at fixed positions, two rows and two weights for each.

    Attributes:
        lower: [n], the row at or before each position; the next one is the other row.
        upper_weight: float32 [n], the share of the next row.
        size: number of rows that are read.
    """

    def __init__(self, positions: np.ndarray, size: int):
        positions = positions.clip(0, size - 1)
        self.size = size
        self.lower = np.minimum(positions.astype(np.int64), size - 2)
        self.upper_weight = (positions - self.lower).astype(np.float32)

    def read(self, values: np.ndarray) -> np.ndarray:
        """[..., size, T] to [..., n, T]."""
        weight = self.upper_weight[:, None]
        rows = values.take(self.lower, axis=-2)
        rows *= 1 - weight
        rows += weight * values.take(self.lower + 1, axis=-2)
        return rows

    def matrix(self) -> np.ndarray:
        """Return the same as a matrix, float32 [n, size]."""
        matrix = np.zeros((len(self.lower), self.size), np.float32)
        rows = np.arange(len(self.lower))
        matrix[rows, self.lower] = 1 - self.upper_weight
        matrix[rows, self.lower + 1] += self.upper_weight
        return matrix


@lru_cache(maxsize=16)
def band_positions(n_bins: int, n_bands: int, warp: str = "exact") -> Interpolation:
    """Read bins at the bands' frequencies (Zhao et al., 2018); see `SpectralSettings.warp`."""
    band = np.linspace(-1, 1, n_bands)
    relative_frequency = (_BASE ** ((band + 1) / 2) - _SHIFT) / _SCALE
    if warp == "float32":  # every step in single precision, as torch's grid_sample
        relative_frequency = relative_frequency.astype(np.float32)
    return Interpolation((relative_frequency + 1) / 2 * (n_bins - 1), n_bins)


@lru_cache(maxsize=64)
def bin_positions(
    n_fft: int, sample_rate: int, n_bands: int, max_frequency: float
) -> Interpolation:
    """Read bands at the bins' frequencies."""
    frequency = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)  # Hz
    relative_frequency = 2 * frequency / max_frequency - 1
    band = 2 * np.log(_SCALE * relative_frequency + _SHIFT) / math.log(_BASE) - 1
    return Interpolation((band + 1) / 2 * (n_bands - 1), n_bands)


@lru_cache(maxsize=16)
def hann(n_fft: int) -> np.ndarray:
    """Periodic Hann window, float32 [n_fft]; not to be written to."""
    phase = 2 * np.pi * np.arange(n_fft) / n_fft
    window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    window.flags.writeable = False
    return window


def _fitted(waveform: np.ndarray, length: int) -> np.ndarray:
    """With zeros where a waveform is shorter than ``length``."""
    missing = length - waveform.shape[-1]
    if missing <= 0:
        return waveform
    return np.pad(waveform, [(0, 0)] * (waveform.ndim - 1) + [(0, missing)])
