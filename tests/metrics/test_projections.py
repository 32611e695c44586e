"""Laws of the projections: the quick solution is the plain one, or it is not used."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import cho_factor, convolution_matrix

from clipsep.metrics import projections
from clipsep.metrics.projections import projection_energies

TAPS = 64


def noises(n: int, samples: int = 3000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, samples))


def coloured(n: int, low_pass: int) -> np.ndarray:
    """Noises through a filter: the longer, the nearer are their delays to dependent ones."""
    return np.stack([np.convolve(noise, np.hanning(low_pass)) for noise in noises(n)])


def some_estimates(references: np.ndarray) -> np.ndarray:
    noise = noises(1, references.shape[1], seed=1)[0]
    mixture = references.sum(axis=0)
    return np.stack([mixture + 1e-3 * noise, references[0] + 0.1 * noise, np.sign(mixture)])


@pytest.fixture
def plain_solutions(monkeypatch) -> list[None]:
    """Grows with every solution that is the plain one."""
    calls: list[None] = []
    plain = projections._solve_any

    def counted(*args):
        calls.append(None)
        return plain(*args)

    monkeypatch.setattr(projections, "_solve_any", counted)
    return calls


def plain_energies(references: np.ndarray, estimates: np.ndarray, monkeypatch) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(projections, "_solve_two", lambda *_: None)
        return np.array(projection_energies(references, estimates, TAPS))


@pytest.mark.parametrize("samples", [TAPS - 1, 10 * TAPS, 10 * TAPS + 1])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_equal_to_least_squares(n, samples):
    references = noises(n, samples)
    references[1:] += 0.5 * references[0]
    estimates = np.pad(some_estimates(references), ((0, 0), (0, TAPS - 1)))
    delays = np.hstack([convolution_matrix(reference, TAPS) for reference in references])

    def projected(delays: np.ndarray) -> np.ndarray:
        orthonormal = np.linalg.qr(delays)[0]
        return estimates @ orthonormal @ orthonormal.T

    if samples < TAPS:  # all that there can be is explained
        delays = delays[:, :TAPS]
        references = references[:1]
    of_target, of_all = projected(delays[:, :TAPS]), projected(delays)
    parts = (of_target, of_all - of_target, estimates - of_all)
    energies = projection_energies(references, estimates[:, :samples], TAPS)
    for energy, part in zip(energies, parts, strict=True):
        np.testing.assert_allclose(energy, np.sum(part**2, axis=1), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("taps", [1, 2, 7, TAPS])
def test_schur_complement(taps):
    spectra = projections._block_spectra(noises(2, 500) + 0.5 * noises(1, 500, seed=1), taps)
    delays = projections._correlations(spectra, spectra, taps)
    a, b, d = (projections._delay_matrix(delays, *place) for place in ((0, 0), (0, 1), (1, 1)))
    factor = cho_factor(a, lower=True)
    complement = np.triu(projections._schur_complement(delays, b, factor))
    np.testing.assert_allclose(complement, np.triu(d - b.T @ np.linalg.solve(a, b)), atol=1e-9)


@pytest.mark.parametrize("low_pass", [3, 8])
def test_two_references_are_solved_quickly(low_pass, plain_solutions, monkeypatch):
    references = coloured(2, low_pass)
    estimates = some_estimates(references)
    quick = np.array(projection_energies(references, estimates, TAPS))
    assert not plain_solutions
    plain = plain_energies(references, estimates, monkeypatch)
    np.testing.assert_allclose(quick, plain, rtol=2e-5)


def test_nearly_dependent_delays_are_solved_plainly(plain_solutions, monkeypatch):
    references = coloured(2, 400)
    estimates = some_estimates(references)
    energies = projection_energies(references, estimates, TAPS)
    assert len(plain_solutions) == 1
    plain = plain_energies(references, estimates, monkeypatch)
    np.testing.assert_array_equal(energies, plain)


@pytest.mark.parametrize("error", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("low_pass", [1, 8])
def test_an_inexact_complement_is_noticed(error, low_pass, plain_solutions, monkeypatch):
    references = coloured(2, 2 + low_pass)
    estimates = some_estimates(references)
    plain = plain_energies(references, estimates, monkeypatch)
    exact = projections._schur_complement
    for diagonal in (np.ones(TAPS), np.eye(TAPS)[TAPS // 2]):  # everywhere, or in one place
        added = error * np.diag(diagonal)
        with monkeypatch.context() as patch:
            patch.setattr(
                projections, "_schur_complement", lambda *args, added=added: exact(*args) + added
            )
            energies = projection_energies(references, estimates, TAPS)
        np.testing.assert_allclose(energies, plain, rtol=2e-5)


def test_references_that_are_not_finite_are_refused():
    references = noises(2)
    references[1, 5] = np.nan
    with pytest.raises(ValueError, match="finite"):
        projection_energies(references, noises(1), TAPS)


def test_levels_of_references_do_not_matter():
    references = noises(2)
    estimates = some_estimates(references)
    plain = projection_energies(references, estimates, TAPS)
    scaled = projection_energies(references * [[1e-200], [1e200]], estimates, TAPS)
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)
