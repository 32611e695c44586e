"""Embeddings of a data set's pictures by one query encoder, beside the shards they belong to."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from clipsep.datasets.store import Clip, ClipStore
from clipsep.errors import ClipsepError


class EmbeddingStore:
    """Embeddings of a data set's pictures by one query encoder, one array per shard.

    Args:
        encoder_id: of the query encoder; another one's embeddings are never read.
    """

    def __init__(self, store: ClipStore, encoder_id: str):
        self.store = store
        self.encoder_id = encoder_id
        self.folder = store.root / "embeddings" / re.sub(r"[^\w.-]+", "-", encoder_id)

    def missing_shards(self) -> list[str]:
        """Shards whose pictures were not embedded yet."""
        return [shard for shard in self.store.shards if not self._path(shard).is_file()]

    def write(self, shard: str, embeddings: np.ndarray) -> None:
        """Store the embeddings [frames of the shard, D] in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{shard}.tmp"
        with open(temporary, "wb") as file:
            np.save(file, embeddings.astype(np.float32))
        temporary.rename(self._path(shard))

    def require_complete(self) -> None:
        """Raise ClipsepError unless every shard was embedded."""
        missing = self.missing_shards()
        if missing:
            raise ClipsepError(
                f"'{self.store.root}' lacks embeddings by '{self.encoder_id}' for {len(missing)} of "
                f"{len(self.store.shards)} shards: run 'clipsep embed {self.store.root} "
                f"--encoder {self.encoder_id}'."
            )

    def clip(self, clip: Clip) -> np.ndarray:
        """Embeddings of a clip's pictures, float32 [n_frames, D]."""
        array, offsets = self._shard(clip.shard)
        return array[offsets[clip.row] : offsets[clip.row + 1]]

    @cache  # noqa: B019 - lives as long as the data set, which is as long as a run
    def _shard(self, shard: str) -> tuple[np.ndarray, np.ndarray]:
        offsets = self.store.frame_offsets(shard)
        array = np.load(self._path(shard), mmap_mode="r")
        if len(array) != offsets[-1]:
            raise ClipsepError(
                f"'{self._path(shard)}' has {len(array)} embeddings for {offsets[-1]} pictures: "
                "delete it and run 'clipsep embed' again."
            )
        return array, offsets

    def _path(self, shard: str) -> Path:
        return self.folder / f"{shard}.npy"
