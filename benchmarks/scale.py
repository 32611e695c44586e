"""What one machine does alone in front of a cluster: `python benchmarks/scale.py`.

Prints a Markdown table of processor seconds and memory, for 100,000 videos and for an index of 2,000,000:
list the files, write shards, open the data set again, hand out work. Files are empty where their content
does not matter. Takes a few minutes and 2 GB of temporary disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from speed import cpu_name

from clipsep.datasets.index import INDEX_FILE, ShardSize, write_index
from clipsep.datasets.store import SAMPLE_RATE
from clipsep.datasets.store_writer import CLIPS_PER_SHARD, StoreWriter, stage_clip
from clipsep.datasets.videos import VideoFile, find_videos
from clipsep.workers import run_many

FILES = 100_000
SHARDS = 40
SMALL_SHARDS = 1000
CLIPS = 2_000_000


@dataclass(frozen=True)
class HandBack:
    """A task without work."""

    device: str = "cpu"

    def __call__(self, item: object) -> None:
        return None

    def died(self, item: object) -> None:
        return None


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.split(":")[0]).parse_args()
    print(f"{cpu_name()}, one core, {date.today()}\n")
    print("| what | processor | memory |\n|---|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(FILES):
            path = root / "videos" / f"{number % 100:03d}" / f"abcdefghijk_{number:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        show(f"find {FILES} videos", find_videos, [root / "videos"])
        stage_clips(root / "data", SHARDS * CLIPS_PER_SHARD)
        show(f"move {SHARDS * CLIPS_PER_SHARD} clips of 10 s into shards", close, root / "data")
        make_small_shards(root / "unfinished")
        show(f"open {SMALL_SHARDS} shards that have no index yet", StoreWriter, root / "unfinished")
        apart(write_large_index, root / "large")
        show(f"open a data set of {CLIPS} clips to add some", StoreWriter, root / "large")
        show("... and write its index again", close, root / "large")
    for place in (None, "local"):
        name = "Ray on this machine" if place else "local processes"
        show(f"hand out {FILES} items to {name}", hand_out, place)


def show(name: str, work: Callable, *arguments: object) -> None:
    """Print what a piece of work costs."""
    seconds, megabytes = apart(work, *arguments)
    print(f"| {name} | {seconds:.1f} s | {megabytes:.0f} MB |", flush=True)


def apart(work: Callable, *arguments: object) -> tuple[float, float]:
    """Do it in a process of its own; processor seconds and peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(sender, work, arguments))
    process.start()
    costs = receiver.recv()
    process.join()
    return costs


def measure(sender: Connection, work: Callable, arguments: tuple) -> None:
    """Send the costs of this process; memory, of the largest that it started if that is larger."""
    start = time.process_time()
    kept = work(*arguments)  # noqa: F841 - so that its memory counts
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.process_time() - start + children.ru_utime + children.ru_stime
    sender.send((seconds, peak / 1024))


def close(root: Path) -> None:
    StoreWriter(root).close()


def hand_out(ray: str | None) -> None:
    from scale import HandBack  # under a name that workers know

    videos = [VideoFile(Path("/videos"), f"{i:020d}.mp4", f"{i:030d}") for i in range(FILES)]
    for _ in run_many(HandBack(), videos, workers=2, ray=ray):
        pass


def stage_clips(root: Path, count: int) -> None:
    """Clips of 10 s with pictures of noise, which are as large as pictures get."""
    StoreWriter(root)
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(10 * SAMPLE_RATE)
    coarse = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)
    for number in range(count):
        stage_clip(root, f"{number:06d}.mp4", "1", None, sound, [picture] * 10)


def make_small_shards(root: Path) -> None:
    """Copies of one shard of short clips under many names."""
    StoreWriter(root)
    for number in range(CLIPS_PER_SHARD):
        picture = Image.new("RGB", (224, 224))
        stage_clip(root, f"{number:020d}.mp4", f"{number:030d}", None, np.ones(160), [picture] * 10)
    close(root)
    (root / "index.arrow").unlink()
    (shard,) = (root / "shards").iterdir()
    for number in range(1, SMALL_SHARDS):
        shutil.copy(shard, shard.with_name(f"{number:05d}-{shard.stem.split('-')[1]}.arrow"))


def write_large_index(root: Path) -> None:
    """An index of many clips, with files of its shards that are there but empty."""
    StoreWriter(root)
    numbers = np.arange(CLIPS)
    shards = [f"{number:05d}-0123abcd" for number in range(-(-CLIPS // CLIPS_PER_SHARD))]
    rows = pa.table(
        {
            "id": [f"part/{number:011d}_000030.mp4" for number in numbers],
            "fingerprint": [f"{number:07d}:1700000000000000000" for number in numbers],
            "label": pa.nulls(CLIPS, pa.string()),
            "seconds": np.full(CLIPS, 10.0),
            "n_frames": np.full(CLIPS, 10),
            "shard": [shards[number] for number in numbers // CLIPS_PER_SHARD],
            "row": numbers % CLIPS_PER_SHARD,
        }
    )
    write_index(root / INDEX_FILE, rows, {shard: ShardSize(1, 640) for shard in shards})
    for shard in shards:
        (root / "shards" / f"{shard}.arrow").touch()


if __name__ == "__main__":
    main()
