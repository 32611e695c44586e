"""Where networks run: the devices of PyTorch and of ONNX Runtime, and how many threads they take.

Neither is imported before it is needed: on a machine without a GPU, PyTorch is not needed at all.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from clipsep.errors import UsageError, is_installed

_NAMES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(name: str) -> None:
    """Raise UsageError for a name that no device can have."""
    if not _NAMES.fullmatch(name):
        raise UsageError(f"Unknown device '{name}': choose auto, cpu, cuda or mps.")


def torch_device(name: str) -> str:
    """Choose a device of PyTorch by name; ``auto`` takes an NVIDIA GPU if there is one, else the CPU.

    Raises:
        UsageError: if it is not there.
    """
    check_device(name)
    if name == "auto":
        return "cuda" if torch_has("cuda") else "cpu"
    if name != "cpu" and not torch_has(name):
        kind = "Apple GPU (mps)" if name == "mps" else "CUDA device"
        raise UsageError(f"PyTorch finds no {kind}: choose the device cpu or auto.")
    return name


def onnx_device(name: str) -> str:
    """Choose a device of ONNX Runtime by name; ``auto`` takes an NVIDIA GPU if there is one, else the CPU.

    Raises:
        UsageError: if it is not there.
    """
    check_device(name)
    if name == "auto":
        return "cuda" if onnx_has_cuda() else "cpu"
    if name == "mps":
        raise UsageError("ONNX Runtime does not run on an Apple GPU: choose the engine pytorch.")
    if name != "cpu" and not onnx_has_cuda():
        raise UsageError(
            "ONNX Runtime finds no CUDA device (it needs the package onnxruntime-gpu): "
            "choose the device cpu or auto, or the engine pytorch."
        )
    return name


def torch_has(device: str) -> bool:
    """Whether PyTorch is installed and can use ``cuda``, ``cuda:N`` or ``mps``."""
    kind, _, number = device.partition(":")
    if kind == "cuda" and not has_nvidia_driver():
        return False
    if kind == "mps" and sys.platform != "darwin":
        return False
    if not is_installed("torch"):
        return False
    import torch

    if kind == "mps":
        return torch.backends.mps.is_available()
    return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()


def onnx_has_cuda() -> bool:
    """Whether ONNX Runtime can use an NVIDIA GPU."""
    if not has_nvidia_driver():
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@lru_cache(maxsize=1)
def has_nvidia_driver() -> bool:
    """Whether a driver is installed: a quick look before anything large is imported."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def means_gpu(device: str) -> bool:
    """Whether work on a device of this name runs on a GPU here."""
    check_device(device)
    if device == "auto":
        return onnx_has_cuda() or torch_has("cuda")
    return device != "cpu"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch, if it is in use, compute with one thread.

    Many workers then share the cores, and all of them round alike.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
