"""Scores by the embeddings of a model that hears: they need no reference, or only one of the same kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def embedding_score(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Cosine of embeddings [..., D], broadcast against each other; NaN where one is zero.

    With a CLAP's embeddings of the query's text and of the estimate it is the CLAPScore, with those of the
    reference's and the estimate's audio CLAPScore_A (Xiao et al., 2024).
    """
    first, second = (np.asarray(array, np.float64) for array in (first, second))
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sum(first * second, axis=-1) / norms


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Frechet distance of two sets of embeddings [N, D] and [M, D], each taken for normally distributed.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Kilgour et al., "Frechet Audio Distance", 2019, eq. 1).
    With fewer items than dimensions the covariances are not of full rank, and values compare only between
    sets of the same sizes.

    Raises:
        ValueError: for fewer than two items.
    """
    sets = [np.asarray(array, np.float64) for array in (first, second)]
    if min(len(embeddings) for embeddings in sets) < 2:
        raise ValueError("a Frechet distance needs two embeddings of each kind")
    means = [embeddings.mean(axis=0) for embeddings in sets]
    centred = [
        (embeddings - mean) / np.sqrt(len(embeddings) - 1)
        for embeddings, mean in zip(sets, means, strict=True)
    ]
    # The trace of (S1 S2)^(1/2) is the sum of the singular values of C1 C2^T, S = C^T C.
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    spread = sum(np.sum(part**2) for part in centred)
    return float(max(0.0, np.sum((means[0] - means[1]) ** 2) + spread - 2 * root))
