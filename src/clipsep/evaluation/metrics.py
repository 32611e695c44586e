"""How well a sound was separated, in dB: plain functions of arrays.

Nothing here knows of models, files or lists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from clipsep.evaluation.projections import projection_energies

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
        ValueError: for other shapes, or references that are not finite.
    """
    references, estimates = _doubles(references, estimates)
    if references.ndim != 2 or references.shape[-1:] != estimates.shape[-1:]:
        raise ValueError(
            f"no references [N, T] and estimates [..., T]: {references.shape=}, {estimates.shape=}"
        )
    flat = estimates.reshape(-1, estimates.shape[-1])
    of_target, of_others, artifacts = projection_energies(references, flat, taps)
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


def _energy(sound: np.ndarray) -> np.ndarray:
    return np.sum(sound**2, axis=-1)


def _doubles(*sounds: ArrayLike) -> list[np.ndarray]:
    return [np.asarray(sound, np.float64) for sound in sounds]
