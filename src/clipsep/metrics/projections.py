"""Least-squares projections of sounds on delayed reference sounds, as BSS Eval splits estimates.

Linear algebra only: what the energies mean in dB is said in ratios.py.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular, toeplitz
from scipy.linalg.blas import dtrmv
from threadpoolctl import ThreadpoolController

_LARGEST_DOUBT = 1e-5  # of an energy: 4e-5 dB
_LARGEST_DOUBT_OF_PROBE = 1e-2  # then a doubt is wrong by a few tenths of itself at most


class Energies(NamedTuple):
    """Of each estimate [M]: |P0 e|^2, |P e - P0 e|^2 and |e - P e|^2, see `projection_energies`."""

    of_target: np.ndarray
    of_others: np.ndarray
    artifacts: np.ndarray


class _Solution(NamedTuple):
    """Filters [M, N, taps] of the references whose sum is P e, and energies [M].

    ``doubt`` is by how much ``of_others`` is too small and the artifacts are too large.
    """

    filters: np.ndarray
    of_target: np.ndarray
    of_others: np.ndarray
    doubt: np.ndarray


# One thread: rounding must not depend on the cores, and matrices this small gain little by more.
@ThreadpoolController().wrap(limits=1, user_api="blas")
def projection_energies(
    references: np.ndarray, estimates: np.ndarray, taps: int, n_targets: int = 1
) -> Energies:
    """Energies of the parts of estimates e [M, T] that references [N, T] explain.

    P is the projection on all references delayed by 0 to taps - 1 samples, P0 that on the delays of the
    first ``n_targets`` of them, the channels of the target. Silent references explain nothing.
    References that are (nearly) filtered copies of one
    another get a ridge.

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
    sounding_targets = int(references[:n_targets].any(axis=1).sum())
    if n == 2 and n_targets == 1 and sounding_targets:
        solution = _solve_two(delays, targets)
        if solution is not None:
            artifacts = _artifacts(spectra[:n], solution.filters, estimates)
            smallest = np.minimum(solution.of_others, artifacts)
            if (solution.doubt <= _LARGEST_DOUBT * smallest).all():
                return Energies(solution.of_target, solution.of_others, artifacts)
    solution = _solve_any(delays, targets, sounding_targets)
    artifacts = _artifacts(spectra[:n], solution.filters, estimates)
    return Energies(solution.of_target, solution.of_others, artifacts)


def _solve_any(delays: np.ndarray, targets: np.ndarray, n_targets: int) -> _Solution:
    """Any number of references, by the Cholesky factor of all their delays' correlations.

    With the target's delays first, forward substitution orthogonalises them in that order: the first
    ``taps`` coefficients belong to P0, the others to what the interferers add, and no energy is the
    difference of two larger ones.
    """
    n, m, taps = targets.shape
    right = targets.swapaxes(1, 2).reshape(n * taps, m)
    blocks = [[_delay_matrix(delays, a, b) for b in range(n)] for a in range(n)]
    factor = _cholesky(np.block(blocks) if n else np.empty((0, 0)))
    forward = solve_triangular(factor[0], right, lower=True, check_finite=False)
    filters = cho_solve(factor, right, check_finite=False).reshape(n, taps, m)
    squares = forward**2
    of_target = squares[: n_targets * taps].sum(axis=0)
    of_others = squares[n_targets * taps :].sum(axis=0)
    return _Solution(filters.transpose(2, 0, 1), of_target, of_others, np.zeros(m))


