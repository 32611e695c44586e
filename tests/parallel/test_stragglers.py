"""Processes that a local Ray left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from clipsep.parallel import on_ray


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
