"""Laws of work on many items: each once and the same result wherever it is done; a death loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.interrupts import interrupts_deferred
from clipsep.parallel import processes
from clipsep.parallel.on_ray import _block_sizes
from clipsep.parallel.run import run_many
from clipsep.parallel.task import require_shared_folder


@dataclass(frozen=True)
class Square:
    """Squares numbers, and leaves a file for every number begun and every worker."""

    folder: Path
    kills_once: int | None = None
    kills_always: int | None = None
    fails: int | None = None
    device: str = "cpu"

    def __call__(self, number: int) -> tuple[int, int | None]:
        first = not self._mark(f"number {number}")
        self._mark(f"worker {os.getpid()}")
        if number == self.kills_always or (first and number == self.kills_once):
            time.sleep(0.2)  # so that another worker has an item in work
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.fails:
            raise ClipsepError(f"{number} is wrong")
        return number**2, None

    def died(self, number: int) -> tuple[int, int | None]:
        return 0, number

    def _mark(self, name: str) -> bool:
        there = (self.folder / name).exists()
        (self.folder / name).touch()
        return there


def marks(folder: Path, kind: str) -> int:
    return len(list(folder.glob(f"{kind} *")))


@pytest.mark.parametrize("place", ["here", "processes", "Ray"], indirect=True)
def test_every_item_is_done_once(place, tmp_path: Path):
    outcomes = list(run_many(Square(tmp_path), range(30), **place))
    assert sorted(outcomes) == [(number, (number**2, None)) for number in range(30)]
    assert marks(tmp_path, "worker") <= place["workers"]
    assert list(run_many(Square(tmp_path), [], **place)) == []


def test_there_are_no_more_workers_than_the_system_can_have(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(processes, "_MOST_WORKERS", 2)
    assert len(list(run_many(Square(tmp_path), range(30), workers=8))) == 30
    assert marks(tmp_path, "worker") <= 2


@pytest.mark.parametrize("place", ["here", "processes", "Ray"], indirect=True)
def test_what_a_task_raises_ends_the_work(place, tmp_path: Path):
    with pytest.raises(ClipsepError, match="3 is wrong"):
        list(run_many(Square(tmp_path, fails=3), range(200), **place))
    assert marks(tmp_path, "number") < 200


@pytest.mark.parametrize("place", ["processes", "Ray"], indirect=True)
def test_killed_workers_lose_nothing(place, tmp_path: Path):
    task = Square(tmp_path, kills_once=2, kills_always=8)
    outcomes = dict(run_many(task, range(20), **place))
    assert outcomes.pop(8) == (0, 8)
    assert outcomes == {number: (number**2, None) for number in range(20) if number != 8}


def test_deaths_before_the_first_result_are_not_the_items_fault(tmp_path: Path):
    with pytest.raises(ClipsepError, match="fewer --workers"):
        list(run_many(AlwaysKilled(tmp_path), range(100), workers=2))


@dataclass(frozen=True)
class AlwaysKilled(Square):
    def __call__(self, number: int) -> tuple[int, int | None]:
        os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_as_they_are_finished_and_no_sooner_than_they_are_wanted(tmp_path: Path):
    outcomes = run_many(Square(tmp_path), range(1000), workers=2)
    next(outcomes)
    time.sleep(0.3)
    assert marks(tmp_path, "number") < 20
    outcomes.close()


@dataclass(frozen=True)
class Slow(Square):
    """Would take a minute, and removes its file when it is told to end."""

    def __call__(self, number: int) -> tuple[int, int | None]:
        if number == 0:
            return super().__call__(number)
        path = self.folder / f"half {number}"
        try:  # first of all: the order to end may come at any moment
            path.touch()
            time.sleep(60)
        finally:
            path.unlink(missing_ok=True)
        return super().__call__(number)


def test_when_all_is_called_off_workers_end_at_once_and_clean_up(tmp_path: Path):
    outcomes = run_many(Slow(tmp_path), range(10), workers=2)
    assert next(outcomes) == (0, (0, None))
    while not marks(tmp_path, "half"):
        time.sleep(0.05)
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 30
    assert not marks(tmp_path, "half")


@dataclass(frozen=True)
class Deaf(Square):
    """As inside a library that does not return to Python, where no signal is heard."""

    def __call__(self, number: int) -> tuple[int, int | None]:
        if number:
            self._mark(f"half {number}")
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(40)
        return super().__call__(number)


def test_workers_that_do_not_hear_are_killed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.5)
    outcomes = run_many(Deaf(tmp_path), range(3), workers=2)
    assert next(outcomes) == (0, (0, None))
    while not marks(tmp_path, "half"):
        time.sleep(0.05)
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 15


def test_workers_that_do_not_hear_end_when_their_parent_is_killed(tmp_path: Path):
    code = f"""
