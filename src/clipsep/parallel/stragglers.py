"""Processes that a local Ray leaves behind."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def end_stragglers(driver: int) -> None:
    """Kill what Ray forgets, or would end only after a minute: all others of a driver's session.

    A process stays in its session when it loses its parents, and when it overwrites its environment with
    a title, as Ray's do. Only where there is a /proc.

    Args:
        driver: a process that leads a session, or did; one that does not has no others.
    """
    killed = {driver}
    while others := set(members(driver)) - killed:  # again, as they may have started more
        for process in others:
            with suppress(OSError):  # it has ended
                os.kill(process, signal.SIGKILL)
        killed |= others


def members(session: int) -> list[int]:
    """List the processes of a session, which has the number of the process that began it."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()  # behind the name in brackets
            if int(fields[3]) == session:
                found.append(int(stat.parent.name))
    return found
