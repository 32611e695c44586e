"""Laws of the projections: they are those of least squares, also where delays are nearly dependent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import convolution_matrix

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


@pytest.mark.parametrize("low_pass", [8, 400])
def test_nearly_dependent_delays(low_pass):
    references = coloured(2, low_pass)
    target_alone = projection_energies(references[:1], references[:1], TAPS)
    assert target_alone.artifacts[0] <= 1e-9 * target_alone.of_target[0]
    energies = projection_energies(references, some_estimates(references), TAPS)
    assert np.isfinite(energies).all()
    total = np.sum(some_estimates(references) ** 2, axis=1)
    np.testing.assert_allclose(np.sum(energies, axis=0), total, rtol=1e-5)  # 4e-5 dB


def test_an_interferer_that_is_a_copy_of_the_target_adds_nothing():
    references = noises(1).repeat(2, axis=0)
    energies = projection_energies(references, some_estimates(references), TAPS)
    assert (energies.of_others <= 1e-9 * energies.of_target).all()


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
