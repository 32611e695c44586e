"""`python -m benchmarks.faults [PART ...] [--scale 1] [--seed 0] [--json FILE]`, on Linux.

Prints a Markdown table of attempts, failures and losses, and every failure; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.faults import datasets, disk, hostile, jobs, kills, media
from benchmarks.faults.tally import Tally, table
from benchmarks.speed import cpu_name

PARTS = ("media", "datasets", "hostile", "kills", "ray", "disk")


def run_part(part: str, folder: Path, asked: argparse.Namespace) -> Iterator[Tally]:
    """Yield the lines of a part; ``scale`` multiplies the number of attempts."""
    seed = asked.seed

    def times(count: int) -> int:
        return max(1, round(asked.scale * count))

    if part == "media":
        yield from media.damage_media(folder, times(300), seed)
    elif part == "datasets":
        yield from datasets.damage_data_sets(folder, times(300), seed)
    elif part == "hostile":
        yield from hostile.run_hostile(folder, asked.scale, seed, asked.only)
    else:
        material = folder / "material"
        material.mkdir()
        _in_child(lambda: jobs.make_material(material))
        _load_modules()
        if part == "disk":
            yield from disk.fill_disks(material, folder)
            return
        for job in jobs.all_jobs(material):
            on_ray = "--ray" in job.name
            if on_ray == (part == "ray") and asked.only in job.name:
                count = times(10 if on_ray else 200)
                yield from kills.kill_job(job, folder / "job", count, seed, 60 * asked.minutes)


def _in_child(work) -> None:
    """Threads that ONNX Runtime starts must not be there when jobs are forked."""
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise SystemExit("The material for the jobs could not be made.")


def _load_modules() -> None:
    """So that forks of this process start at once."""
    import clipsep.datasets.prepare.embed
    import clipsep.datasets.prepare.videos
    import clipsep.engines.onnx
    import clipsep.evaluation.evaluate
    import clipsep.separation.many.bulk
    import clipsep.training.train  # noqa: F401


def main() -> int:
    """Run the parts and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of attempts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only jobs or hostile targets of this name")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="for each killed job at most"
    )
    parser.add_argument("--json", type=Path, help="write the results there, too")
    arguments = parser.parse_args()
    started = time.monotonic()
    tallies: list[Tally] = []
    for part in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="clipsep-faults-") as folder:
            for tally in run_part(part, Path(folder), arguments):
                tallies.append(tally)
                print(f"{tally.what}: {dict(tally.kinds)}", file=sys.stderr, flush=True)
                for example in tally.examples:
                    print(f"  {example}", file=sys.stderr, flush=True)
    print(f"`python -m benchmarks.faults {shlex.join(sys.argv[1:])}`\n")
    minutes = (time.monotonic() - started) / 60
    print(f"{cpu_name()}, {os.cpu_count()} cores, {date.today()}, {minutes:.0f} minutes\n")
    print(table(tallies))
    if arguments.json:
        results = [tally.as_dict() for tally in tallies]
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(tally.failures for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
