"""Embeddings of a data set's frames or audio by one query encoder, beside the shards they belong to."""

from __future__ import annotations

import io
import re
from functools import lru_cache
from pathlib import Path
from statistics import mode
from typing import NamedTuple

import numpy as np

from clipsep.datasets.index import Clip
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError
from clipsep.messages import counted

_HEADER = 128  # bytes before the numbers of an array file that NumPy wrote
_DTYPE = np.dtype("<f4")


class _Layout(NamedTuple):
    """Where a shard's embeddings are in their file: D numbers each, from byte ``start`` on."""

    offsets: np.ndarray
    dim: int
    start: int


class StoredEmbeddings:
    """Embeddings of a data set's seconds by one query encoder, one array per shard.

    Args:
        encoder_id: name of the query encoder. Encoders have a folder each, but for those whose names differ
            in signs alone, such as ``clip:a/b`` and ``clip:a-b``.
        audio: whether the audio around each second was embedded, instead of its frame.
    """

    def __init__(self, dataset: PreparedDataset, encoder_id: str, audio: bool = False):
        self.dataset = dataset
        self.encoder_id = encoder_id
        self.audio = audio
        name = re.sub(r"[^\w.-]+", "-", encoder_id)
        self.folder = f"embeddings/{name}{'.audio' if audio else ''}"

    def file(self, shard: str) -> str:
        """Path of a shard's embeddings below the data set's root."""
        return f"{self.folder}/{shard}.npy"

    def missing_shards(self) -> list[str]:
        """Shards whose frames were not embedded yet."""
        present = self._sizes()
        return [shard for shard in self.dataset.shards if shard not in present]

    def write(self, shard: str, embeddings: np.ndarray) -> None:
        """Store the embeddings [frames of the shard, D] in one step."""
        buffer = io.BytesIO()
        np.save(buffer, embeddings.astype(_DTYPE))
        self.dataset.root.write(self.file(shard), buffer.getvalue())

    def require_complete(self) -> None:
        """Raise ClipsepError unless every shard was embedded and no file was cut off."""
        present = self._sizes()
        missing = [shard for shard in self.dataset.shards if shard not in present]
        if missing:
            raise ClipsepError(
                f"'{self.dataset.root}' lacks embeddings {'of its audio ' if self.audio else ''}by "
                f"'{self.encoder_id}' for {len(missing)} of {counted(len(self.dataset.shards), 'shard')}: "
                f"run 'clipsep embed {self.dataset.root} --encoder {self.encoder_id}"
                f"{' --audio' if self.audio else ''}'."
            )
        self._require_equal_dims(present)

    def clip(self, clip: Clip) -> np.ndarray:
        """Embeddings of a clip's frames, float32 [n_frames, D]."""
        layout = self._layout(clip.shard)
        first, last = (int(row) for row in layout.offsets[clip.row : clip.row + 2])
        size = layout.dim * _DTYPE.itemsize

        def read(path: Path) -> np.ndarray:
            start = layout.start + first * size
            return np.fromfile(path, _DTYPE, (last - first) * layout.dim, offset=start)

        # Not mapped: NumPy's maps keep files open, of which a process may have a thousand or so.
        return self.dataset.root.read(self.file(clip.shard), read).reshape(-1, layout.dim)

    def _sizes(self) -> dict[str, int]:
        """Bytes of the embeddings of every shard that has some."""
        sizes = self.dataset.root.sizes(self.folder)
        return {Path(name).stem: size for name, size in sizes.items() if name.endswith(".npy")}

    def _require_equal_dims(self, present: dict[str, int]) -> None:
        """Files that are too short or too long would give embeddings of another size than the rest."""
        frames = {shard: size.frames for shard, size in self.dataset.clips.shard_sizes.items()}
        dims = {
            shard: (present[shard] - _HEADER) / (_DTYPE.itemsize * frames[shard])
            for shard in self.dataset.shards
        }
        usual = mode(dims.values()) if dims else 0
        for shard, dim in dims.items():
            if dim != usual or dim != round(dim):
                raise self._damaged(
                    shard, f"{present[shard]} bytes for {counted(frames[shard], 'frame')}"
                )

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as the data set, which is as long as a run
    def _layout(self, shard: str) -> _Layout:
        offsets = self.dataset.frame_offsets(shard)
        shape, start = self.dataset.root.read(self.file(shard), _read_header)
        if shape[0] != offsets[-1]:
            raise self._damaged(shard, f"{shape[0]} embeddings for {offsets[-1]} frames")
        return _Layout(offsets, shape[1], start)

    def _damaged(self, shard: str, what: str) -> ClipsepError:
        return ClipsepError(
            f"'{self.dataset.root}/{self.file(shard)}' is damaged ({what}): delete it and run "
            "'clipsep embed' again."
        )


def _read_header(path: Path) -> tuple[tuple[int, int], int]:
    """Shape of a stored array, and where its numbers start in bytes."""
    try:
        array = np.load(path, mmap_mode="r")
        if array.dtype != _DTYPE or array.offset + array.nbytes != path.stat().st_size:
            raise ValueError("its header and its size differ")
        n_frames, dim = array.shape
    except OSError:
        raise
    except Exception as error:  # NumPy's parser raises whatever the damage leads to
        raise ClipsepError(
            f"'{path}' is damaged: delete it and run 'clipsep embed' again."
        ) from error
    return (n_frames, dim), array.offset
