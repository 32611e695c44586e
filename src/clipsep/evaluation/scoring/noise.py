"""What the noise heads of CLIPSep-NIT make of test mixtures: joined masks, estimates, activation.

Dong et al., 2023, section 3.2. In training the heads see the mean of all queries, at test time one query.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsep.checkpoint import load_checkpoint
from clipsep.devices import torch_device
from clipsep.engines.pytorch import PyTorchEngine
from clipsep.errors import UsageError
from clipsep.separation.masking.masks import masks_of
from clipsep.separation.masking.streaming import StreamingFilter


class NoiseEstimates(NamedTuple):
    """What the noise heads give for one mixture.

    Attributes:
        joined: estimate of each query with its first noise head, mask min(1, m + n), float32 [N, T].
        noise: estimates of the heads, float32 [N, H, T].
        activation: mean over all bins of the sum of a query's noise masks, [N].
    """

    joined: np.ndarray
    noise: np.ndarray
    activation: np.ndarray


class NoiseSeparator:
    """Estimates by the noise heads of a model, which ONNX exports do not hold.

    Args:
        folder: where the model is.

    Raises:
        UsageError: if it has no noise heads.
        ClipsepError: without PyTorch.
    """

    def __init__(self, folder: Path, device: str):
        checkpoint = load_checkpoint(folder)
        config = checkpoint.config
        if not config.model.noise_heads:
            raise UsageError(f"The model '{config.name}' has no noise heads.")
        self._name, self._settings = config.name, config.spectral
        self._engine = PyTorchEngine(checkpoint.model, torch_device(device), threads=1)

    def separate(
        self, mixture: np.ndarray, sample_rate: int, queries: np.ndarray
    ) -> NoiseEstimates:
        """Separate one mixture.

        Args:
            mixture: float32 [T].
            queries: their embeddings, float32 [N, D].
        """
        activations: list[np.ndarray] = []

        def predict(log_magnitude: np.ndarray) -> np.ndarray:
            query, noise = self._engine.noise_logits(log_magnitude, queries)
            query_masks = masks_of(query[0], False, self._name)  # [N, F, T]
            noise_masks = masks_of(noise[0], False, self._name)  # [N, H, F, T]
            activations.append(noise_masks.sum(axis=1).mean(axis=(-2, -1)))
            joined = np.minimum(1, query_masks + noise_masks[:, 0])
            return np.concatenate([joined, noise_masks.reshape(-1, *joined.shape[1:])])

        stream = StreamingFilter(predict, self._settings, sample_rate, channels=1)
        estimates = np.concatenate(list(stream.pieces(mixture[None], last=True)), axis=-1)[:, 0]
        n_queries = len(queries)
        return NoiseEstimates(
            joined=estimates[:n_queries],
            noise=estimates[n_queries:].reshape(n_queries, -1, estimates.shape[-1]),
            activation=np.mean(activations, axis=0),
        )
