"""What 200,000 and 2,000,000 videos need: `python -m benchmarks.scale`.

Prints Markdown tables: what a worker spends on one video like those of YouTube (10 s, 360 lines), what the
driver of the cluster spends on all of them, and what follows for hours, cores and disk. All
is measured in processor seconds of one core. Takes a few minutes and 2 GB of temporary disk.
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

from benchmarks.cluster import SECONDS, make_youtube_like, size
from benchmarks.speed import cpu_name
from clipsep.datasets.index import INDEX_FILE, ShardSize, write_index
from clipsep.datasets.prepare.videos import VideoFile, find_videos, prepare
from clipsep.datasets.reader import SAMPLE_RATE, PreparedDataset
from clipsep.datasets.writer import CLIPS_PER_SHARD, DatasetWriter, stage_clip
from clipsep.parallel.run import run_many

TARGETS = {"VGGSound": 200_000, "AudioSet": 2_000_000}
FILMS = 32
FILES = 100_000
SHARDS = 40
SMALL_SHARDS = 1000
CLIPS = 2_000_000
DAY = 24 * 3600


@dataclass
class Costs:
    """Processor seconds, and the peak of the memory in MB."""

    seconds: float
    megabytes: float


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
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        per_video, disk = of_one_video(root)
        head = of_the_head(root)
    print_needs(per_video, disk, head)


def of_one_video(root: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Processor seconds of a worker for one video, and megabytes on the disk."""
    make_youtube_like(root / "films", FILMS)
    print("| a worker, for one video of 10 s | processor | memory |\n|---|--:|--:|")
    costs = {}
    for name, work in {
        "prepare": prepare_here,
        "embed with embedded": embed_embedded,
        "embed with clip (ViT-B/32, random weights)": embed_clip,
    }.items():
        spent = apart(work, root)
        costs[name] = spent.seconds / FILMS
        print(f"| {name} | {costs[name]:.3f} s | {spent.megabytes:.0f} MB |", flush=True)
    frames = SECONDS * FILMS
    disk = {
        "videos": size(root / "films") / FILMS / 1e6,
        "shards": size(root / "data" / "shards") / FILMS / 1e6,
        "embeddings of embedded": 4 * 384 * frames / FILMS / 1e6,
        "embeddings of clip": 4 * 512 * frames / FILMS / 1e6,
    }
    return costs, disk


def prepare_here(root: Path) -> Callable[[], None]:
    videos = find_videos([root / "films"])
    return lambda: prepare(videos, root / "data", workers=1)


def embed_embedded(root: Path) -> Callable[[], None]:
    from clipsep.queries import load_query_encoder

    return embed_with(load_query_encoder("embedded").encode_images, root)


