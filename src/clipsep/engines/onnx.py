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
        folder: a checkpoint, whose model.safetensors holds the weights.
        device: ``cpu`` or ``cuda``.
        threads: how many one operation uses; None for one per core.

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
        path = self._path = folder / ONNX_NAME
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
        if self._takes_queries and queries is not None:
            inputs["queries"] = queries
        try:
            logits = self._session.run(["mask_logits"], inputs)[0]
        except Exception as error:  # ONNX Runtime has a class for each kind of failure
            reason = str(error).strip().split("\n")[0]
            raise ClipsepError(f"'{self._path}' cannot be run: {reason}") from error
        # A model without queries has as many masks as it was made with.
        n_masks = logits.shape[1:2] if queries is None else (len(queries),)
        expected = (len(log_magnitude), *n_masks, *log_magnitude.shape[2:])
        if logits.shape != expected:
            raise ClipsepError(
                f"'{self._path}' gives masks of another shape than its config.json says: fetch or install "
                "the model again."
            )
        return logits
