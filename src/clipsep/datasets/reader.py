"""Prepared videos: sound and frames in memory-mapped Arrow shards, and an index of them.

Layout of a data set folder, on a disk or at an address (s3://bucket/folder)::

    index.arrow                 one row per clip: id, label, seconds, n_frames, shard, row; and the
                                size and checksum of each shard, with a checksum of its own behind it
    shards/00000-<digest>.arrow up to 64 clips each: sound (int16) and one JPEG frame per second
    embeddings/<encoder>/       one [frames, D] array per shard, under the shard's own name; with
                                .audio behind the encoder's name, of the audio around each frame
    staging/, rejected.csv      finished clips not yet in a shard; videos without use, and why

A shard's name holds a digest of its contents, so embeddings can never be read beside other frames
than theirs.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from clipsep.datasets.captions import CAPTIONS_FILE, captions_of
from clipsep.datasets.format import SAMPLE_RATE as SAMPLE_RATE
from clipsep.datasets.format import decode_frame, read_sealed_table, read_shard
from clipsep.datasets.index import INDEX_FILE, Clip, ClipIndex
from clipsep.datasets.storage.cache import FileCache
from clipsep.datasets.storage.folders import open_folder
from clipsep.errors import ClipsepError, UsageError

_MAX_MAPPED = 4096  # shards; systems limit the memory maps of a process


class PreparedDataset:
    """A prepared data set, read through memory maps.

    Args:
        root: folder, or address such as ``s3://bucket/folder``.
        cache: where shards from an address are kept; by default `FileCache` with its defaults.

    Raises:
        UsageError: if there is no data set.
        ClipsepError: if it was not finished, or a shard is missing or damaged.
    """

    def __init__(self, root: str | Path, cache: FileCache | None = None):
        self.root = open_folder(root, cache)
        if not self.root.exists(INDEX_FILE):
            unfinished = self.root.sizes("shards") or self.root.sizes("staging")
            kind = ClipsepError if unfinished else UsageError
            raise kind(
                f"'{self.root}' {'was not finished' if unfinished else 'is not a data set'} (there is no "
                f"{INDEX_FILE}): {self.root.if_empty}."
            )
        self._open()
        self._require_shards()

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Another process maps the files itself; nobody sends it an index of millions.
        self.root = state["root"]
        self._open()

    @property
    def shards(self) -> list[str]:
        """Names of the shards in use, in order."""
        return self.clips.shards

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted; empty if the videos have none."""
        return self.clips.labels

    @cached_property
    def captions(self) -> dict[str, list[str]]:
        """Texts about clips by their ids, in the order in which they were given; empty without any."""
        if not self.root.exists(CAPTIONS_FILE):
            return {}
        return self.root.read(CAPTIONS_FILE, captions_of)

    def audio(self, clip: Clip) -> np.ndarray:
        """Mono sound of a clip, int16 [T], at 16 kHz; a view of the memory map."""
        return self._table(clip.shard)["audio"][clip.row].values.to_numpy()

    def frames(self, clip: Clip) -> list[Image.Image]:
        """Decode the frames of a clip, one per second."""
        return self._decode(clip.shard, self._table(clip.shard)["frames"][clip.row].values)

    def shard_frames(self, shard: str, start: int, stop: int) -> list[Image.Image]:
        """Decode some of the frames of a shard, of all clips in row order."""
        # Read once and in turn: not worth being kept in a map.
        jpegs = pc.list_flatten(self._read(shard)["frames"])
        return self._decode(shard, jpegs[start:stop])

    def shard_audio(self, shard: str, start: int, stop: int, seconds: float) -> list[np.ndarray]:
        """Cut the audio around some of the frames of a shard, as `shard_frames` counts them.

        Args:
            seconds: length of the audio, with the frame in its middle; what lies beyond the clip is left
                out.

        Returns:
            waveforms, float32 [T] in [-1, 1] at `SAMPLE_RATE`.
        """
        table, offsets = self._table(shard), self.frame_offsets(shard)
        waveforms = []
        for number in range(start, stop):
            row = int(np.searchsorted(offsets, number, side="right")) - 1
            audio = table["audio"][row].values.to_numpy()
            middle = (number - offsets[row] + 0.5) * SAMPLE_RATE
            low, high = (round(middle + side * seconds * SAMPLE_RATE / 2) for side in (-1, 1))
            # A last frame may lie behind the end of the audio: then what comes before it.
            low = max(0, min(low, len(audio) - SAMPLE_RATE))
            waveforms.append(audio[low:high].astype(np.float32) / 32768)
        return waveforms

    def n_frames(self, shard: str) -> int:
        """How many frames a shard has."""
        return self.clips.shard_sizes[shard].frames

    def frame_offsets(self, shard: str) -> np.ndarray:
        """Where the frames of each row start in the shard's embeddings, int64 [rows + 1]."""
        counts = self._table(shard)["n_frames"].to_numpy()
        return np.concatenate([[0], np.cumsum(counts)])

    def shard_file(self, shard: str) -> str:
        """Path of a shard below the root."""
        return f"shards/{shard}.arrow"

    def unmap(self) -> None:
        """Let go of all shards, so that the disk space of those that a cache removed becomes free."""
        self._tables.clear()

    def _open(self) -> None:
        self.clips = self.root.read(INDEX_FILE, lambda path: ClipIndex(read_sealed_table(path)))
        self._tables: dict[str, pa.Table] = {}

    def _table(self, shard: str) -> pa.Table:
        if shard not in self._tables:
            if len(self._tables) >= _MAX_MAPPED:
                self.unmap()
            self._tables[shard] = self._read(shard)
        return self._tables[shard]

    def _read(self, shard: str) -> pa.Table:
        n_frames = self.n_frames(shard)
        return self.root.read(self.shard_file(shard), lambda path: read_shard(path, n_frames))

    def _decode(self, shard: str, jpegs: pa.Array | pa.ChunkedArray) -> list[Image.Image]:
        encoded = jpegs.to_pylist()
        if not all(encoded):
            raise UsageError(
                f"'{self.root}' has clips without images, prepared from audio alone: train with "
                "query=text, which needs none, or prepare them with images in their folders."
            )
        try:
            return [decode_frame(jpeg) for jpeg in encoded]
        except ValueError as error:
            raise ClipsepError(
                f"'{self.root}/{self.shard_file(shard)}' is damaged ({error}): delete it and "
                f"{self.root.repair}."
            ) from error

    def _require_shards(self) -> None:
        """Compare names and sizes, which takes one listing."""
        present = self.root.sizes("shards")
        for shard in self.shards:
            file = self.shard_file(shard)
            found = present.get(Path(file).name)
            if found is None:
                raise ClipsepError(
                    f"'{self.root}' lacks the shard {shard}.arrow: {self.root.repair}."
                )
            expected = self.clips.shard_sizes[shard].bytes
            if found != expected:
                raise ClipsepError(
                    f"'{self.root}/{file}' is damaged ({found} bytes instead of {expected}): delete "
                    f"it and {self.root.repair}."
                )
