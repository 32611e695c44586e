"""From waveforms to the picture a network sees, and from its masks back to any recording's bins.

Two precomputed matrices do the log-frequency warp and its inverse; nothing here knows of models or files.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

# The published warp is exponential with base 21: a bin at the relative frequency g in [-1, 1] sits at
# the relative band position 2 log(10 g + 11) / log(21) - 1, so that low frequencies get more bands.
_BASE, _SCALE, _SHIFT = 21.0, 10.0, 11.0
_CPU = torch.device("cpu")


class SpectralSettings(BaseModel):
    """How a waveform becomes the network's input; part of every checkpoint.

    Attributes:
        sample_rate: of the sound the network sees, in Hz.
        n_fft: STFT size and window length (periodic Hann), in samples.
        hop_length: distance of STFT frames, in samples.
        n_bands: F, the number of log-frequency bands.
        segment_frames: T, the number of STFT frames of one training segment.
        log_floor: added to magnitudes before the logarithm.
        level: ``absolute`` takes magnitudes as they are (as published); ``relative`` divides them by
            the segment's root mean square first, so that masks do not depend on loudness.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = Field(16000, gt=0)
    n_fft: int = Field(1024, gt=0)
    hop_length: int = Field(256, gt=0)
    n_bands: int = Field(256, gt=1)
    segment_frames: int = Field(256, gt=0)
    log_floor: float = Field(1e-10, gt=0)
    level: Literal["absolute", "relative"] = "absolute"

    @property
    def segment_samples(self) -> int:
        """Samples of one training segment: the longest that gives exactly ``segment_frames``."""
        return self.segment_frames * self.hop_length - 1

    @property
    def max_frequency(self) -> float:
        """The highest frequency that the network sees, in Hz."""
        return self.sample_rate / 2


def stft(waveform: torch.Tensor, n_fft: int, hop_length: int, center: bool = True) -> torch.Tensor:
    """Short-time Fourier transform with a periodic Hann window, zero-padded at both ends.

    Args:
        waveform: [..., samples].
        center: with it, frame t is centred on sample ``t * hop_length``.

    Returns:
        Complex [..., n_fft // 2 + 1, T].
    """
    flat = waveform.reshape(-1, waveform.shape[-1])
    spectrum = torch.stft(
        flat,
        n_fft,
        hop_length,
        window=_hann(n_fft, waveform.device),
        center=center,
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])


def istft(
    spectrum: torch.Tensor, n_fft: int, hop_length: int, length: int | None = None
) -> torch.Tensor:
    """Inverse of `stft` (centred): complex [..., F, T] to [..., length] samples."""
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    waveform = torch.istft(
        flat, n_fft, hop_length, window=_hann(n_fft, spectrum.device), length=length
    )
    return waveform.reshape(*spectrum.shape[:-2], -1)


def log_magnitude(spectrum: torch.Tensor, settings: SpectralSettings) -> torch.Tensor:
    """The network's input: log of the log-frequency magnitude.

    Args:
        spectrum: of the mixture, complex [..., n_fft // 2 + 1, T].

    Returns:
        [..., n_bands, T].
    """
    magnitude = spectrum.abs()
    if settings.level == "absolute":
        return torch.log(to_bands(magnitude + settings.log_floor, settings))
    rms = magnitude.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    # The constant only keeps digital silence from becoming 0 / 0.
    return torch.log(to_bands(magnitude / (rms + 1e-8), settings) + settings.log_floor)


def to_bands(magnitude: torch.Tensor, settings: SpectralSettings) -> torch.Tensor:
    """Warp [..., n_fft // 2 + 1, T] to the log-frequency bands [..., n_bands, T]."""
    warp = warp_matrix(settings.n_fft // 2 + 1, settings.n_bands, magnitude.device)
    return warp.to(magnitude.dtype) @ magnitude


def from_bands(
    mask: torch.Tensor,
    settings: SpectralSettings,
    n_fft: int | None = None,
    sample_rate: int | None = None,
) -> torch.Tensor:
    """Bring a mask on log-frequency bands to the linear bins of an STFT at any sample rate.

    Bins above the network's highest frequency get the mask of its highest band.

    Args:
        mask: [..., n_bands, T].
        n_fft, sample_rate: of the STFT to mask; by default the network's own.

    Returns:
        [..., n_fft // 2 + 1, T].
    """
    unwarp = unwarp_matrix(
        n_fft or settings.n_fft,
        sample_rate or settings.sample_rate,
        settings.n_bands,
        settings.max_frequency,
        mask.device,
    )
    return unwarp.to(mask.dtype) @ mask


def apply_mask(
    spectrum: torch.Tensor, mask: torch.Tensor, settings: SpectralSettings, length: int
) -> torch.Tensor:
    """Mask a mixture at the network's own sample rate.

    Args:
        spectrum: of the mixture, complex [..., n_fft // 2 + 1, T].
        mask: on log-frequency bands, [..., n_bands, T].

    Returns:
        [..., length] samples.
    """
    masked = spectrum * from_bands(mask, settings)
    return istft(masked, settings.n_fft, settings.hop_length, length)


@lru_cache(maxsize=16)
def warp_matrix(n_bins: int, n_bands: int, device: torch.device = _CPU) -> torch.Tensor:
    """[n_bands, n_bins]: linear interpolation of the bins at the bands' frequencies (Zhao et al., 2018)."""
    band = torch.linspace(-1, 1, n_bands, dtype=torch.float64)
    relative_frequency = (_BASE ** ((band + 1) / 2) - _SHIFT) / _SCALE
    matrix = _interpolation_matrix((relative_frequency + 1) / 2 * (n_bins - 1), n_bins)
    return matrix.to(device)


@lru_cache(maxsize=64)
def unwarp_matrix(
    n_fft: int,
    sample_rate: int,
    n_bands: int,
    max_frequency: float,
    device: torch.device = _CPU,
) -> torch.Tensor:
    """[n_fft // 2 + 1, n_bands]: linear interpolation of the bands at the bins' frequencies."""
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft  # Hz
    relative_frequency = 2 * frequency / max_frequency - 1
    band = 2 * torch.log(_SCALE * relative_frequency + _SHIFT) / math.log(_BASE) - 1
    return _interpolation_matrix((band + 1) / 2 * (n_bands - 1), n_bands).to(device)


def _interpolation_matrix(positions: torch.Tensor, size: int) -> torch.Tensor:
    """[len(positions), size] float32: row i reads a vector of ``size`` values at ``positions[i]``."""
    positions = positions.clamp(0, size - 1)
    lower = positions.floor().long().clamp(max=size - 2)
    upper_weight = positions - lower
    matrix = torch.zeros(len(positions), size, dtype=torch.float64)
    rows = torch.arange(len(positions))
    matrix[rows, lower] = 1 - upper_weight
    matrix[rows, lower + 1] += upper_weight
    return matrix.float()


@lru_cache(maxsize=16)
def _hann(n_fft: int, device: torch.device) -> torch.Tensor:
    return torch.hann_window(n_fft, device=device)
