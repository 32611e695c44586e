"""Damaged data sets: bits and ends of the index, of shards and of embeddings."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults.isolation import CHANGED, HARMLESS, run_attempts
from benchmarks.faults.media import test_sound
from benchmarks.faults.mutations import flip_bit, mutate
from benchmarks.faults.tally import Tally
from clipsep.datasets.check import check_dataset
from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import DatasetWriter, stage_clip

ENCODER = "any"
DIM = 8


def write_data_set(root: Path) -> None:
    """Three clips in a shard, with embeddings."""
    rng = np.random.default_rng(0)
    DatasetWriter(root)
    for number in range(3):
        frames = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2)]
        sound = test_sound(1, 16_000, 2.0 + number)[0]
        stage_clip(root, f"{number}.mp4", "1", ["dog", "cat", None][number], sound, frames)
    DatasetWriter(root).close()
    dataset = PreparedDataset(root)
    embeddings = StoredEmbeddings(dataset, ENCODER)
    for shard in dataset.shards:
        embeddings.write(shard, rng.standard_normal((dataset.n_frames(shard), DIM)))


def damage_data_sets(folder: Path, count: int, seed: int) -> Iterator[Tally]:
    """Lines for each kind of file, read as training does, and checked by `clipsep check`."""
    root = folder / "data"
    write_data_set(root)
    files = {
        "index.arrow": root / "index.arrow",
        "shard": next((root / "shards").iterdir()),
        "embeddings": next((root / "embeddings").glob("*/*.npy")),
    }
    original = _everything(root)
    for name, path in files.items():
        whole = path.read_bytes()
        for what, change in (("one flipped bit", flip_bit), ("cut", _cut), ("mutated", mutate)):
            # Shards are not read whole when they are mapped, and embeddings have no checksum.
            promised = name == "index.arrow" or what == "cut"
            tally = Tally(f"{name}: {what}", promised)
            attempt = partial(_attempt, root, path, whole, change, seed, original)
            for outcome in run_attempts(attempt, count):
                tally.add(outcome)
            yield tally
            if name == "embeddings" and what != "cut":
                continue
            tally = Tally(f"{name}: {what}, `clipsep check`")
            attempt = partial(_check, root, path, whole, change, seed)
            for outcome in run_attempts(attempt, count):
                tally.add(outcome)
            yield tally
        _replace(path, whole)


def _attempt(
    root: Path,
    path: Path,
    whole: bytes,
    change: Callable[[bytes, random.Random], bytes],
    seed: int,
    original: str,
    number: int,
) -> str:
    _replace(path, change(whole, random.Random(f"{seed}-{number}")))
    return HARMLESS if _everything(root) == original else CHANGED


def _check(
    root: Path,
    path: Path,
    whole: bytes,
    change: Callable[[bytes, random.Random], bytes],
    seed: int,
    number: int,
) -> str:
    """Return CHANGED if the check does not notice that the bytes are others."""
    content = change(whole, random.Random(f"{seed}-{number}"))
    _replace(path, content)
    for finding in check_dataset(root):
        if finding.problem:
            return "refused"
    return HARMLESS if content == whole else CHANGED


def _everything(root: Path) -> str:
    """Digest all that training and embedding read."""
    dataset = PreparedDataset(root)
    embeddings = StoredEmbeddings(dataset, ENCODER)
    embeddings.require_complete()
    digest = hashlib.sha256()
    for clip in dataset.clips:
        digest.update(repr((clip.id, clip.label, clip.seconds, clip.n_frames)).encode())
        digest.update(dataset.audio(clip).tobytes())
        for frame in dataset.frames(clip):
            digest.update(frame.tobytes())
        digest.update(embeddings.clip(clip).tobytes())
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """As a new file: the old one may be mapped."""
    path.unlink()
    path.write_bytes(content)


def _cut(whole: bytes, chance: random.Random) -> bytes:
    return whole[: chance.randrange(len(whole))]
