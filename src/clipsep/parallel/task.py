"""What work on many items is, whoever does it, and what its workers share."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Protocol, TypeVar

from clipsep.errors import ClipsepError

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)
Run = Generator[tuple[Item, Result], None, list[Item]]  # returns the items that kill their workers


class Task(Protocol[_Item, _Result]):
    """What is done to every item; pickled once for every worker, which keeps what it loads.

    An item whose worker died is done again, so doing it twice must be the same as doing it once.

    Attributes:
        device: "cpu", "cuda" or "auto"; on a cluster all but "cpu" ask for a GPU for each worker.

    A task may have a method ``prepare()``, which loads what every item needs: it is called before
    workers are forked, which then have it at once.
    """

    @property
    def device(self) -> str: ...

    def __call__(self, item: _Item, /) -> _Result:
        """Work on one item; what it raises ends all of the work."""
        ...

    def died(self, item: _Item, /) -> _Result:
        """Return what stands for the result of an item that kills its workers, or raise."""
        ...


def require_shared_folder(folder: Path) -> None:
    """Raise ClipsepError on a machine of a cluster that does not see a folder of the data."""
    if not folder.is_dir():
        import socket

        raise ClipsepError(
            f"The machine '{socket.gethostname()}' does not see the folder '{folder}': all machines of "
            "a cluster need the data under the same path, on storage that they share."
        )


def cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
