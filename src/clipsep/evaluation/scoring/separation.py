"""Separation of test mixtures by queries that are embedded already, or without any.

It takes the path that recordings take.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipsep.checkpoint import load_config
from clipsep.engines import load_engine
from clipsep.queries.known import Familiarity
from clipsep.separation.masking.combining import MaskPlan
from clipsep.separation.masking.confidence import QueryFeedback
from clipsep.separation.masking.query_masks import SENSITIVITY, QueryMasks
from clipsep.separation.masking.streaming import StreamingFilter


class MixtureSeparator:
    """Estimates of a model for mono mixtures.

    Args:
        folder: where a model of any kind is; its noise heads are not used.
        binary: masks of 0 and 1 on the network's bands instead of soft ones. (The published option
            sets them after the interpolation to the bins of the STFT.)
        sensitivity: see `clipsep.Separator.separate`.
    """

    def __init__(self, folder: Path, device: str, binary: bool, sensitivity: float = SENSITIVITY):
        config = load_config(folder)
        # One thread: rounding must not depend on how many processes share the cores.
        self._engine = load_engine(folder, config, device=device, threads=1)
        self._config, self._settings = config, config.spectral
        self._binary, self._sensitivity = binary, sensitivity
        self._is_pit = config.model.kind == "pit"

    def separate(
        self,
        mixture: np.ndarray,
        sample_rate: int,
        queries: np.ndarray | None,
        excluded: np.ndarray | None = None,
    ) -> np.ndarray:
        """Separate one mixture.

        Args:
            mixture: float32 [T].
            queries: their embeddings, float32 [N, D], drawn already; None for a PIT model.
            excluded: those of sounds that no estimate may contain, float32 [M, D].

        Returns:
            one estimate per query, float32 [N, T]; of a model without queries two, by its first mask m
            and by 1 - m, as the published evaluation takes them: together they are the mixture.

        Raises:
            ClipsepError: if the model gives values that are not finite.
        """
        if excluded is None or queries is None:
            return self.answer(mixture, sample_rate, queries)[0]
        queries, count = np.concatenate([queries, excluded]), len(excluded)
        return self.answer(mixture, sample_rate, queries, excluded=count)[0]

    def answer(
        self,
        mixture: np.ndarray,
        sample_rate: int,
        queries: np.ndarray | None,
        familiarity: list[Familiarity | None] | None = None,
        excluded: int = 0,
    ) -> tuple[np.ndarray, list[QueryFeedback]]:
        """As `separate`, with what the model says of each query.

        Args:
            familiarity: that of the queries; the confidence needs it.
            excluded: how many of the queries, the last ones, name what no estimate may contain.
        """
        plan = MaskPlan(excluded=excluded)
        masks = QueryMasks(
            self._engine, self._config, queries, familiarity, self._binary, self._sensitivity
        )

        def predict(log_magnitude: np.ndarray) -> np.ndarray:
            found = masks(log_magnitude)
            return np.stack([found[0], 1 - found[0]]) if self._is_pit else plan(found)

        stream = StreamingFilter(predict, self._settings, sample_rate, channels=1)
        pieces = list(stream.pieces(mixture[None], last=True))
        return np.concatenate(pieces, axis=-1)[:, 0], masks.feedback
