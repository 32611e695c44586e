"""How well a sound was separated, in dB: plain functions of arrays.

They take no models, files or lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

FILTER_TAPS = 512  # as in BSS Eval and in the published evaluation
SILENT = 1e-5  # the published evaluation skips sounds whose magnitudes add up to no more


class BssRatios(NamedTuple):
    """BSS Eval v4 of some estimates, in dB, each shaped as the estimates without channels and samples."""

    sdr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray


def sdr(reference: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Signal to distortion ratio as in BSS Eval v4 "images": 10 log10(|s|^2 / |s - e|^2) in dB.

    A silent estimate has 0 dB, a perfect one infinitely many, a silent reference minus infinity. For a
    recording of several channels as one sound, flatten channels and samples to one axis first.

    Args:
        reference: s, [..., T].
        estimate: e, [..., T].
    """
    reference, estimate = _of_one_length(reference, estimate)
    return decibels(_energy(reference), _energy(reference - estimate))


def sdr_improvement(reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> np.ndarray:
    """SDRi: the estimate's `sdr` minus that of the mixture itself, in dB.

    NaN for a silent reference. Below 0 dB, listening to the mixture would be better.

    Args:
        reference, estimate, mixture: [..., T].
    """
    with np.errstate(invalid="ignore"):  # of a silent reference, both are infinite
        return sdr(reference, estimate) - sdr(reference, mixture)


def si_sdr(reference: ArrayLike, estimate: ArrayLike, zero_mean: bool = False) -> np.ndarray:
    """Scale-invariant SDR: 10 log10(|a s|^2 / |a s - e|^2) in dB with a = <e, s> / |s|^2.

    Le Roux et al., "SDR - half-baked or well done?" (2019), eq. 4. NaN if the reference or the estimate
    is silent.

    Args:
        reference: s, [..., T].
        estimate: e, [..., T].
        zero_mean: subtract the means first, as asteroid and fast_bss_eval do by default; torchmetrics
            and AudioSep do not. The two differ by up to tens of dB where sounds have an offset.
    """
    s, e = _of_one_length(reference, estimate)
    if zero_mean:
        s = s - s.mean(axis=-1, keepdims=True)
        e = e - e.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scale = np.sum(s * e, axis=-1) / _energy(s)
    scaled = scale[..., None] * s
    return decibels(_energy(scaled), _energy(scaled - e))


def si_sdr_improvement(
    reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike, zero_mean: bool = False
) -> np.ndarray:
    """SI-SDRi: the estimate's `si_sdr` minus that of the mixture itself, in dB.

    Args:
        reference, estimate, mixture: [..., T].
        zero_mean: see `si_sdr`.
    """
    with np.errstate(invalid="ignore"):
        return si_sdr(reference, estimate, zero_mean) - si_sdr(reference, mixture, zero_mean)


def leakage(mixture: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Energy of an estimate over the mixture's, where the query names a sound that is not in it.

    0 is right, 1 means that everything passes; infinite if only the mixture is silent, NaN if both are.

    Args:
        mixture, estimate: [..., T].
    """
    mixture, estimate = _of_one_length(mixture, estimate)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _energy(estimate) / _energy(mixture)


def class_aware_sdr_improvement(
    references: Mapping[str, ArrayLike], estimates: Mapping[str, ArrayLike], mixture: ArrayLike
) -> float:
    """CA-SDRi of one mixture: separation and the choice of what to separate in one number, in dB.

    DCASE 2025 task 4: the mean over all classes that are in the mixture or were estimated of the SDR
    improvement where both are, and of 0 dB where a sound was missed or invented.

    Args:
        references: the sources [T] by the name of their class.
        estimates: likewise, the classes that the system found.
        mixture: [T].

    Raises:
        ValueError: if there is neither a reference nor an estimate.
    """
    classes = references.keys() | estimates.keys()
    if not classes:
        raise ValueError("neither references nor estimates")
    found = references.keys() & estimates.keys()
    gains = [float(sdr_improvement(references[name], estimates[name], mixture)) for name in found]
    return sum(gains) / len(classes)


def bss_metrics(references: ArrayLike, estimates: ArrayLike, taps: int = FILTER_TAPS) -> BssRatios:
    """SDR, SIR and SAR of estimates of the first reference, over the whole signal.

    BSS Eval v4 "images" with one filter for all of the signal (Stöter et al., 2018); museval 0.4.1 with
    ``window=inf`` gives the same. P is the projection on all channels of all references delayed by 0 to
    taps - 1 samples, P0 that on the first reference's delays, and energies are summed over channels:
    SIR = 10 log10(|P0 e|^2 / |P e - P0 e|^2) and SAR = 10 log10(|P e|^2 / |e - P e|^2).

    Silent references take no part in the projections, where museval raises an error. For a silent
    estimate SIR and SAR are NaN.

    Args:
        references: the target, then what was mixed with it, [N, T] or [N, C, T].
        estimates: attempts at the target, [..., T] or [..., C, T]; many at once cost little more than one.

    Raises:
        ValueError: for other shapes, or references that are not finite.
        ModuleNotFoundError: without SciPy and threadpoolctl.
    """
    from clipsep.metrics.projections import projection_energies

    references, estimates = _doubles(references, estimates)
    sound = references.shape[1:]  # (T,) or (C, T)
    if references.ndim not in (2, 3) or estimates.shape[-len(sound) :] != sound:
        raise ValueError(
            "references must be [N, T] or [N, C, T] and estimates [..., T] or [..., C, T], not "
            f"{list(references.shape)} and {list(estimates.shape)}"
        )
    samples, channels = sound[-1], len(references[0]) if len(sound) == 2 else 1
    energies = projection_energies(
        references.reshape(-1, samples), estimates.reshape(-1, samples), taps, channels
    )
    shape = estimates.shape[: estimates.ndim - len(sound)]
    of_target, of_others, artifacts = (
        energy.reshape(*shape, channels).sum(axis=-1) for energy in energies
    )
    flat = (*shape, channels * samples)
    return BssRatios(
        sdr(references[0].reshape(-1), estimates.reshape(flat)),
        decibels(of_target, of_others),
        decibels(of_target + of_others, artifacts),
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


def _of_one_length(*sounds: ArrayLike) -> list[np.ndarray]:
    arrays = _doubles(*sounds)
    if len({array.shape[-1:] for array in arrays}) > 1:
        shapes = " and ".join(str(list(array.shape)) for array in arrays)
        raise ValueError(f"sounds that are compared have one length, and these the shapes {shapes}")
    return arrays


def _doubles(*sounds: ArrayLike) -> list[np.ndarray]:
    return [np.asarray(sound, np.float64) for sound in sounds]
