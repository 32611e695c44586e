"""How likely it is that a query's sound is in a recording at all, from the masks that it gets.

The features are sums over one segment, so that they cost little and a stream needs constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsep.feedback import ConfidenceSettings
from clipsep.queries.known import Familiarity

# evident: logit that the bins which hold a tenth of the mixture's energy exceed; overall: mean logit,
# weighted by magnitude; share: log of the energy share of the answer; familiarity: of the query.
FEATURES = ("evident", "overall", "share", "familiarity")
_EVIDENT_SHARE = 0.1
_LARGEST_LOGIT = 12.0
_EVERY = 2  # STFT frames; they overlap by three quarters
_STEPS = 10  # of the histogram per unit of a logit


@dataclass(frozen=True)
class QueryFeedback:
    """What a model says of one query and of its answer.

    Attributes:
        familiarity: how the query compares with what was learnt; None if the model does not know that.
        confidence: probability that the sound is in the recording, where half of the queries name
            sounds that are; None if the model has no calibration.
    """

    familiarity: Familiarity | None = None
    confidence: float | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        known = self.familiarity
        return {
            "familiarity": known.level if known else None,
            "similarity": round(known.similarity, 4) if known else None,
            "nearest_known": list(known.nearest) if known else [],
            "confidence": None if self.confidence is None else round(self.confidence, 4),
        }


def mask_features(log_magnitude: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Features of the masks of one segment, the first three of `FEATURES`.

    Args:
        log_magnitude: the mixture's, [F, T].
        logits: those of the masks, [N, F, T].

    Returns:
        float32 [N, 3].
    """
    log_magnitude, logits = log_magnitude[:, ::_EVERY], logits[..., ::_EVERY]
    magnitude = np.exp(log_magnitude - log_magnitude.max())
    by_magnitude = (magnitude / magnitude.sum()).ravel()
    power = np.square(magnitude)
    by_energy = (power / power.sum()).ravel()
    rows = []
    for logit in np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT).reshape(len(logits), -1):
        mask = 1 / (1 + np.exp(-logit))
        share = np.log(np.dot(by_energy, np.square(mask)) + 1e-6)
        rows.append((_exceeded(logit, by_energy), np.dot(by_magnitude, logit), share))
    return np.array(rows, np.float32)


def _exceeded(logit: np.ndarray, weights: np.ndarray) -> float:
    """Find the logit that bins which hold ``_EVIDENT_SHARE`` of the weights exceed, to a tenth."""
    steps = ((logit + _LARGEST_LOGIT) * _STEPS).astype(np.int64)
    histogram = np.bincount(steps, weights)
    above = np.cumsum(histogram[::-1])
    step = len(histogram) - 1 - np.searchsorted(above, _EVIDENT_SHARE)
    return step / _STEPS - _LARGEST_LOGIT


class ConfidenceMeter:
    """The confidence of a recording's answers, segment by segment, in constant memory.

    Args:
        settings: the model's.
        familiarity: that of the N queries; None where it is not known.
    """

    def __init__(self, settings: ConfidenceSettings, familiarity: list[Familiarity | None]):
        self._settings = settings
        self._weights = np.array([settings.weights.get(name, 0.0) for name in FEATURES])
        self._scores = np.array([one.score if one else 0.0 for one in familiarity])
        self._highest = np.zeros(len(familiarity))

    def add(self, log_magnitude: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Take a segment [F, T] and its mask logits [N, F, T].

        Returns:
            the probabilities that each sound is in this segment, [N].
        """
        if np.ptp(log_magnitude) == 0:  # digital silence
            return np.zeros(len(logits))
        features = np.column_stack([mask_features(log_magnitude, logits), self._scores])
        probability = sigmoid(features @ self._weights + self._settings.offset)
        self._highest = np.maximum(self._highest, probability)
        return probability

    @property
    def confidence(self) -> np.ndarray:
        """[N]: of the segment in which each sound is most evident; 0 before the first one."""
        return self._highest.copy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Compute the logistic function, without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)
