"""Separation of test mixtures by queries that are embedded already, or without any.

It takes the path that recordings take; lists and metrics are none of its business.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipsep.checkpoint import load_config
from clipsep.engines import load_engine
from clipsep.separation.streaming import StreamingFilter, masks_of


class MixtureSeparator:
    """Estimates of a model for mono mixtures.

    Args:
        folder: of a model of any kind; its noise heads are not used.
        binary: masks of 0 and 1 on the network's bands instead of soft ones. (The published option
            sets them after the interpolation to the bins of the STFT.)
    """

    def __init__(self, folder: Path, device: str, binary: bool):
        config = load_config(folder)
        # One thread: rounding must not depend on how many processes share the cores.
        self._engine = load_engine(folder, config, device=device, threads=1)
        self._settings, self._name = config.spectral, config.name
        self._binary = binary
        self._is_pit = config.model.kind == "pit"

    def separate(
        self, mixture: np.ndarray, sample_rate: int, queries: np.ndarray | None
    ) -> np.ndarray:
        """Separate one mixture.

        Args:
            mixture: float32 [T].
            queries: their embeddings, float32 [N, D]; None for a model that takes none (PIT).

        Returns:
            one estimate per query, float32 [N, T]; of a model without queries two, by its first mask m
            and by 1 - m, as the published evaluation takes them: together they are the mixture.

        Raises:
            ClipsepError: if the model gives values that are not finite.
        """

        def predict(log_magnitude: np.ndarray) -> np.ndarray:
            logits = self._engine.mask_logits(log_magnitude, queries)
            masks = masks_of(logits[0], self._binary, self._name)
            return np.stack([masks[0], 1 - masks[0]]) if self._is_pit else masks

        stream = StreamingFilter(predict, self._settings, sample_rate, channels=1)
        return stream.push(mixture[None], last=True)[:, 0]
