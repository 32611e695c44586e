"""Logistic regression with a few features, and how far its probabilities can be believed."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

_PENALTY = 1e-3  # on squared weights of standardised features, so that few data cannot blow them up


def fit_logistic(
    features: np.ndarray, outcome: np.ndarray, counts: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Offset and weights [K] by the likelihood of bools ``outcome`` [N] given ``features`` [N, K].

    Args:
        counts: [N], how much each row counts; by default all the same.
    """
    counts = np.ones(len(outcome)) if counts is None else counts
    counts = counts / counts.sum()
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    standard = (features - mean) / scale
    signs = np.where(outcome, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin = signs * (parameters[0] + standard @ parameters[1:])
        slope = -signs * expit(-margin) * counts
        penalty = _PENALTY * np.square(parameters[1:]).sum()
        gradient = np.concatenate([[slope.sum()], slope @ standard + 2 * _PENALTY * parameters[1:]])
        return float(-log_expit(margin) @ counts + penalty), gradient

    found = minimize(loss, np.zeros(1 + features.shape[1]), jac=True, method="BFGS").x
    weights = found[1:] / scale
    return float(found[0] - weights @ mean), weights


def out_of_fold(
    features: np.ndarray, outcome: np.ndarray, groups: np.ndarray, folds: int = 5
) -> np.ndarray:
    """Probabilities [N], each by a regression on the other folds; a group [N] is in one fold."""
    _, numbers = np.unique(groups, return_inverse=True)
    probability = np.empty(len(outcome))
    for fold in range(folds):
        inside = numbers % folds == fold
        offset, weights = fit_logistic(features[~inside], outcome[~inside])
        probability[inside] = expit(offset + features[inside] @ weights)
    return probability


def reliability(
    probability: np.ndarray, outcome: np.ndarray, bins: int = 10
) -> tuple[float, list[tuple[str, int, float, float]]]:
    """Compute the expected calibration error (Naeini et al., 2015), and a row per bin of equal width.

    Returns:
        the error, and rows of the bin's name, its number of queries, their mean confidence, and the
        share of them that was there.
    """
    places = np.minimum((probability * bins).astype(int), bins - 1)
    rows, error = [], 0.0
    for place in range(bins):
        inside = places == place
        if not inside.any():
            continue
        confidence, share = float(probability[inside].mean()), float(outcome[inside].mean())
        error += inside.mean() * abs(confidence - share)
        name = f"{100 * place / bins:.0f} to {100 * (place + 1) / bins:.0f} %"
        rows.append((name, int(inside.sum()), confidence, share))
    return float(error), rows


def auc(score: np.ndarray, outcome: np.ndarray) -> float:
    """Probability that a query that is there scores higher than one that is not."""
    there, absent = score[outcome], np.sort(score[~outcome])
    below = np.searchsorted(absent, there, "left") + np.searchsorted(absent, there, "right")
    return float(below.mean() / 2 / len(absent))
