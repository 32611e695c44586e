"""Processes that a local Ray left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clipsep.parallel import on_ray


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_the_processes_of_this_run_are_killed():
    sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    mine, other = (
        subprocess.Popen(sleep, env={**os.environ, on_ray._RUN: run}, stdout=subprocess.PIPE)
        for run in ("0123", "01234")
    )
    try:
        for process in (mine, other):
            process.stdout.readline()
        on_ray._end_stragglers("0123")
        assert mine.wait(10) == -signal.SIGKILL
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    finally:
        for process in (mine, other):
            process.kill()
            process.communicate()
