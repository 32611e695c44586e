"""Processes that a local Ray left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clipsep.parallel import on_ray, stragglers


def test_an_interrupt_as_the_driver_starts_ends_it(monkeypatch):
    @contextmanager
    def interrupted() -> Iterator[None]:
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr(on_ray, "interrupts_deferred", interrupted)
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt), on_ray._driver(60, "local", "cpu", b"", [], 1):
        pass
    assert set(multiprocessing.active_children()) == before


def test_an_interrupt_while_the_driver_ends_forgets_nothing(monkeypatch):
    ended: list[str] = []
    join = multiprocessing.context.SpawnProcess.join

    def interrupted(process: multiprocessing.Process, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "join", interrupted)
    monkeypatch.setattr(on_ray, "end_stragglers", lambda run, driver: ended.append(run))
    with pytest.raises(KeyboardInterrupt), on_ray._driver(60, "local", "cpu", b"", [], 1):
        raise SystemExit
    assert len(ended) == 1
    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "join", join)
    assert until(lambda: not multiprocessing.active_children(), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_the_processes_of_this_run_are_killed():
    sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    mine, other = (
        subprocess.Popen(sleep, env={**os.environ, stragglers.RUN: run}, stdout=subprocess.PIPE)
        for run in ("0123", "01234")
    )
    try:
        for process in (mine, other):
            process.stdout.readline()
        stragglers.end_stragglers("0123", None)
        assert mine.wait(10) == -signal.SIGKILL
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    finally:
        for process in (mine, other):
            process.kill()
            process.communicate()


class Sleep:
    """A task that takes ten minutes, and first makes the file that is its item."""

    device = "cpu"

    def __call__(self, item: str) -> str:
        Path(item).touch()
        time.sleep(600)
        return item


PARENT = """
import sys
from clipsep.parallel.run import run_many
from tests.parallel.test_stragglers import Sleep
for _ in run_many(Sleep(), sys.argv[1:], 1, ray="local"):
    pass
"""


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_lives_on_where_the_parent_is_killed(tmp_path):
    pytest.importorskip("ray")
    mark = f"CLIPSEP_TEST={uuid.uuid4()}"
    environment = {**os.environ, "CLIPSEP_TEST": mark.partition("=")[2]}
    started = tmp_path / "started"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, started], env=environment)
    assert until(started.exists, 120)
    parent.kill()
    parent.wait()
    assert until(lambda: not marked(mark), 20), marked(mark)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_descendants_are_those_of_all_generations():
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE) as child:
        assert until(lambda: len(stragglers.descendants(child.pid)) == 1, 10)
        grandchild = stragglers.descendants(child.pid)
        assert set(stragglers.descendants(os.getpid())) >= {child.pid, *grandchild}
        child.communicate(b"\n")
    assert stragglers.descendants(child.pid) == []


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return met


def marked(mark: str) -> list[str]:
    """Command lines of the processes with a variable in their environment."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return lines
