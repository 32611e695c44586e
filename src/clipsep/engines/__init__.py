"""How a mask network runs: ONNX Runtime, which the core has, or PyTorch. One protocol for both."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from clipsep.checkpoint import ONNX_NAME, CheckpointConfig, load_checkpoint
from clipsep.devices import check_device, onnx_device, onnx_has_cuda, torch_device, torch_has
from clipsep.errors import ClipsepError, UsageError, is_installed

ONNX, PYTORCH = "onnx", "pytorch"
ENGINES = ("auto", ONNX, PYTORCH)


class Engine(Protocol):
    """Runs a mask network.

    Attributes:
        name: ``onnx`` or ``pytorch``.
        device: where it computes.
    """

    name: str
    device: str

    def mask_logits(self, log_magnitude: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
        """Logits of the masks, from one pass of the network.

        Args:
            log_magnitude: the mixtures', float32 [B, 1, F, T].
            queries: embeddings float32 [N, D], the same for all mixtures; None for a model without
                queries.

        Returns:
            float32 [B, N, F, T].
        """
        ...


def engines_of(folder: Path) -> list[str]:
    """List the engines that can run a checkpoint here."""
    found = [ONNX] if (folder / ONNX_NAME).is_file() else []
    return [*found, PYTORCH] if is_installed("torch") else found


def load_engine(
    folder: Path,
    config: CheckpointConfig,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Engine:
    """Load a checkpoint into an engine.

    Args:
        engine: ``auto`` takes PyTorch if a GPU is there that only PyTorch can use, else ONNX Runtime if
            the checkpoint has an export, else PyTorch.
        device: auto, cpu, cuda or mps.
        threads: how many one operation uses; None for one per core.

    Raises:
        UsageError: for an unknown engine, or a device that is not there.
        ClipsepError: if the checkpoint cannot run here, or is damaged.
    """
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine '{engine}': choose {', '.join(ENGINES)}.")
    check_device(device)
    has_export = (folder / ONNX_NAME).is_file()
    if engine == "auto":
        engine = _suitable(has_export, device)
    return (
        _load_onnx(folder, config, device, threads)
        if engine == ONNX
        else _load_pytorch(folder, device, threads)
    )


def _suitable(has_export: bool, device: str) -> str:
    if not has_export or device == "mps":
        return PYTORCH
    wants_gpu = device != "cpu"
    if wants_gpu and not onnx_has_cuda() and torch_has("cuda" if device == "auto" else device):
        return PYTORCH
    return ONNX


def _load_onnx(folder: Path, config: CheckpointConfig, device: str, threads: int | None) -> Engine:
    from clipsep.engines.onnx import OnnxEngine

    if not (folder / ONNX_NAME).is_file():
        raise ClipsepError(
            f"'{folder}' has no {ONNX_NAME}, which the engine onnx needs: run clipsep export '{folder}', "
            "or choose the engine pytorch."
        )
    return OnnxEngine(folder, config, onnx_device(device), threads)


def _load_pytorch(folder: Path, device: str, threads: int | None) -> Engine:
    if not is_installed("torch"):
        without = "" if (folder / ONNX_NAME).is_file() else f", which has no {ONNX_NAME},"
        raise ClipsepError(
            f"The engine pytorch for '{folder}'{without} needs torch, which is not installed: run "
            "pip install 'clipsep[torch]'."
        )
    from clipsep.engines.pytorch import PyTorchEngine

    chosen = torch_device(device)
    return PyTorchEngine(load_checkpoint(folder).model, chosen, threads)
