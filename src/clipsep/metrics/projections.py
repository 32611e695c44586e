"""Least-squares projections of sounds on delayed reference sounds, as BSS Eval splits estimates.

Linear algebra only: `clipsep.metrics.ratios` turns the energies into dB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.linalg import LinAlgError, cho_factor, solve_triangular, toeplitz
from threadpoolctl import ThreadpoolController


class Energies(NamedTuple):
    """Of each estimate [M]: |P0 e|^2, |P e - P0 e|^2 and |e - P e|^2, see `projection_energies`."""

    of_target: np.ndarray
    of_others: np.ndarray
    artifacts: np.ndarray


# One thread: rounding must not depend on the cores, and matrices this small gain little by more.
@ThreadpoolController().wrap(limits=1, user_api="blas")
def projection_energies(
    references: np.ndarray, estimates: np.ndarray, taps: int, n_targets: int = 1
) -> Energies:
    """Energies of the parts of estimates e [M, T] that references [N, T] explain.

    P is the projection on all references delayed by 0 to taps - 1 samples, P0 that on the delays of the
    first ``n_targets`` of them, the channels of the target. Silent references explain nothing. References
    that are (nearly) filtered copies of one another get a ridge.

    Raises:
        ValueError: if a reference is not finite.
    """
    if not np.isfinite(references).all():
        raise ValueError("references with values that are not finite")
    sounding = references[references.any(axis=1)]
    sounding = sounding / np.abs(sounding).max(axis=1, keepdims=True)  # so that no square vanishes
    sounding /= np.sqrt(np.sum(sounding**2, axis=1, keepdims=True))  # P does not depend on levels
    n = len(sounding)
    spectra = _block_spectra(np.concatenate([sounding, estimates]), taps)
    correlations = _correlations(spectra[:n], spectra, taps)
    delays, targets = correlations[:, :n], correlations[:, n:]  # [N, N, taps], [N, M, taps]
    n_sounding_targets = int(references[:n_targets].any(axis=1).sum())
    filters, of_target, of_others = _solve(delays, targets, n_sounding_targets)
    return Energies(of_target, of_others, _artifacts(spectra[:n], filters, estimates))


def _solve(
    delays: np.ndarray, targets: np.ndarray, n_targets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit filters [M, N, taps] of the references whose sum is P e, |P0 e|^2 [M] and |P e - P0 e|^2 [M].

    Forward substitution with the Cholesky factor of all delays' correlations, the target's first,
    orthogonalises the delays in that order: the first ``taps`` coefficients belong to P0, the others
    to what the interferers add, and no energy is the difference of two larger ones.
    """
    n, m, taps = targets.shape
    right = targets.swapaxes(1, 2).reshape(n * taps, m)
    factor = _cholesky(delays)
    forward = solve_triangular(factor, right, lower=True, check_finite=False)
    filters = solve_triangular(factor, forward, lower=True, trans="T", check_finite=False)
    squares = forward**2
    of_target = squares[: n_targets * taps].sum(axis=0)
    of_others = squares[n_targets * taps :].sum(axis=0)
    return filters.reshape(n, taps, m).transpose(2, 0, 1), of_target, of_others


def _block_spectra(sounds: np.ndarray, taps: int) -> np.ndarray:
    """Spectra of blocks of ``taps`` samples, each padded to twice that, [N, blocks, taps + 1].

    One more block than the sounds fill, for what filters leave behind their end.
    """
    return fft.rfft(_blocks(sounds, taps), 2 * taps)


def _blocks(sounds: np.ndarray, taps: int) -> np.ndarray:
    n, samples = sounds.shape
    blocks = np.zeros((n, -(-samples // taps) + 1, taps))
    blocks.reshape(n, -1)[:, :samples] = sounds
    return blocks


def _correlations(first: np.ndarray, second: np.ndarray, taps: int) -> np.ndarray:
    """Sum f(t) s(t + lag) over t for sounds by block spectra, lags 0 to taps - 1: [F, S, taps]."""
    # With the block behind it, which half a period away is (-1)^k times its spectrum, a block holds
    # all that the lags reach.
    longer = second.copy()
    longer[:, :-1] += (1 - 2 * (np.arange(taps + 1) % 2)) * second[:, 1:]
    sums = np.einsum("fbk,sbk->fsk", first.conj(), longer)
    return fft.irfft(sums, 2 * taps)[..., :taps]


def _artifacts(spectra: np.ndarray, filters: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Energies [M] of what the filters [M, N, taps] do not explain of the estimates [M, T]."""
    taps = filters.shape[-1]
    responses = fft.rfft(filters, 2 * taps)
    energies = np.empty(len(estimates))
    for place, (response, blocks) in enumerate(
        zip(responses, _blocks(estimates, taps), strict=True)
    ):
        explained = fft.irfft(np.einsum("nk,nbk->bk", response, spectra), 2 * taps)
        blocks -= explained[:, :taps]
        blocks[1:] -= explained[:-1, taps:]
        energies[place] = np.vdot(blocks, blocks)
    return energies


def _cholesky(delays: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of the correlations of all delays, with as small a ridge as it takes.

    Only its lower triangle holds numbers of the factor.
    """
    ridge = 0.0
    while True:
        matrix = _delay_correlations(delays)
        matrix.flat[:: len(matrix) + 1] += ridge
        try:
            # The transpose is the same matrix, in the order that LAPACK can overwrite.
            return cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)[0]
        except LinAlgError:  # not positive definite in floating point
            ridge = max(10 * ridge, np.finfo(np.float64).eps * len(matrix))


def _delay_correlations(delays: np.ndarray) -> np.ndarray:
    """Inner products of all delays of all references, [N taps, N taps], from [N, N, taps]."""
    n = len(delays)
    if not n:
        return np.empty((0, 0))
    return np.block([[toeplitz(delays[a, b], delays[b, a]) for b in range(n)] for a in range(n)])
