"""Prepared videos on disk: sound and pictures in memory-mapped Arrow shards, and an index of them.

Layout of a data set folder::

    index.arrow                 one row per clip: id, label, seconds, n_frames, shard, row
    shards/00000-<digest>.arrow up to 64 clips each: sound (int16) and one JPEG picture per second
    embeddings/<encoder>/       one [frames, D] array per shard, under the shard's own name
    staging/, rejected.csv      finished clips not yet in a shard; videos without use, and why

A shard's name holds a digest of its contents, so embeddings can never be read beside other pictures
than theirs. Writing (store_writer.py), decoding and training live elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from clipsep.datasets.arrow_files import read_table, shard_paths
from clipsep.errors import ClipsepError

SAMPLE_RATE = 16000  # Hz, of the sound in every data set


@dataclass(frozen=True)
class Clip:
    """What the index knows of one prepared video.

    Attributes:
        id: path of the video below the folder it was prepared from.
        label: its class if one was given, else None; only supervised baselines and scores use it.
        n_frames: number of pictures, one per second.
    """

    id: str
    label: str | None
    seconds: float
    n_frames: int
    shard: str
    row: int


class ClipStore:
    """A prepared data set, read through memory maps.

    Raises:
        ClipsepError: if the folder is no data set, or a shard is missing or damaged.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        index = self.root / "index.arrow"
        if not index.is_file():
            state = "was not finished" if (self.root / "staging").is_dir() else "is no data set"
            raise ClipsepError(
                f"'{self.root}' {state} (there is no index.arrow): run 'clipsep prepare' on it."
            )
        rows = read_table(index).drop_columns(["fingerprint"]).to_pylist()
        self.clips = [Clip(**row) for row in rows]
        present = {path.stem for path in shard_paths(self.root)}
        for shard in self.shards:
            if shard not in present:
                raise ClipsepError(
                    f"'{self.root}' lacks the shard {shard}.arrow: run 'clipsep prepare' again."
                )

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def shards(self) -> list[str]:
        """Names of the shards in use, in order."""
        return sorted({clip.shard for clip in self.clips})

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted; empty if the videos have none."""
        return sorted({clip.label for clip in self.clips if clip.label})

    def audio(self, clip: Clip) -> np.ndarray:
        """Mono sound of a clip, int16 [T], at 16 kHz; a view of the memory map."""
        return self._table(clip.shard)["audio"][clip.row].values.to_numpy()

    def frames(self, clip: Clip) -> list[Image.Image]:
        """The pictures of a clip, one per second."""
        jpegs = self._table(clip.shard)["frames"][clip.row].as_py()
        return [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs]

    def frames_of_shard(self, shard: str) -> Iterator[list[Image.Image]]:
        """The pictures of every clip of a shard, in row order."""
        for jpegs in self._table(shard)["frames"]:
            yield [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs.as_py()]

    def frame_offsets(self, shard: str) -> np.ndarray:
        """Where the frames of each row start in the shard's embeddings, int64 [rows + 1]."""
        counts = self._table(shard)["n_frames"].to_numpy()
        return np.concatenate([[0], np.cumsum(counts)])

    def _table(self, shard: str) -> pa.Table:
        return _open_shard(self.root / "shards" / f"{shard}.arrow")


@lru_cache(maxsize=4096)
def _open_shard(path: Path) -> pa.Table:
    return read_table(path)
