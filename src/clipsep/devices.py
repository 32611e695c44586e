"""Where tensors live: one choice for separating, embedding and training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clipsep.errors import UsageError


def choose_device(name: str) -> torch.device:
    """A torch device by name; ``auto`` takes a GPU if there is one. UsageError if there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device here: use the device cpu or auto.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is no device: use auto, cpu or cuda.") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes with one thread inside: many workers share the cores, and all round alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
