"""Runs attempts in a child process, so that a crash, a hang or a gigabyte is counted and not suffered.

It must not know what an attempt does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

from clipsep.errors import ClipsepError

MEMORY_BYTES = 1 << 30  # on top of what the process has when it starts
SECONDS = 20.0

# What may become of an attempt.
REFUSED = "refused"  # one sentence
HARMLESS = "harmless"  # accepted, with the same content
CHANGED = "changed"  # accepted, with other content: a loss
TRACEBACK = "traceback"
MEMORY = "out of memory"
HUNG = "hung"
CRASHED = "crashed"
FAULTS = (TRACEBACK, MEMORY, HUNG, CRASHED)

Attempt = Callable[[int], str]


class Outcome(NamedTuple):
    """What became of an attempt, and a few words on it."""

    number: int
    kind: str
    detail: str = ""


def run_attempts(
    attempt: Attempt,
    count: int,
    seconds: float = SECONDS,
    memory: int = MEMORY_BYTES,
) -> Iterator[Outcome]:
    """Call ``attempt`` with 0, 1, ... ``count - 1``, each time with bounded time and memory.

    A `ClipsepError` is a refusal, any other exception a traceback. A child that dies is replaced and the
    attempt that killed it is not repeated.

    Args:
        attempt: gives REFUSED, HARMLESS or CHANGED.
        memory: bytes that the child may take on top of what it starts with.
    """
    context = multiprocessing.get_context("fork")  # attempts are closures, and start at once
    number = 0
    while number < count:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(attempt, number, count, memory, sender))
        child.start()
        sender.close()
        while number < count:
            try:
                if not receiver.poll(seconds):
                    child.kill()
                    yield Outcome(number, HUNG, f"longer than {seconds:g} s")
                    number += 1
                    break
                yield Outcome(number, *receiver.recv())
            except EOFError:
                child.join()
                yield Outcome(number, CRASHED, _how(child.exitcode))
                number += 1
                break
            number += 1
        child.join()
        receiver.close()


def _work(attempt: Attempt, first: int, count: int, memory: int, sender: Connection) -> None:
    _silence()
    _limit(memory)
    for number in range(first, count):
        try:
            answer = (attempt(number), "")
        except ClipsepError as error:
            answer = (REFUSED, str(error))
        except MemoryError as error:
            answer = (MEMORY, _where(error))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            kind = MEMORY if "allocate memory" in text or "bad_alloc" in text else TRACEBACK
            answer = (kind, f"{text[:200]} {_where(error)}")
        sender.send(answer)
    sender.close()
    os._exit(0)


def _where(error: BaseException) -> str:
    """Find the last line of the package that the error went through."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "clipsep" in name:
            found = f"({os.path.basename(name)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


def _limit(memory: int) -> None:
    with open("/proc/self/statm") as file:
        present = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (present + memory, present + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _silence() -> None:
    """Ffmpeg and others write to the descriptors themselves."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
