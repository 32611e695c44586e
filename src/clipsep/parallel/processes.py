"""Work on many items in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from clipsep.errors import ClipsepError
from clipsep.interrupts import interrupts_deferred, on_forgotten_interrupt
from clipsep.parallel.task import Item, Result, Run, Task

_WAITING_PER_WORKER = 2  # items handed out: one in work, one waiting
_SECONDS_BETWEEN_LOOKS = 1.0  # of a worker for its parent
_SECONDS_BETWEEN_SIGNALS = 0.1
_SECONDS_TO_END = 5.0  # for a worker to remove what it has half written
_MOST_WORKERS = 61 if sys.platform == "win32" else sys.maxsize  # what Windows can wait for at once
_HOPELESS_DEATHS = 3  # deaths before the first result: it is not the items' fault


def in_processes(task: Task[Item, Result], items: Sequence[Item], workers: int) -> Run:
    """All items with many workers; then those that were in work when one died, each alone."""
    succeeded = False
    deaths = 0
    suspects: list[Item] = []
    guilty: list[Item] = []
    for count, waiting, lost in (
        (min(workers, _MOST_WORKERS), iter(items), suspects),
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
    if _start_method() == "fork" and hasattr(task, "prepare"):
        task.prepare()  # once, for all workers; it may start threads
    context = multiprocessing.get_context(_start_method())
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, _start_worker, (task,))
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
            for future in _finished(handed_out):
                result = future.result()
                yield handed_out.pop(future), result
    except BrokenProcessPool:
        lost += handed_out.values()
        _end_processes(set(multiprocessing.active_children()) - others)
    except BaseException:
        _end_processes(set(multiprocessing.active_children()) - others)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(futures: Iterable[Future]) -> set[Future]:
    """Wait until some have finished.

    A signal is heard between two looks. Its exception would leave the pool's locks taken, and one that
    comes as a wait begins would be heard at its end only.
    """
    done: set[Future] = set()
    while not done:
        with interrupts_deferred():
            done = wait(futures, _SECONDS_BETWEEN_SIGNALS, FIRST_COMPLETED).done
    return done


def _end_processes(processes: Iterable[BaseProcess]) -> None:
    """Tell workers to end until they have: one that begins to wait as it is told does not hear it.

    One that is inside a library, such as a decoder that hangs, never does, and is killed.
    """
    alive = list(processes)
    deadline = time.monotonic() + _SECONDS_TO_END
    while alive:
        for process in alive:
            if time.monotonic() < deadline:
                process.terminate()
            else:
                process.kill()
        ended = connection.wait([one.sentinel for one in alive], _SECONDS_BETWEEN_SIGNALS)
        alive = [one for one in alive if one.sentinel not in ended]


def _start_method() -> str:
    """Fork where that is safe: a worker then starts at once, with all that was loaded before.

    A process with threads is not forked, because the locks that they hold would be copied.
    """
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:  # only Linux has it
        return "spawn"
    # PyTorch's threads are not there yet, but its own locks may be taken.
    return "fork" if threads == 1 and "torch" not in sys.modules else "spawn"


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Give processes started inside one thread each, unless the user wants more."""
    given = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        with interrupts_deferred():
            yield
    finally:
        if not given:
            del os.environ["OMP_NUM_THREADS"]


# In a worker process

_task: Task
_is_working = False
_is_told = False  # to end


def _start_worker(task: Task) -> None:
    global _task
    _task = task
    signal.signal(signal.SIGTERM, _end)
    on_forgotten_interrupt(_listen_again)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _work(item: Any) -> Any:
    global _is_working
    try:
        _is_working = True
        return _task(item)
    except SystemExit:
        os._exit(1)  # and not on to the next item; what was half-written is removed by now
    finally:
        _is_working = False


def _end(*_: object) -> None:
    global _is_told
    if not _is_working:
        os._exit(1)  # nothing is half-written, and an exception here would be printed
    if not _is_told:  # what is half-written is being removed otherwise
        _is_told = True
        sys.exit(1)


def _listen_again(number: int) -> None:
    global _is_told
    _is_told = False


def _end_with_parent() -> None:
    """End this process if its parent was killed and cannot do that."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    deadline = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < deadline:  # see `_end_processes`
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_SECONDS_BETWEEN_SIGNALS)
    os._exit(1)


def _hopeless() -> ClipsepError:
    return ClipsepError(
        "The worker processes die before they finish anything (out of memory?): run the same command "
        "again with fewer --workers."
    )
