"""Separation of test mixtures by queries that are embedded already, or without any.

It takes the path that recordings take; lists and metrics are none of its business.
"""

from __future__ import annotations

import numpy as np
import torch

from clipsep.checkpoint import Checkpoint
from clipsep.devices import choose_device
from clipsep.separation.streaming import MaskedStream


class MixtureSeparator:
    """Estimates of a model for mono mixtures.

    Args:
        checkpoint: a loaded model of any kind; its noise heads are not used.
        binary: masks of 0 and 1 on the network's bands instead of soft ones. (The published option
            sets them after the interpolation to the bins of the STFT.)
    """

    def __init__(self, checkpoint: Checkpoint, device: str, binary: bool):
        self._device = choose_device(device)
        self._model = checkpoint.model.to(self._device, memory_format=torch.channels_last).eval()
        self._settings = checkpoint.config.spectral
        self._binary = binary

    def separate(
        self, mixture: np.ndarray, sample_rate: int, queries: np.ndarray | None
    ) -> np.ndarray:
        """Separate one mixture.

        Args:
            mixture: float32 [T].
            queries: their embeddings, float32 [N, D]; None for a model that takes none (PIT).

        Returns:
            one estimate per query, or per mask of a model without queries, float32 [N, T].
        """
        embeddings = None
        if queries is not None:
            embeddings = torch.from_numpy(queries)[None].to(self._device)

        def predict(log_magnitude: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                logits = self._model.query_logits(log_magnitude.to(self._device), embeddings)
                masks = (logits > 0).float() if self._binary else logits.sigmoid()
                return masks[0].cpu()

        stream = MaskedStream(predict, self._settings, sample_rate, channels=1)
        return stream.push(mixture[None], last=True)[:, 0].numpy()
