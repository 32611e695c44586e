"""Work on many items with Ray Data, on a cluster or on a Ray that is started on this machine.

Ray's driver is a process without a terminal, since Ray writes there from several threads, from C++ too.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import secrets
import socket
import threading
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from clipsep.errors import ClipsepError, UsageError
from clipsep.interrupts import interrupts_deferred
from clipsep.parallel.stragglers import end_stragglers
from clipsep.parallel.task import Item, Result, Task, cores

LOCAL, AUTO = "local", "auto"
_CONNECT_SECONDS = 5
_START_SECONDS = {LOCAL: 120}  # a Ray that is started on a busy machine takes its time
_ANSWER_SECONDS = 40  # for one that is there
_STOP_SECONDS = 30
_SHARE_OF_BLOCK = 8  # of what is left, divided by all workers, a block has the n-th part
_ITEMS_PER_BLOCK = 64  # at most: what a worker that dies leaves to be done again
_BLOCKS_AT_HAND = 4  # of a worker: Ray gives out new ones ten times a second only
_RETRIES = 1  # by Ray itself, before an item is put aside and tried alone


class _Finished(NamedTuple):
    """What the driver tells of one item; ``outcome`` is what `_Worker` made of it."""

    number: int
    outcome: bytes


class _Lost(NamedTuple):
    """What the driver tells last: the items that killed every worker that tried them."""

    numbers: list[int]


def run_on_ray(
    task: Task[Item, Result], items: Sequence[Item], workers: int | None, address: str
) -> Generator[tuple[Item, Result], None, list[Item]]:
    """As `clipsep.parallel.run.run_many`, on Ray; returns the items that kill their workers.

    Raises:
        UsageError: for a wrong address, or if a GPU is needed and the cluster has none.
        ClipsepError: if no cluster answers, or the work on it fails.
    """
    if find_spec("ray") is None:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")
    if not items:
        return []
    _require_answer(address)
    patience = _START_SECONDS.get(address, _ANSWER_SECONDS)
    # The driver passes them on, but needs not import what they are made of.
    pickled = pickle.dumps(task), [pickle.dumps(item) for item in items]
    with _driver(patience, address, task.device, *pickled, workers) as connection:
        while not isinstance(message := _receive(connection), _Lost):
            yield items[message.number], _open(message.outcome)
    return [items[number] for number in message.numbers]


def check_address(address: str) -> None:
    """Raise UsageError for what is not the address of a Ray cluster."""
    host, _, port = address.rpartition(":")
    if address not in (LOCAL, AUTO) and (not host or not port.isdigit() or "/" in host):
        raise UsageError(
            f"'{address}' is not the address of a Ray cluster: give local, auto or HOST:PORT."
        )


def _require_answer(address: str) -> None:
    """Raise within seconds if nobody listens at an address; Ray itself would try for long."""
    check_address(address)
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS", AUTO)
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # for Ray to find
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, reason: object) -> ClipsepError:
    return ClipsepError(
        f"No Ray answers at '{address}' ({reason}): start a cluster with 'ray start --head', or use "
        "--ray local."
    )


@contextmanager
def _driver(patience: float, address: str, *work: Any) -> Iterator[Connection]:
    """Start a process that runs `_drive`; return it and the connection through which it reports.

    Args:
        patience: seconds within which Ray must answer.
    """
    context = multiprocessing.get_context("spawn")
    connection, sender = context.Pipe(duplex=False)
    process = context.Process(target=_drive, args=(sender, address, *work))
    try:
        with interrupts_deferred():  # those that come meanwhile are raised at its end
            process.start()
        sender.close()
        if not connection.poll(patience):
            raise _no_answer(address, f"nothing within {patience} s")
        _receive(connection)
        yield connection
    finally:
        try:
            connection.close()
            if process.pid is not None:
                process.terminate()
                process.join(_STOP_SECONDS)
        finally:  # also if another signal ends the wait
            if process.pid is not None:
                process.kill()
                end_stragglers(process.pid)


def _receive(connection: Connection) -> Any:
    """Receive what the driver reports next; raise the error that ended its work."""
    try:
        message = connection.recv()
    except EOFError:
        message = ClipsepError("Ray stopped unexpectedly: see the logs in /tmp/ray/session_latest.")
    if isinstance(message, Exception):
        raise message
    return message


def _open(outcome: bytes) -> Any:
    """Return the result in an outcome; raise what the task raised."""
    result, error, trace = pickle.loads(outcome)
    if error is not None:
        raise error from RuntimeError(f"in a worker on Ray:\n{trace}")
    return result


# In the driver's process


def _drive(
    sender: Connection,
    address: str,
    device: str,
    task: bytes,
    items: Sequence[bytes],
    workers: int | None,
) -> None:
    """Tell that Ray is there, what becomes of every item, and what was lost; or why it all ended."""
    if hasattr(os, "setsid"):  # not on Windows
        # Ctrl-C is for the parent. It ends this process, and what Ray started in the same session.
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        with _connected(address, workers):
            sender.send(None)
            gpus = _gpus_per_worker(device)
            workers = workers or _workers_of_cluster(gpus)
            for message in _run(task, items, workers, gpus):
                sender.send(message)
            if address != LOCAL:
                os._exit(0)  # a cluster that stays clears up by itself; a goodbye takes a second
    except BrokenPipeError:
        pass  # the parent has heard enough
    except ClipsepError as error:
        sender.send(error)
    except Exception as error:
        sender.send(ClipsepError(f"The work on Ray failed: {_last_line(error)}{_hint(error)}"))


def _end_with_parent() -> None:
    """Wait in a thread until the parent is no more, then end all that was started for it.

    Python may forget a signal of the parent, and none comes from one that was killed.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    end_stragglers(os.getpid())
    os._exit(1)


