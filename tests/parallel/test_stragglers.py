"""Processes that a local Ray left behind."""

from __future__ import annotations

import multiprocessing
import os
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
    ended: list[int] = []
    join = multiprocessing.context.SpawnProcess.join

    def interrupted(process: multiprocessing.Process, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "join", interrupted)
    monkeypatch.setattr(on_ray, "end_stragglers", ended.append)
    with pytest.raises(KeyboardInterrupt), on_ray._driver(60, "local", "cpu", b"", [], 1):
        raise SystemExit
    assert len(ended) == 1
    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "join", join)
    assert until(lambda: not multiprocessing.active_children(), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_has_lost_its_parent_and_its_environment_is_killed():
    child = "import time; print(flush=True); time.sleep(60)"
    leader = (
        "import subprocess, sys; "
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}], env={{}}).pid, flush=True)"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", leader],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as mine,
        subprocess.Popen(
            [sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True
        ) as other,
    ):
        orphan = int(mine.stdout.readline())
        mine.wait()
        other.stdout.readline()
        assert stragglers.members(mine.pid) == [orphan]
        stragglers.end_stragglers(mine.pid)
        assert until(lambda: not running(orphan), 10)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        other.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_leader_of_the_session_is_spared():
    leader = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
    with subprocess.Popen(leader, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        stragglers.end_stragglers(process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()


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


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return met


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def marked(mark: str) -> list[str]:
    """Command lines of the processes with a variable in their environment."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return lines
