"""The engine for models without an export, for GPUs through PyTorch, and for training."""

from __future__ import annotations

import numpy as np
import torch

from clipsep.models.clipsep import CLIPSep
from clipsep.models.network import SeparationModel, channels_last


class PyTorchEngine:
    """A mask network as a module.

    Args:
        model: a network in evaluation mode, as `clipsep.checkpoint.load_checkpoint` gives it.
        device: a name that torch knows: cpu, cuda, cuda:1, mps.
        threads: how many one operation uses, in the whole process; None leaves them as they are.
    """

    name = "pytorch"

    def __init__(self, model: SeparationModel, device: str = "cpu", threads: int | None = None):
        self.device = device
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = model.to(device).eval()
        channels_last(model)

    def mask_logits(self, log_magnitude: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
        """See `clipsep.engines.Engine`."""
        with torch.inference_mode():
            embeddings = None
            if queries is not None:
                embeddings = torch.from_numpy(queries)[None].to(self.device)
            logits = self._model.query_logits(
                torch.from_numpy(log_magnitude).to(self.device), embeddings
            )
            return logits.cpu().numpy()

    def noise_logits(
        self, log_magnitude: np.ndarray, queries: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits of queries and of their noise heads, of a model that has some.

        Args:
            log_magnitude: float32 [B, 1, F, T].
            queries: embeddings float32 [N, D].

        Returns:
            float32 [B, N, F, T] and [B, N, H, F, T].
        """
        with torch.inference_mode():
            mixtures, embeddings = (
                torch.from_numpy(array).to(self.device) for array in (log_magnitude, queries)
            )
            assert isinstance(self._model, CLIPSep)
            query, noise = self._model.noise_logits(mixtures, embeddings[None])
            return query.cpu().numpy(), noise.cpu().numpy()
