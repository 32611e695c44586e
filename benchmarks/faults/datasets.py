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
from clipsep.datasets import reader, writer
from clipsep.datasets.check import check_dataset
from clipsep.datasets.embeddings import EmbeddingStore

ENCODER = "any"
DIM = 8
_Store = getattr(reader, "PreparedDataset", None) or reader.ClipStore
_Writer = getattr(writer, "DatasetWriter", None) or writer.StoreWriter


def write_data_set(root: Path) -> None:
    """Three clips in a shard, with embeddings."""
    rng = np.random.default_rng(0)
    _Writer(root)
    for number in range(3):
        frames = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2)]
        sound = test_sound(1, 16_000, 2.0 + number)[0]
        writer.stage_clip(root, f"{number}.mp4", "1", ["dog", "cat", None][number], sound, frames)
    _Writer(root).close()
    store = _Store(root)
    embeddings = EmbeddingStore(store, ENCODER)
    for shard in store.shards:
        embeddings.write(shard, rng.standard_normal((store.n_pictures(shard), DIM)))


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
    """CHANGED if the check does not notice that the bytes are others."""
    content = change(whole, random.Random(f"{seed}-{number}"))
    _replace(path, content)
    for finding in check_dataset(root):
        if finding.problem:
            return "refused"
    return HARMLESS if content == whole else CHANGED


def _everything(root: Path) -> str:
    """A digest of all that training and embedding read."""
    store = _Store(root)
    embeddings = EmbeddingStore(store, ENCODER)
    embeddings.require_complete()
    digest = hashlib.sha256()
    for clip in store.clips:
        digest.update(repr((clip.id, clip.label, clip.seconds, clip.n_frames)).encode())
        digest.update(store.audio(clip).tobytes())
        for frame in store.frames(clip):
            digest.update(frame.tobytes())
        digest.update(embeddings.clip(clip).tobytes())
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """As a new file: the old one may be mapped."""
    path.unlink()
    path.write_bytes(content)


def _cut(whole: bytes, chance: random.Random) -> bytes:
    return whole[: chance.randrange(len(whole))]