def _last_line(error: Exception) -> str:
    """Which of Ray's many lines is the one that tells what happened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rstrip(".")


def _hint(error: Exception) -> str:
    if "No module named" in str(error):
        return ": every machine of the cluster needs clipsep installed as it is here."
    return ": see the logs in /tmp/ray/session_latest/logs."


@contextmanager
def _connected(address: str, workers: int | None) -> Iterator[None]:
    _set_environment(address)
    import ray

    options: dict[str, Any] = {}
    if address == LOCAL:
        options = {"num_cpus": max(workers or 0, cores()), "include_dashboard": False}
    try:
        ray.init(address, log_to_driver=False, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_answer(address, _last_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _set_environment(address: str) -> None:
    # Ray would report every cluster that is started to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    token_file = Path(os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111  # Path needs a home
    if address == LOCAL:
        # Of our own, because Ray would write one into the user's home.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    elif token_file.is_file() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Ray shows its token only where it is told to; a cluster that needs none takes it, too.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _run(
    task: bytes, items: Sequence[bytes], workers: int, gpus: int
) -> Iterator[_Finished | _Lost]:
    """All items in blocks; then those that were in a block with a death, each alone."""
    left = list(range(len(items)))
    for alone in (False, True):
        finished = set()
        for message in _one_pass(task, items, left, workers, gpus, alone):
            finished.add(message.number)
            yield message
        left = [number for number in left if number not in finished]
    yield _Lost(left)


def _one_pass(
    task: bytes,
    items: Sequence[bytes],
    numbers: list[int],
    workers: int,
    gpus: int,
    alone: bool,
) -> Iterator[_Finished]:
    import pyarrow as pa
    import ray.data

    if not numbers:
        return
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # what a dead worker leaves is for the caller to see
    context.execution_no_progress_timeout_s = -1  # a long recording may take an hour
    context.enable_progress_bars = False
    # Of items that kill, the next one would pay for a death, too.
    pool = ray.data.ActorPoolStrategy(
        size=workers, max_tasks_in_flight_per_actor=1 if alone else _BLOCKS_AT_HAND
    )
    sizes = [1] * len(numbers) if alone else _block_sizes(len(numbers), workers)
    rows = pa.table({"number": numbers, "item": [items[number] for number in numbers]})
    ends = accumulate(sizes)
    blocks = [rows.slice(end - size, size) for size, end in zip(sizes, ends, strict=True)]
    results = ray.data.from_blocks(blocks).map(
        _Worker,
        fn_constructor_args=(task,),
        compute=pool,
        num_cpus=1,
        num_gpus=gpus,
        ray_remote_args_fn=_retry,
    )
    for row in results.iter_rows():
        yield _Finished(row["number"], row["outcome"])


def _block_sizes(items: int, workers: int) -> list[int]:
    """Large blocks first, since each costs time, and small ones last, so that all workers end at once.

    Guided self-scheduling (Polychronopoulos and Kuck, 1987).
    """
    sizes = []
    while items:
        sizes.append(min(max(items // (workers * _SHARE_OF_BLOCK), 1), _ITEMS_PER_BLOCK))
        items -= sizes[-1]
    return sizes


def _retry() -> dict[str, int]:
    """Options of workers: a dead one is always replaced, its block is retried."""
    return {"max_restarts": -1, "max_task_retries": _RETRIES}


def _gpus_per_worker(device: str) -> int:
    import ray

    available = int(ray.cluster_resources().get("GPU", 0))
    if device.startswith("cuda") and not available:
        raise UsageError("The Ray cluster has no GPU: use the device cpu or auto.")
    return int(device != "cpu" and available > 0)


def _workers_of_cluster(gpus_per_worker: int) -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("GPU" if gpus_per_worker else "CPU", 1)))


class _Worker:
    """The task in a process on the cluster, which keeps what the task loads."""

    def __init__(self, task: bytes):
        self._task: Task = pickle.loads(task)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            outcome = pickle.dumps((self._task(pickle.loads(row["item"])), None, ""))
        except Exception as error:  # it is raised again where the results are read
            outcome = pickle.dumps((None, _picklable(error), traceback.format_exc()))
        return {"number": row["number"], "outcome": outcome}


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
