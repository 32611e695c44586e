"""Full disks: jobs on a small file system of their own, then again with room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.isolation import CHANGED, HARMLESS, Outcome
from benchmarks.faults.jobs import all_jobs
from benchmarks.faults.kills import contents, run_alone, unfinished
from benchmarks.faults.tally import Tally

SIZES_KB = (64, 256, 512, 1024, 2048)
# Those that write enough to fill a small disk.
_JOBS = ("prepare --workers 1", "separate FILE", "separate FOLDER --workers 1", "evaluate", "train")


def fill_disks(material: Path, folder: Path) -> Iterator[Tally]:
    """One line for each job; needs the right to mount (Linux).

    On the full disk a job ends with exit code 1 and one sentence and leaves nothing half-written; the same
    command with room gives the bytes of an unbroken run.
    """
    for job in all_jobs(material):
        if job.name not in _JOBS:
            continue
        expected_at = folder / "unbroken"
        shutil.rmtree(expected_at, ignore_errors=True)
        job.before(expected_at)
        if run_alone(job.argv(expected_at), folder / "log")[0]:
            raise SystemExit(f"{job.name} fails with room: {(folder / 'log').read_text()[-500:]}")
        expected = contents(job, expected_at)
        tally = Tally(f"full disk: `{job.name}`")
        for size in SIZES_KB:
            with small_disk(folder / "disk", size) as disk:
                output = disk / "output"
                code, log = run_alone(job.argv(output), folder / "log")
                problems = []
                if "Traceback" in log or code not in (0, 1):
                    problems.append(f"{size} KB: exit code {code}: {log.strip()[-300:]}")
                if code == 0 and contents(job, output) != expected:
                    problems.append(f"{size} KB: exit code 0, but not all is there")
                if code:
                    problems += [f"{size} KB: left {name}" for name in unfinished(output)]
                subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
                code, log = run_alone(job.argv(output), folder / "log")
                if code or contents(job, output) != expected:
                    problems.append(f"{size} KB: with room again, {code}: {log.strip()[-300:]}")
            tally.add(Outcome(size, CHANGED if problems else HARMLESS, "; ".join(problems)))
        yield tally


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system in memory."""
    place.mkdir(exist_ok=True)
    options = f"size={kilobytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
