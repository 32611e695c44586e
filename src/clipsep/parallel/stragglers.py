"""Processes that a local Ray leaves behind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

RUN = "CLIPSEP_RAY_RUN"  # environment variable by which the processes of one run are known


def end_stragglers(run: str, driver: int | None) -> None:
    """Kill what Ray forgets, or would end only after a minute: all that descends from a driver.

    What has lost its parents is known by a mark in its environment. Only where there is a /proc.

    Args:
        driver: its process, if it is still there.
    """
    mark = f"{RUN}={run}".encode()
    stragglers = descendants(driver) if driver is not None else []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark in environment.read_bytes().split(b"\0"):
                stragglers.append(int(environment.parent.name))
    for process in stragglers:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


def descendants(ancestor: int) -> list[int]:
    """List the processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]  # behind the name in brackets
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [ancestor]
    for process in found:
        found += children.get(process, [])
    return found[1:]
