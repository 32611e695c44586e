"""Scores by embeddings, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from clipsep.metrics.reference_free import embedding_score, frechet_distance


def test_the_score_is_the_cosine():
    first = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert embedding_score(first, [2.0, 0.0])[:2] == pytest.approx([1.0, 0.6])
    assert np.isnan(embedding_score(first, [2.0, 0.0])[2])


def test_the_distance_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    first, second = (
        rng.standard_normal((40, 5)),
        1 + rng.standard_normal((30, 5)) @ rng.random((5, 5)),
    )
    covariances = [np.cov(part, rowvar=False) for part in (first, second)]
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(
        sum(covariances) - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10)
    few = rng.standard_normal((3, 50))  # fewer items than dimensions
    assert frechet_distance(few, few + 2) == pytest.approx(4 * 50)
    with pytest.raises(ValueError, match="two embeddings"):
        frechet_distance(first[:1], second)
