"""How `prepare`, `embed` and `separate` grow with workers: `python -m benchmarks.cluster VIDEOS`.

Runs the commands with one and with two workers, in local processes and on a Ray that is started here,
checks that both give the same files, and prints Markdown tables: seconds, items per hour and core, peak
memory of a worker, and disk per video. VIDEOS is a folder of videos, of which some are taken; others are
made, like those of YouTube. Takes about ten minutes and 1 GB of temporary disk; leave the machine alone.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.speed import cpu_name

SECONDS = 10
WORKERS = (1, 2)
_RAY = """
import sys, ray
ray.init("local", num_cpus=2, include_dashboard=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@dataclass(order=True)
class Run:
    """Wall seconds of a command from start to end, and the most memory of one of its workers in MB."""

    seconds: float
    megabytes: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("videos", type=Path, metavar="VIDEOS")
    parser.add_argument("--videos", type=int, default=200, dest="count", metavar="N")
    parser.add_argument("--youtube-like", type=int, default=200, metavar="N", dest="films")
    parser.add_argument("--files", type=int, default=40, metavar="N", help="files to separate")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows that hold this text")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="the best one counts")
    arguments = parser.parse_args()
    found = sorted(arguments.videos.rglob("*.mp4"))
    taken = found[:: max(1, len(found) // arguments.count)][: arguments.count]
    print(f"{cpu_name()}, {os.cpu_count()} cores, {date.today()}\n")
    with tempfile.TemporaryDirectory() as folder, ray_here() as (address, start_seconds):
        root = Path(folder)
        copy(taken, root / "videos")
        copy(taken[: arguments.files], root / "recordings")
        make_youtube_like(root / "youtube", arguments.films)
        print(f"Ray started in {start_seconds:.1f} s, which is not counted below.\n")
        print("| work | where | 1 worker | 2 workers | speed-up | per hour and core | memory |")
        print("|---|---|--:|--:|--:|--:|--:|")
        for place, ray in (("here", []), ("Ray", ["--ray", address])):
            for work in (
                Work(f"prepare, {len(taken)} videos", "videos", len(taken), prepare),
                Work(
                    f"prepare, {arguments.films} like YouTube's",
                    "youtube",
                    arguments.films,
                    prepare,
                ),
                Work(f"embed, {len(taken)} videos", "videos", len(taken), embed),
                Work(f"separate, {arguments.files} files", "recordings", arguments.files, separate),
            ):
                if arguments.only in f"{work.name}, {place}":
                    compare(root, work, place, ray, arguments.repeats)
        if not arguments.only:
            print()
            print_disk(root)


@dataclass
class Work:
    """A command and the files that it is tried on."""

    name: str
    source: str
    count: int
    command: Callable[[Path, str, Path], list[str]]


def compare(root: Path, work: Work, place: str, ray: list[str], repeats: int) -> None:
    """Run a command with one and with two workers and print a line."""
    one, two = (
        min(
            run(root, work, root / f"{work.source}-{place}-{workers}", workers, ray)
            for _ in range(repeats)
        )
        for workers in WORKERS
    )
    print(
        f"| {work.name} | {place} | {one.seconds:.1f} s | {two.seconds:.1f} s "
        f"| {one.seconds / two.seconds:.2f} | {3600 * work.count / one.seconds:.0f} "
        f"| {two.megabytes:.0f} MB |",
        flush=True,
    )


def run(root: Path, work: Work, output: Path, workers: int, ray: list[str]) -> Run:
    argv = work.command(root, work.source, output)
    return timed([*argv, "--workers", str(workers), *ray])


def prepare(root: Path, source: str, output: Path) -> list[str]:
    shutil.rmtree(output, ignore_errors=True)
    return ["prepare", str(root / source), "-o", str(output)]


def embed(root: Path, source: str, output: Path) -> list[str]:
    shutil.rmtree(output / "embeddings", ignore_errors=True)
    return ["embed", str(output)]


def separate(root: Path, source: str, output: Path) -> list[str]:
    shutil.rmtree(output, ignore_errors=True)
    return ["separate", str(root / source), "-q", "dog barking", "-o", str(output)]


def timed(argv: list[str]) -> Run:
    """Run a command line in a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsep", *argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with peak_memory_of_workers(process.pid) as peak:
        _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"clipsep {' '.join(argv)} failed: {errors.decode()}")
    return Run(time.perf_counter() - start, peak[0] / 1024)


@contextmanager
def peak_memory_of_workers(pid: int) -> Iterator[list[int]]:
    """Measure the most memory, in kB, of any worker of a command; of the command if it has none."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(1):  # seldom, because looking takes time from the workers
            processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            workers = [one for one in processes if is_worker(one)] or [Path(f"/proc/{pid}")]
            peak[0] = max([peak[0], *map(high_water_mark, workers)])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def is_worker(process: Path) -> bool:
    """Of a local pool, or of Ray Data."""
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"multiprocessing.spawn" in command or command.startswith(b"ray::MapWorker")


def high_water_mark(process: Path) -> int:
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


@contextmanager
def ray_here() -> Iterator[tuple[str, float]]:
    """Address of a Ray with as many workers as are needed, and how long it took to start."""
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _RAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = process.stdout.readline().strip()
    try:
        yield address, time.perf_counter() - start
    finally:
        process.stdin.close()
        process.wait()


def copy(videos: list[Path], folder: Path) -> None:
    for number, video in enumerate(videos):
        (folder / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        shutil.copy2(video, folder / f"{number % 4}" / f"{number:05d}{video.suffix}")


def make_youtube_like(folder: Path, count: int) -> None:
    """Films of 640 x 360 pixels, 25 frames a second, 0.7 Mbit/s, with stereo sound of 44.1 kHz.

    A few different ones, copied: what decoding costs depends on sizes and rates, not on what is shown.
    """
    folder.mkdir()
    different = min(4, count)
    for number in range(different):
        write_film(folder / f"{number:05d}.mp4", np.random.default_rng(number))
    for number in range(different, count):
        shutil.copy2(folder / f"{number % different:05d}.mp4", folder / f"{number:05d}.mp4")


def write_film(path: Path, rng: np.random.Generator) -> None:
    rate, width, height, fps = 44_100, 640, 360, 25
    coarse = Image.fromarray(rng.integers(0, 256, (60, 100, 3), dtype=np.uint8))
    scene = np.asarray(coarse.resize((2 * width, 2 * height), Image.Resampling.BICUBIC))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, width=width, height=height)
        video.pix_fmt, video.bit_rate = "yuv420p", 700_000
        sound = container.add_stream("aac", rate=rate, layout="stereo")
        for number in range(SECONDS * fps):
            x, y = 2 * number % width, number % height
            view = scene[y : y + height, x : x + width].astype(np.int16)
            grain = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
            image = np.clip(view + grain, 0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        samples = (0.1 * rng.standard_normal((2, SECONDS * rate))).astype(np.float32)
        for start in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(sound.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())


def print_disk(root: Path) -> None:
    """Sizes of the data sets per video, and a check that one and two workers gave the same files."""
    print("| megabytes per video of 10 s | of VIDEOS | like YouTube's |\n|---|--:|--:|")
    sources = [(root / name, root / f"{name}-here-1") for name in ("videos", "youtube")]
    counts = [len(list(source.rglob("*.mp4"))) for source, _ in sources]

    def line(name: str, folders: list[Path]) -> None:
        values = [size(folder) / count / 1e6 for folder, count in zip(folders, counts, strict=True)]
        print(
            f"| {name} | " + " | ".join(f"{value:.3f}" if value else "" for value in values) + " |"
        )

    line("video file", [source for source, _ in sources])
    line("sound and frames in shards", [output / "shards" for _, output in sources])
    line("embeddings, 384 numbers per frame", [output / "embeddings" for _, output in sources])
    print()
    for name, kind in (("videos", "shards"), ("videos", "embeddings"), ("recordings", "**/*.wav")):
        first, *others = [
            files(root / f"{name}-{p}-{w}", kind) for p in ("here", "Ray") for w in WORKERS
        ]
        print(
            f"{name}, {kind}: "
            + ("all the same" if all(o == first for o in others) else "DIFFERENT")
        )


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def files(root: Path, kind: str) -> dict[str, bytes]:
    folders = root.glob(kind) if "*" in kind else (root / kind).rglob("*")
    return {str(path.relative_to(root)): path.read_bytes() for path in folders if path.is_file()}


if __name__ == "__main__":
    main()
