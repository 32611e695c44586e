"""How well a sound was separated, in dB: plain functions of arrays.

Nothing here knows of models, files or lists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

FILTER_TAPS = 512  # as in BSS Eval and in the published evaluation
SILENT = 1e-5  # the published evaluation skips sounds whose magnitudes add up to no more


class BssMetrics(NamedTuple):
    """BSS Eval v4 of some estimates, in dB, each shaped as the estimates without their samples."""

    sdr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray


def sdr(reference: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Signal to distortion ratio as in BSS Eval v4 "images": 10 log10(|s|^2 / |s - e|^2) in dB.

    A silent estimate has 0 dB, a perfect one infinitely many, a silent reference minus infinity.

    Args:
        reference: s, [..., T].
        estimate: e, [..., T].
    """
    reference, estimate = _doubles(reference, estimate)
    return decibels(_energy(reference), _energy(reference - estimate))


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Scale-invariant SDR: 10 log10(|a s|^2 / |a s - e|^2) in dB with a = <e, s> / |s|^2.

    Le Roux et al., "SDR - half-baked or well done?" (2019), eq. 4; means are not subtracted. NaN if
    the reference or the estimate is silent.

    Args:
        reference: s, [..., T].
        estimate: e, [..., T].
    """
    reference, estimate = _doubles(reference, estimate)
    with np.errstate(invalid="ignore"):
        scale = np.sum(reference * estimate, axis=-1) / _energy(reference)
    scaled = scale[..., None] * reference
    return decibels(_energy(scaled), _energy(scaled - estimate))


def bss_metrics(references: ArrayLike, estimates: ArrayLike, taps: int = FILTER_TAPS) -> BssMetrics:
    """SDR, SIR and SAR of estimates of the first reference, over the whole signal.

    BSS Eval v4 "images" with one filter for all of the signal (Stöter et al., 2018), for one channel;
    museval 0.4.1 with ``window=inf`` gives the same. P is the projection on all references delayed by
    0 to taps - 1 samples, P0 that on the first one's delays: SIR = 10 log10(|P0 e|^2 / |P e - P0 e|^2)
    and SAR = 10 log10(|P e|^2 / |e - P e|^2).

    Silent references take no part in the projections, where museval raises an error. For a silent
    estimate SIR and SAR are NaN.

    Args:
        references: the target, then what was mixed with it, [N, T].
        estimates: of the target, [..., T]; many at once cost little more than one.

    Raises:
        ValueError: for other shapes.
    """
    references, estimates = _doubles(references, estimates)
    if references.ndim != 2 or references.shape[-1:] != estimates.shape[-1:]:
        raise ValueError(
            f"no references [N, T] and estimates [..., T]: {references.shape=}, {estimates.shape=}"
        )
    flat = estimates.reshape(-1, estimates.shape[-1])
    of_target, of_others, artifacts = _projection_energies(references, flat, taps)
    shape = estimates.shape[:-1]
    return BssMetrics(
        sdr(references[0], estimates),
        decibels(of_target, of_others).reshape(shape),
        decibels(of_target + of_others, artifacts).reshape(shape),
    )


def is_silent(sound: ArrayLike) -> np.ndarray:
    """Whether the published evaluation leaves out sounds [..., T] like this: sum |x| <= 1e-5."""
    return np.abs(np.asarray(sound, np.float64)).sum(axis=-1) <= SILENT


def decibels(energy: ArrayLike, other: ArrayLike) -> np.ndarray:
    """10 log10(energy / other); infinite if one of them is zero, NaN if both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * (np.log10(energy) - np.log10(other))


def _projection_energies(
    references: np.ndarray, estimates: np.ndarray, taps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|P0 e|^2, |P e - P0 e|^2 and |e - P e|^2 of the estimates [M, T], each [M].

    With the target's delays first, forward substitution by the Cholesky factor of their correlations
    orthogonalises them in that order: the first ``taps`` coefficients belong to P0, the others to what
    the interferers add, and no energy is the difference of two larger ones.
    """
    n_target = taps if references[0].any() else 0
    sounding = references[references.any(axis=1)]
    sounding = sounding / np.sqrt(_energy(sounding))[:, None]  # P does not depend on levels
    length = references.shape[-1] + taps - 1
    size = _fft_size(length)
    spectra = np.fft.rfft(sounding, size)  # [N, F]
    correlations = np.fft.irfft(spectra.conj()[:, None] * np.fft.rfft(estimates, size), size)
    right = correlations[..., :taps].swapaxes(1, 2).reshape(-1, len(estimates))  # [N * taps, M]
    factor = _cholesky(_delay_correlations(spectra, size, taps))
    forward = torch.linalg.solve_triangular(factor, torch.from_numpy(right), upper=False)
    filters = torch.linalg.solve_triangular(factor.mT, forward, upper=True).numpy()
    filters = filters.reshape(len(sounding), taps, len(estimates)).transpose(
        2, 0, 1
    )  # [M, N, taps]
    artifacts = np.fft.irfft((np.fft.rfft(filters, size) * spectra).sum(axis=1), size)[:, :length]
    artifacts[:, : estimates.shape[-1]] -= estimates
    squares = forward.numpy() ** 2
    return squares[:n_target].sum(axis=0), squares[n_target:].sum(axis=0), _energy(artifacts)


def _delay_correlations(spectra: np.ndarray, size: int, taps: int) -> np.ndarray:
    """Inner products of all delayed references, block Toeplitz, [N * taps, N * taps]."""
    correlations = np.fft.irfft(spectra.conj()[:, None] * spectra, size)  # [N, N, lags]
    lags = correlations[..., np.arange(1 - taps, taps)]
    # Row a, column b of a block is the correlation at the lag a - b.
    blocks = np.lib.stride_tricks.sliding_window_view(lags, taps, axis=-1)[..., ::-1]
    matrix = np.require(blocks.transpose(0, 2, 1, 3), requirements=("C", "W"))
    return matrix.reshape(2 * (len(spectra) * taps,))


def _cholesky(matrix: np.ndarray) -> torch.Tensor:
    """Lower triangular factor; of references that are (nearly) filtered copies, with a ridge."""
    tensor = torch.from_numpy(matrix)
    factor, failed = torch.linalg.cholesky_ex(tensor)
    ridge = np.finfo(np.float64).eps * len(matrix)
    while failed:
        factor, failed = torch.linalg.cholesky_ex(
            tensor + ridge * torch.eye(len(matrix), dtype=tensor.dtype)
        )
        ridge *= 10
    return factor


def _fft_size(length: int) -> int:
    """A size of at least ``length`` that has small factors only."""
    power = 1 << (length - 1).bit_length()
    return next(size for size in (9 * power // 16, 3 * power // 4, power) if size >= length)


def _energy(sound: np.ndarray) -> np.ndarray:
    return np.sum(sound**2, axis=-1)


def _doubles(*sounds: ArrayLike) -> list[np.ndarray]:
    return [np.asarray(sound, np.float64) for sound in sounds]