def embed_clip(root: Path) -> Callable[[], None]:
    """Prepare embedding a clip by a CLIP with random weights, which take as long as any others."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection(CLIPVisionConfig()).eval()  # the defaults are ViT-B/32

    @torch.no_grad()
    def encode(images: list[Image.Image]) -> object:
        pixels = np.stack([np.asarray(image, np.float32) for image in images]) / 255 - 0.5
        return model(pixel_values=torch.from_numpy(pixels).permute(0, 3, 1, 2)).image_embeds

    return embed_with(encode, root)


def embed_with(encode: Callable[[list[Image.Image]], object], root: Path) -> Callable[[], None]:
    import torch

    torch.set_num_threads(1)
    dataset = PreparedDataset(root / "data")
    frames = [frame for clip in dataset.clips for frame in dataset.frames(clip)]
    encode(frames[:1])  # loads what is loaded on first use

    def work() -> None:
        for start in range(0, len(frames), 64):
            encode(frames[start : start + 64])

    return work


def of_the_head(root: Path) -> dict[str, Costs]:
    """Time what the machine that starts the work spends on `FILES` videos, or on the index of `CLIPS`."""
    for number in range(FILES):
        path = root / "many" / f"{number % 100:03d}" / f"abcdefghijk_{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clips = SHARDS * CLIPS_PER_SHARD
    apart(stage_clips, root / "staged", clips)
    apart(make_small_shards, root / "unfinished")
    apart(write_large_index, root / "large")
    print("\n| the driver | processor | memory |\n|---|--:|--:|")
    costs = {}
    for name, work, argument in (
        (f"find {FILES} videos", find, root / "many"),
        (f"move {clips} clips of 10 s into shards", close, root / "staged"),
        (f"hand {FILES} videos to local processes", hand_out, None),
        (f"hand {FILES} videos to Ray on this machine", hand_out, "local"),
        (f"resume after {SMALL_SHARDS} shards without an index", open_writer, root / "unfinished"),
        (f"open a data set of {CLIPS} videos to add some", open_writer, root / "large"),
        (f"write the index of {CLIPS} videos", close, root / "large"),
    ):
        costs[name] = spent = apart(work, argument)
        print(f"| {name} | {spent.seconds:.1f} s | {spent.megabytes:.0f} MB |", flush=True)
    return costs


def print_needs(
    per_video: dict[str, float], disk: dict[str, float], head: dict[str, Costs]
) -> None:
    """Multiplication: seconds and megabytes of one video by the number of videos."""
    print("\n| | " + " | ".join(f"{name}: {n}" for name, n in TARGETS.items()) + " |")
    print("|---|" + "--:|" * len(TARGETS))
    for name, seconds in per_video.items():
        hours = [f"{n * seconds / 3600:.0f}" for n in TARGETS.values()]
        cores = [f"{n * seconds / DAY:.1f}" for n in TARGETS.values()]
        print(f"| {name}: core hours | " + " | ".join(hours) + " |")
        print(f"| {name}: cores that do it in a day | " + " | ".join(cores) + " |")
    for name, megabytes in disk.items():
        terabytes = [f"{n * megabytes / 1e6:.3f}" for n in TARGETS.values()]
        print(f"| {name}: TB | " + " | ".join(terabytes) + " |")
    finding, moving, _, handing, *_ = head.values()
    alone = finding.seconds / FILES + moving.seconds / (SHARDS * CLIPS_PER_SHARD)
    alone += handing.seconds / FILES
    hours = [f"{n * alone / 3600:.2f}" for n in TARGETS.values()]
    print("| the driver, prepare: core hours | " + " | ".join(hours) + " |")


def apart(work: Callable, *arguments: object) -> Costs:
    """Do it in a process of its own; if it gives a function, only calling that is counted."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(sender, work, arguments))
    process.start()
    costs = receiver.recv()
    process.join()
    return costs


def measure(sender: Connection, work: Callable, arguments: tuple) -> None:
    """Send the costs of this process and of those that it started; memory, of the largest."""
    start = time.process_time()
    kept = work(*arguments)
    if callable(kept):
        start = time.process_time()
        kept()
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.process_time() - start + children.ru_utime + children.ru_stime
    sender.send(Costs(seconds, peak / 1024))


def find(folder: Path) -> list[VideoFile]:
    return find_videos([folder])


def open_writer(root: Path) -> DatasetWriter:
    return DatasetWriter(root)


def close(root: Path) -> None:
    DatasetWriter(root).close()


def hand_out(ray: str | None) -> None:
    from benchmarks.scale import HandBack  # under a name that workers know

    videos = [VideoFile(Path("/videos"), f"{i:020d}.mp4", f"{i:030d}") for i in range(FILES)]
    for _ in run_many(HandBack(), videos, workers=2, ray=ray):
        pass


def stage_clips(root: Path, count: int) -> None:
    """Clips of 10 s with frames of noise, which are as large as frames get."""
    DatasetWriter(root)
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(10 * SAMPLE_RATE)
    coarse = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
    frame = Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)
    for number in range(count):
        stage_clip(root, f"{number:06d}.mp4", "1", None, sound, [frame] * 10)


def make_small_shards(root: Path) -> None:
    """Copy one shard of short clips under many names."""
    DatasetWriter(root)
    for number in range(CLIPS_PER_SHARD):
        frame = Image.new("RGB", (224, 224))
        stage_clip(root, f"{number:020d}.mp4", f"{number:030d}", None, np.ones(160), [frame] * 10)
    close(root)
    (root / "index.arrow").unlink()
    (shard,) = (root / "shards").iterdir()
    for number in range(1, SMALL_SHARDS):
        shutil.copy(shard, shard.with_name(f"{number:05d}-{shard.stem.split('-')[1]}.arrow"))


def write_large_index(root: Path) -> None:
    """Write an index of many clips, with files of its shards that are there but empty."""
    DatasetWriter(root)
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
