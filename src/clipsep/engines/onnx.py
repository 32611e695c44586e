"""The engine of the core: a mask network in ONNX Runtime, on the CPU or, with onnxruntime-gpu, on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipsep.checkpoint import ONNX_NAME, CheckpointConfig, verify_weights
from clipsep.engines.session import open_session
from clipsep.errors import ClipsepError


class OnnxEngine:
    """A checkpoint's model.onnx.

    Args:
        folder: of the checkpoint, whose model.safetensors holds the weights.
        device: ``cpu`` or ``cuda``.
        threads: of one operation; None for one per core.

    Raises:
        ClipsepError: if a file is missing, damaged or another checkpoint's.
    """

    name = "onnx"
    WEIGHTS_KEY = "weights_sha256"

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        device: str = "cpu",
        threads: int | None = None,
    ):
        self.device = device
        verify_weights(folder, config)
        path = folder / ONNX_NAME
        self._session = open_session(path, f"'{path}'", threads, device)
        belongs_to = self._session.get_modelmeta().custom_metadata_map.get(self.WEIGHTS_KEY)
        if belongs_to != config.sha256:
            raise ClipsepError(
                f"'{path}' belongs to other weights than those beside it: run clipsep export '{folder}'."
            )
        self._takes_queries = len(self._session.get_inputs()) == 2

    def mask_logits(self, log_magnitude: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
        """See `clipsep.engines.Engine`."""
        inputs = {"log_magnitude": log_magnitude}
        if self._takes_queries:
            inputs["queries"] = queries
        return self._session.run(["mask_logits"], inputs)[0]
