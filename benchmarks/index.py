"""What an index of millions of clips costs: `python -m benchmarks.index [--clips 2000000]`.

Makes an index without sound in a temporary folder (the size of AudioSet by default), opens it in a new
process and prints a Markdown table: seconds, memory, and what training does with it. All shards are
links to one small shard, so that items can be drawn, too.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

CLIPS_PER_SHARD = 64
LABELS = 527
SECONDS = 1  # of sound in a clip: what is measured is the index


def write_data_set(root: Path, clips: int) -> None:
    """One shard, links to it, and an index of ``clips`` rows with ids as long as AudioSet's."""
    from clipsep.datasets.format import shard_paths
    from clipsep.datasets.index import INDEX_FILE, ShardSize, write_index
    from clipsep.datasets.reader import SAMPLE_RATE
    from clipsep.datasets.writer import DatasetWriter, stage_clip

    writer = DatasetWriter(root)
    sound = 0.1 * np.random.default_rng(0).standard_normal(SECONDS * SAMPLE_RATE)
    for row in range(CLIPS_PER_SHARD):
        stage_clip(root, f"{row}.mp4", "1", None, sound, [Image.new("RGB", (8, 8))] * SECONDS)
    writer = DatasetWriter(root)
    writer.close()
    (shard,) = shard_paths(root)
    numbers = np.arange(clips)
    n_shards = -(-clips // CLIPS_PER_SHARD)
    names = [f"{number:05d}-{random.getrandbits(32):08x}" for number in range(n_shards)]
    for name in names:
        os.link(shard, root / "shards" / f"{name}.arrow")
    ids = [f"{number % LABELS:03d}/{number:011x}_{number % 600}.mp4" for number in numbers]
    rows = pa.table(
        {
            "id": ids,
            "fingerprint": ["1234567:1700000000000000000"] * clips,
            "label": [f"label {number % LABELS}" for number in numbers],
            "seconds": np.full(clips, float(SECONDS)),
            "n_frames": np.full(clips, SECONDS, np.int32),
            "shard": [names[number] for number in numbers // CLIPS_PER_SHARD],
            "row": (numbers % CLIPS_PER_SHARD).astype(np.int32),
        }
    )
    sizes = {name: ShardSize(shard.stat().st_size, CLIPS_PER_SHARD * SECONDS) for name in names}
    write_index(root / INDEX_FILE, rows, sizes)


def memory(kind: str) -> float:
    """MB of this process; kind is RssAnon (its own) or RssFile (mapped files)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status tells no memory")


def seconds(action: Callable[[int], object], numbers: Iterable[int] = (0,)) -> float:
    """Wall time of one call for each number; what the calls return is dropped."""
    start = time.perf_counter()
    for number in numbers:
        action(number)
    return time.perf_counter() - start


def measure(root: Path) -> None:
    """Open the data set and print what it cost."""
    from clipsep.datasets.reader import PreparedDataset
    from clipsep.training.data.mixing import MixtureDataset
    from clipsep.training.data.settings import MixingSettings

    before = {kind: memory(kind) for kind in ("RssAnon", "RssFile")}
    start = time.perf_counter()
    dataset = PreparedDataset(root)
    opened = time.perf_counter() - start
    print("| what | value |\n|---|---|")
    print(
        f"| clips, shards, bytes of the index | {len(dataset):,}, {len(dataset.shards):,}, ", end=""
    )
    print(f"{(root / 'index.arrow').stat().st_size / 1e6:.0f} MB |")
    print(f"| opening it, every shard's presence and size checked | {opened:.2f} s |")
    for kind, name in (("RssAnon", "private memory"), ("RssFile", "pages of mapped files")):
        print(f"| {name} that it added | {memory(kind) - before[kind]:.0f} MB |")
    print(f"| labels and number of clips without one | {seconds(lambda _: dataset.labels):.3f} s |")
    positions = np.random.default_rng(0).integers(len(dataset), size=20_000)
    reading = seconds(dataset.clips.__getitem__, positions)
    print(f"| one random clip of the index | {1e6 * reading / len(positions):.1f} µs |")
    for window in (None, 16):
        items = MixtureDataset(
            dataset, None, dataset.labels, MixingSettings(), 65535, 0, True, 10**8, window
        )
        first = seconds(items.__getitem__)
        among = "all shards" if window is None else f"{window} shards"
        print(f"| first item of an epoch, shuffled among {among} | {first:.2f} s |")
        rate = 3000 / seconds(items.__getitem__, range(1, 3001))
        print(f"| items per second, shuffled among {among} | {rate:.0f} |")
    print(f"| private memory added in the end | {memory('RssAnon') - before['RssAnon']:.0f} MB |")


def main() -> None:
    """Make the data set, and measure it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(arguments.measure)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data_set(root, arguments.clips)
        print(f"{date.today()}, {arguments.clips:,} clips\n")
        subprocess.run([sys.executable, __file__, "--measure", folder], check=True)


if __name__ == "__main__":
    main()
