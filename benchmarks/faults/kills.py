"""Kills jobs at random moments and starts them again, until one ends: then the bytes must be the same.

A job is a command line. It runs in a fork of this process, whose modules are loaded, so that kills fall
into work and not into imports; its workers are new processes, as always.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.isolation import CHANGED, HARMLESS, Outcome, wait_until
from benchmarks.faults.tally import Tally

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_MOST_SECONDS = 120.0  # of one run
# Names of what is not finished.
_UNFINISHED = re.compile(r"\.part$|\.tmp$|\.[0-9a-f]{8}\.")
_TIMES = re.compile(rb"date|took|real.time|_seconds|megabytes|^- 20\d\d-")
_RUN = "CLIPSEP_FAULTS_RUN"  # by which processes are known that descend from a run


@dataclass(frozen=True)
class Job:
    """A command line that is killed.

    Attributes:
        name: in the table.
        argv: of `clipsep`, for an output folder.
        compared: files of the output folder, as patterns, whose bytes must be the same in the end.
        ignored: files that are not compared.
        normal: what of a file is compared.
        before: makes what must be there before the command.
    """

    name: str
    argv: Callable[[Path], list[str]]
    compared: Sequence[str] = ("**/*",)
    ignored: Sequence[str] = ()
    normal: Callable[[Path], bytes] = Path.read_bytes
    before: Callable[[Path], None] = field(default=lambda output: None)


def kill_job(
    job: Job, folder: Path, kills: int, seed: int, seconds: float = math.inf
) -> Iterator[Tally]:
    """One line: chains of kills, each ended by a run that is left alone.

    A chain fails if the bytes differ from an unbroken run's, if something that is not finished is left,
    if a process outlives its parent, or if a run hangs or ends with a traceback. No chain begins after
    ``seconds``.
    """
    chance = random.Random(f"{seed}-{job.name}")
    tally = Tally(f"kill `{job.name}`")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    expected_at = folder / "unbroken"
    job.before(expected_at)
    started = time.monotonic()
    code, log = run_alone(job.argv(expected_at), folder / "unbroken.log")
    duration = time.monotonic() - started
    if code:
        raise SystemExit(f"{job.name} fails without a kill ({code}): {log[-2000:]}")
    expected = contents(job, expected_at)
    number = 0
    while number < kills and time.monotonic() - started < seconds:
        output = folder / "killed"
        shutil.rmtree(output, ignore_errors=True)
        job.before(output)
        in_chain = min(kills - number, chance.randrange(1, 5))
        problems, effective = [], 0
        for _ in range(in_chain):
            how = chance.choice(SIGNALS)
            of_former_kills = set(unfinished(output))
            process = _start(job.argv(output), folder / "killed.log")
            until = time.monotonic() + chance.uniform(0.02, 1.0) * duration
            ended = wait_until(lambda child=process: _has_ended(child), until - time.monotonic())
            if ended:
                break
            os.kill(process, how)
            _wait(process)
            effective += 1
            if not wait_until(lambda child=process: not _members(child), 60.0):
                alive = [_called(member) for member in _members(process)]
                problems.append(f"processes outlive the parent after {how.name}: {alive}")
                for member in _members(process):
                    os.kill(member, signal.SIGKILL)
            if how == signal.SIGTERM:
                left = set(unfinished(output)) - of_former_kills
                problems += [f"left by SIGTERM: {name}" for name in sorted(left)]
            log = (folder / "killed.log").read_text(errors="replace")
            if "Traceback" in log and not (how == signal.SIGKILL and _only_of_python(log)):
                problems.append(log.strip()[-300:])
        code, log = run_alone(job.argv(output), folder / "last.log")
        if code:
            problems.append(f"the last run ended with {code}: {log.strip()[-300:]}")
        else:
            problems += _differences(expected, contents(job, output))
            problems += [f"left at the end: {name}" for name in unfinished(output)]
        number += max(effective, 1)
        kind = CHANGED if problems else HARMLESS
        for _ in range(max(effective - 1, 0)):
            tally.add(Outcome(number, HARMLESS))
        if effective or problems:
            tally.add(Outcome(number, kind, "; ".join(problems)[:500]))
    yield tally


def _called(process: int) -> str:
    """Say what a process is: its number, what it waits for, and the end of its command line."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        waits = Path(f"/proc/{process}/wchan").read_text()
    except OSError:
        return f"{process} (ended)"
    return f"{process} ({waits}) {words[-120:]}"


def run_alone(argv: list[str], log: Path) -> tuple[int, str]:
    """Run a command to its end: its exit code and what it printed."""
    code = _wait(_start(argv, log))
    return code, log.read_text(errors="replace")


def _start(argv: list[str], log: Path) -> int:
    process = os.fork()
    if process:
        return process
    os.setpgid(0, 0)
    os.environ[_RUN] = str(os.getpid())
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 1
    try:
        from clipsep.cli import main

        code = main(argv)
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _only_of_python(log: str) -> bool:
    """Tell whether only a worker that was just being started complains that its parent is gone."""
    return "spawn_main" in log and not re.search(r"(src|site-packages)/clipsep/", log)


def _has_ended(process: int) -> bool:
    """Tell whether a process has ended, waited for or not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def _wait(process: int) -> int:
    if not wait_until(lambda: _has_ended(process), _MOST_SECONDS):
        os.killpg(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def _members(run: int) -> list[int]:
    """List processes of a run that still live: those of its group, and those that have its mark."""
    mark = f"{_RUN}={run}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            marked = mark in (entry / "environ").read_bytes()
        except (OSError, ValueError):
            continue
        if (int(group) == run or marked) and state not in "ZX":
            found.append(int(entry.name))
    return found


def contents(job: Job, output: Path) -> dict[str, str]:
    """Digests of the files that are compared."""
    paths = {path for pattern in job.compared for path in output.glob(pattern) if path.is_file()}
    for pattern in job.ignored:
        paths -= set(output.glob(pattern))
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(job.normal(path)).hexdigest()
        for path in sorted(paths)
    }


def _differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    names = sorted(expected.keys() | found.keys())
    return [
        f"{'other bytes' if name in expected and name in found else 'missing or too many'}: {name}"
        for name in names
        if expected.get(name) != found.get(name)
    ]


def unfinished(output: Path) -> list[str]:
    """Files in the output that are not finished; a data set's staged clips are."""
    return [
        path.relative_to(output).as_posix()
        for path in output.rglob("*")
        if path.is_file() and _UNFINISHED.search(path.name)
    ]


def without_times(path: Path) -> bytes:
    """Bytes of a file but for lines with the date, how long something took, and its memory."""
    lines = path.read_bytes().splitlines()
    return b"\n".join(line for line in lines if not _TIMES.search(line))
