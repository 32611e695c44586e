"""The masks of a model for some queries: its logits, moved by the sensitivity, and how far to trust them.

Recordings and mixtures of evaluation take the same path through it, whatever engine runs the network.
"""

from __future__ import annotations

import math

import numpy as np

from clipsep.checkpoint import CheckpointConfig
from clipsep.engines import Engine
from clipsep.errors import UsageError
from clipsep.queries.known import Familiarity
from clipsep.separation.masking.confidence import ConfidenceMeter, QueryFeedback
from clipsep.separation.masking.masks import masks_of

SENSITIVITY = 0.5
_MOST = 0.99  # beyond, masks of all bins would be the same


def sensitivity_bias(sensitivity: float) -> float:
    """Return what a sensitivity adds to the logits of masks: the logarithm of its odds.

    A mask is read as the probability that a bin belongs to the sound. The sensitivity s multiplies its
    odds by s / (1 - s): 0.5 leaves them, 0.75 trebles them, 0.25 divides them by three. At both ends it
    is limited to odds of 99.

    Raises:
        UsageError: if it is not between 0 and 1.
    """
    if not 0 <= sensitivity <= 1:
        raise UsageError(f"The sensitivity is a number from 0 to 1, not {sensitivity}.")
    limited = min(max(sensitivity, 1 - _MOST), _MOST)
    return math.log(limited / (1 - limited))


class QueryMasks:
    """A mask function (see `masks.py`) that notes how far its answers can be trusted.

    Args:
        queries: embeddings [N, D]; None for a model that takes none.
        familiarity: how near the queries are to what the model has learnt; by default unknown.
        binary: masks of 0 and 1.
        sensitivity: see `sensitivity_bias`.

    Raises:
        UsageError: for a sensitivity that is not between 0 and 1.
    """

    def __init__(
        self,
        engine: Engine,
        config: CheckpointConfig,
        queries: np.ndarray | None,
        familiarity: list[Familiarity | None] | None = None,
        binary: bool = False,
        sensitivity: float = SENSITIVITY,
    ):
        self._engine, self._config, self._queries = engine, config, queries
        self._binary = binary
        self._bias = np.float32(sensitivity_bias(sensitivity))
        self._familiarity = familiarity or [None] * (0 if queries is None else len(queries))
        calibration = config.confidence if queries is not None else None
        self._meter = ConfidenceMeter(calibration, self._familiarity) if calibration else None

    def __call__(self, log_magnitude: np.ndarray) -> np.ndarray:
        """Log-magnitudes [1, 1, F, T] to masks [N, F, T].

        Raises:
            ClipsepError: if the model gives values that are not finite.
        """
        logits = self._engine.mask_logits(log_magnitude, self._queries)[0]
        masks = masks_of(
            logits + self._bias if self._bias else logits, self._binary, self._config.name
        )
        if self._meter:
            self._meter.add(log_magnitude[0, 0], logits)
        return masks

    @property
    def feedback(self) -> list[QueryFeedback]:
        """On each query, from the segments so far."""
        if not self._meter:
            return [QueryFeedback(one) for one in self._familiarity]
        return [
            QueryFeedback(one, float(confidence))
            for one, confidence in zip(self._familiarity, self._meter.confidence, strict=True)
        ]
