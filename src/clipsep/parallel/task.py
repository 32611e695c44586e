"""What work on many items is, whoever does it, and what its workers share."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
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


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Keep Ctrl-C from processes started inside: the parent hears it at the end, and stops them.

    SIGTERM waits, too: a parent that ends while it starts a process would leave one that complains.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears it, and only it may choose not to
        return
    parent = os.getpid()
    heard: list[int] = []

    def defer(number: int, frame: object) -> None:
        if os.getpid() != parent:
            os._exit(1)  # a forked process that has no handler of its own yet
        heard.append(number)

    handlers = {number: signal.signal(number, defer) for number in (signal.SIGINT, signal.SIGTERM)}
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    # A handler is not inherited by a new process, but what is blocked stays blocked there.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if heard:
        signal.raise_signal(heard[0])