from pathlib import Path
from tests.parallel.test_run import Deaf
from clipsep.parallel.run import run_many
list(run_many(Deaf(Path({str(tmp_path)!r})), [1, 2], workers=2))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    while marks(tmp_path, "half") < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    start = time.monotonic()
    parent.kill()
    parent.communicate()  # until the last worker closes the pipe
    assert time.monotonic() - start < 25


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    code = f"""
from pathlib import Path
from tests.parallel.test_run import Slow
from clipsep.parallel.run import run_many
list(run_many(Slow(Path({str(tmp_path)!r})), range(1, 10), workers=2))
"""
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, cwd=root)
    while marks(tmp_path, "half") < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    deadline = time.monotonic() + 30
    while marks(tmp_path, "half"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("method", "delays"), [("fork", (0, 0.2)), ("spawn", (0, 0.4, 1.2))], ids=["fork", "spawn"]
)
def test_an_interrupt_while_workers_start_is_heard_by_the_parent_alone(
    tmp_path: Path, method: str, delays: tuple[float, ...]
):
    """At any moment of the start: one exception, at once, and not a word from the workers."""
    code = f"""
import sys
from pathlib import Path
from tests.parallel.test_run import Slow
from clipsep.parallel import processes
from clipsep.parallel.run import run_many
processes._start_method = lambda: {method!r}
try:
    print("starting", flush=True)
    list(run_many(Slow(Path({str(tmp_path)!r})), range(1, 10), workers=3))
except KeyboardInterrupt:
    sys.exit(130)
"""
    root = Path(__file__).parents[2]
    for delay in delays:
        parent = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
            start_new_session=True,
        )
        parent.stdout.readline()
        time.sleep(delay)
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does it
        _, errors = parent.communicate(timeout=30)
        assert (parent.returncode, errors) == (130, ""), delay
        assert not marks(tmp_path, "half")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_processes_start_is_heard_once_they_have_started(number: int):
    order: list[str] = []
    before = signal.signal(number, lambda *_: order.append("heard"))
    try:
        with interrupts_deferred():
            os.kill(os.getpid(), number)
            order.append("started")
    finally:
        signal.signal(number, before)
    assert order == ["started", "heard"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_termination_while_workers_start_leaves_no_word_and_no_process(
    tmp_path: Path, method: str
):
    code = f"""
import signal, sys
from pathlib import Path
from tests.parallel.test_run import Slow
from clipsep.parallel import processes
from clipsep.parallel.run import run_many
processes._start_method = lambda: {method!r}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("starting", flush=True)
list(run_many(Slow(Path({str(tmp_path)!r})), range(1, 10), workers=3))
"""
    root = Path(__file__).parents[2]
    for delay in (0.02, 0.1, 0.3):
        parent = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
            start_new_session=True,
        )
        parent.stdout.readline()
        time.sleep(delay)
        parent.terminate()
        _, errors = parent.communicate(timeout=30)
        assert (parent.returncode, errors) == (5, ""), delay
        assert not marks(tmp_path, "half")


def start_and_end(task: Square) -> None:
    """As `processes._start_worker`, and then all is called off before there is an item in work."""
    processes._start_worker(task)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def test_a_worker_that_ends_while_it_starts_says_nothing(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setattr(processes, "_start_worker", start_and_end)
    monkeypatch.setattr(processes, "_start_method", lambda: "spawn")
    with pytest.raises(ClipsepError, match="fewer --workers"):
        list(run_many(Square(tmp_path), range(2), workers=2))
    assert capfd.readouterr().err == ""


class TerminatedAsItGoes:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


class Forgetful(Square):
    """Told to end where Python forgets the exception; goes on until it is told again."""

    def __call__(self, item: int) -> int:
        TerminatedAsItGoes()
        deadline = time.monotonic() + 30
        while processes._is_told and time.monotonic() < deadline:
            time.sleep(0.01)
        return processes._is_told


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_whose_termination_python_forgets_says_nothing_and_listens_on(
    tmp_path: Path, method: str, monkeypatch, capfd
):
    monkeypatch.setattr(processes, "_start_method", lambda: method)
    done = sorted(run_many(Forgetful(tmp_path), [1, 2], workers=2))
    assert done == [(1, False), (2, False)]
    assert capfd.readouterr().err == ""


def test_interrupts_are_deferred_and_not_lost():
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
    with interrupts_deferred():
        pass


def test_a_cluster_that_does_not_answer_is_named_at_once(tmp_path: Path):
    pytest.importorskip("ray")
    with pytest.raises(ClipsepError, match=r"'127\.0\.0\.1:1'"):
        list(run_many(Square(tmp_path), [1], ray="127.0.0.1:1"))
    for address in ("", "somewhere", "ray://head:10001", "head:port"):
        with pytest.raises(UsageError, match="local, auto or HOST:PORT"):
            list(run_many(Square(tmp_path), [1], ray=address))


def test_a_machine_that_does_not_see_the_data_is_named(tmp_path: Path):
    require_shared_folder(tmp_path)
    with pytest.raises(ClipsepError, match="does not see the folder"):
        require_shared_folder(tmp_path / "elsewhere")


@pytest.mark.parametrize(("items", "workers"), [(1, 1), (7, 3), (200, 2), (100_000, 16)])
def test_blocks_hold_all_items_and_shrink_so_that_workers_end_together(items: int, workers: int):
    sizes = _block_sizes(items, workers)
    assert sum(sizes) == items and sizes == sorted(sizes, reverse=True)
    assert sizes[-min(workers, len(sizes)) :] == [1] * min(workers, len(sizes))
    assert sizes[0] <= max(1, items / (4 * workers))


FORKED = """
import os, signal, sys
from pathlib import Path
from clipsep.parallel.run import run_many

class Loaded:
    device = "cpu"
    by = None

    def prepare(self):
        self.by = os.getpid()

    def __call__(self, number):
        killed = Path("killed")
        if number == 3 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.by, os.getpid()

if __name__ == "__main__":
    results = [result for _, result in run_many(Loaded(), range(20), workers=2)]
    assert len(results) == 20, results
    assert {by for by, _ in results} == {os.getpid()}, "each worker loads what the parent has"
    assert os.getpid() not in {worker for _, worker in results}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process knows its threads")
def test_workers_of_a_process_without_threads_have_what_it_loaded(tmp_path: Path):
    script = tmp_path / "work.py"
    script.write_text(FORKED)
    run = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
