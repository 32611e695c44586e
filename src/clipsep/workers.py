"""Work on many items: in this process, in processes of this machine, or on a Ray cluster.

It knows how work is spread and what happens when a worker dies; it must not know what the work is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from clipsep.errors import ClipsepError

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # (finished, total)

_WAITING_PER_WORKER = 2  # items handed out: one in work, one at hand
_SECONDS_BETWEEN_LOOKS = 1.0  # of a worker for its parent
_HOPELESS_DEATHS = 3  # so many before the first result: it is not the items' fault


class Task(Protocol[Item, Result]):
    """What is done to every item; pickled once for every worker, which keeps what it loads.

    An item whose worker died is done again, so doing it twice must be the same as doing it once.

    Attributes:
        device: "cpu", "cuda" or "auto"; on a cluster all but "cpu" ask for a GPU for each worker.
    """

    device: str

    def __call__(self, item: Item) -> Result:
        """Work on one item; what it raises ends all of the work."""
        ...

    def died(self, item: Item) -> Result:
        """What stands for the result of an item that kills its workers; may raise."""
        ...


def run_many(
    task: Task[Item, Result],
    items: Sequence[Item],
    workers: int | None = None,
    ray: str | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Apply a task to every item; yields each item and its result as it is finished, in any order.

    Only items and results travel between the workers, so both should be small. A worker that dies
    is replaced and its items are done again, at last each of them alone.

    Args:
        workers: processes; by default one for each core (or each GPU, of a cluster that has some).
        ray: address of a Ray cluster: "local" starts one on this machine, "auto" is the one of which
            this machine is part, HOST:PORT any other. None: processes of this machine.

    Raises:
        ClipsepError: if no worker can be started, the cluster cannot be reached, or `task` raises it.
    """
    if ray is not None:
        from clipsep.cluster import run_on_ray

        run = run_on_ray(task, items, workers, ray)
    else:
        workers = min(workers or cores(), len(items))
        run = _in_this_process(task, items) if workers < 2 else _in_processes(task, items, workers)
    guilty = yield from run
    for item in guilty:
        yield item, task.died(item)


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
def interrupts_ignored() -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C: they end their item quietly, the parent stops."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears it, and only it may choose not to
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


_Run = Generator[tuple[Item, Result], None, list[Item]]  # returns the items that kill their workers


def _in_this_process(task: Task[Item, Result], items: Sequence[Item]) -> _Run:
    for item in items:
        yield item, task(item)
    return []


def _in_processes(task: Task[Item, Result], items: Sequence[Item], workers: int) -> _Run:
    """All items with many workers; then those that were in work when one died, each alone."""
    succeeded = False
    deaths = 0
    suspects: list[Item] = []
    guilty: list[Item] = []
    for count, waiting, lost in (
        (workers, iter(items), suspects),
        (1, iter(suspects), guilty),
    ):
        in_flight: list[Item] | None = None
        while in_flight != []:
            in_flight = []
            for outcome in _one_pool(task, waiting, count, in_flight):
                succeeded = True
                yield outcome
            lost += in_flight
            deaths += bool(in_flight)
            if deaths >= _HOPELESS_DEATHS and not succeeded:
                raise _hopeless()
    if guilty and not succeeded:
        raise _hopeless()
    return guilty


def _one_pool(
    task: Task[Item, Result], waiting: Iterator[Item], workers: int, lost: list[Item]
) -> Iterator[tuple[Item, Result]]:
    """Work until all is done or a process dies; what was handed out by then is left in ``lost``."""
    # One worker gets one item at a time, so that its death tells which item it was.
    room = 1 if workers == 1 else _WAITING_PER_WORKER * workers
    # Spawned, not forked: a fork would copy the locks of torch's and ffmpeg's threads.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (task, stop))
    handed_out: dict[Future, Item] = {}
    try:
        while True:
            for item in islice(waiting, room - len(handed_out)):
                try:
                    with _starting_processes():
                        handed_out[pool.submit(_work, item)] = item
                except BrokenProcessPool:
                    lost.append(item)
                    raise
            if not handed_out:
                break
            for future in wait(handed_out, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield handed_out.pop(future), result
    except BrokenProcessPool:
        lost += handed_out.values()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Processes started inside have one thread each, unless the user wants more."""
    given = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        with interrupts_ignored():
            yield
    finally:
        if not given:
            del os.environ["OMP_NUM_THREADS"]


# In a worker process

_task: Task


def _start_worker(task: Task, stop: Event) -> None:
    global _task
    _task = task
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()


def _work(item: Item) -> Result:
    try:
        return _task(item)
    except SystemExit:
        os._exit(1)  # and not on to the next item; what was half-written is removed by now


def _end(*_: object) -> None:
    sys.exit(1)


def _wait_for_end(stop: Event) -> None:
    """The parent calls all off, or was killed and cannot do that."""
    while not stop.wait(_SECONDS_BETWEEN_LOOKS):
        if not multiprocessing.parent_process().is_alive():
            break
    os.kill(os.getpid(), signal.SIGTERM)


def _hopeless() -> ClipsepError:
    return ClipsepError(
        "The worker processes die before they finish anything (out of memory?): run the same command "
        "again with fewer --workers."
    )