def _solve_two(delays: np.ndarray, targets: np.ndarray) -> _Solution | None:
    """Two references at several times the speed, by elimination of the target's delays.

    Of the correlations [[A, B], [B^T, D]] only A and the Schur complement S = D - B^T A^-1 B are
    factorised. With b the correlations with the estimate, |P0 e|^2 = b0^T A^-1 b0, and r = b1 - B^T
    A^-1 b0 gives |P e - P0 e|^2 = r^T S^-1 r. Only S may be inexact (see `_schur_complement`); if x
    solves it up to a residual s = r - S x, then x^T (r + s) is too small by s^T S^-1 s.

    Returns:
        None if A or S is not positive definite in floating point, or S too inexact to tell the doubt.
    """
    matrix_b, matrix_d = _delay_matrix(delays, 0, 1), _delay_matrix(delays, 1, 1)
    try:
        factor_a = _factor(_delay_matrix(delays, 0, 0))
        factor_s = _factor(_schur_complement(delays, matrix_b, factor_a))
    except LinAlgError:
        return None
    b0, b1 = targets[0].T, targets[1].T  # [taps, M]
    alone = cho_solve(factor_a, b0, check_finite=False)
    right = np.column_stack([b1 - matrix_b.T @ alone, _probe(factor_s)])
    of_other = cho_solve(factor_s, right, check_finite=False)
    taken = cho_solve(factor_a, matrix_b @ of_other, check_finite=False)
    residual = right - (matrix_d @ of_other - matrix_b.T @ taken)
    correction = cho_solve(factor_s, residual, check_finite=False)
    *doubt, doubt_of_probe = np.sum(residual * correction, axis=0)
    if doubt_of_probe > _LARGEST_DOUBT_OF_PROBE:
        return None
    of_other, right, residual = of_other[:, :-1], right[:, :-1], residual[:, :-1]
    return _Solution(
        filters=np.stack([(alone - taken[:, :-1]).T, of_other.T], axis=1),
        of_target=np.sum(b0 * alone, axis=0),
        of_others=np.sum(of_other * (right + residual), axis=0),
        doubt=np.array(doubt),
    )


def _probe(factor: tuple[np.ndarray, bool]) -> np.ndarray:
    """L g for a matrix L L^T and white noise g: a right side in which no direction goes unseen.

    If L L^T is to be S, the doubt of its solution is |(L^-1 S L^-T - I) g|^2: small only if the two
    agree in every direction, also where both are small, so that the other doubts can be believed.
    """
    lower = factor[0]
    noise = np.random.default_rng(0).standard_normal(len(lower))
    return dtrmv(lower, noise, lower=1)


def _schur_complement(
    delays: np.ndarray, matrix_b: np.ndarray, factor_a: tuple[np.ndarray, bool]
) -> np.ndarray:
    """S = D - B^T A^-1 B in O(taps^2), of which only the upper triangle is right.

    S is nearly Toeplitz: with L = B^T A^-1 and the shift Z of rows by one down, (S - Z S Z^T)_ij is
    for i, j > 0 that of K A K^T - a_0 (L e_0)(L e_0)^T with K = Z L - L Z (displacement of a Schur
    complement: Kailath and Sayed, "Displacement structure: theory and applications", 1995). Since A
    and B are Toeplitz, K A has rank two but for its first row: K A = (L e_0) p^T + y e_last^T with p
    = (a_1, ..., a_n-1, 0). So S is its first row, and running sums of a matrix of rank two along its
    diagonals.
    """
    (a, beta), (_, d) = delays
    taps = len(a)
    first = np.eye(1, taps)[0]
    shifted = np.append(a[1:], 0)
    columns = np.stack([first, shifted, beta], axis=1)
    of_first, of_shifted, of_beta = cho_solve(factor_a, columns, check_finite=False).T
    # A is symmetric about both diagonals: backwards this solves for p backwards.
    solved = np.stack([of_first, of_shifted[::-1], of_beta], axis=1)
    x, y, of_row = (matrix_b.T @ solved).T
    y = np.append(0, beta[:0:-1]) - y
    crossed = of_shifted[-1]
    middle = [[shifted @ of_shifted - a[0], crossed], [crossed, of_first[0]]]
    factors = np.stack([x, y], axis=1)
    # In rows of taps + 1 numbers, what is diagonal in rows of taps is a column.
    storage = np.empty(taps * (taps + 1))
    complement = storage[: taps * taps].reshape(taps, taps)
    np.matmul(factors @ middle, factors.T, out=complement)
    complement[0] = d - of_row
    diagonals = storage.reshape(taps, taps + 1)
    for above, row in pairwise(diagonals):
        row += above
    return complement


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
    """Sums over t of f(t) s(t + lag) of sounds by block spectra, lags 0 to taps - 1, [F, S, taps]."""
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


def _delay_matrix(delays: np.ndarray, a: int, b: int) -> np.ndarray:
    """Inner products of a's delays (rows) with b's (columns), from correlations [N, N, taps]."""
    return toeplitz(delays[a, b], delays[b, a])


def _cholesky(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Factor of correlations for `cho_solve`, with as small a ridge as it takes."""
    ridge = 0.0
    while True:
        try:
            return _factor(matrix + ridge * np.eye(len(matrix)))
        except LinAlgError:
            ridge = max(10 * ridge, np.finfo(np.float64).eps * len(matrix))


def _factor(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cholesky factor for `cho_solve` of a matrix [K, K], in its place and by its upper triangle.

    Raises:
        LinAlgError: if it is not positive definite in floating point.
    """
    return cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
