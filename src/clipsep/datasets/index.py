"""The index of a data set: one row per clip, in memory-mapped columns, so that millions open at once.

`clipsep.datasets.reader` describes the whole layout of a data set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsep.datasets.format import write_sealed_table
from clipsep.errors import ClipsepError

INDEX_FILE = "index.arrow"
_NAME = pa.dictionary(pa.int32(), pa.string())  # few distinct values: stored once each
_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "fingerprint": pa.string(),
        "label": _NAME,
        "seconds": pa.float64(),
        "n_frames": pa.int32(),
        "shard": _NAME,
        "row": pa.int32(),
    }
)
_SHARDS_KEY = b"shards"


@dataclass(frozen=True)
class Clip:
    """What the index knows of one prepared video.

    Attributes:
        id: path of the video below the folder it was prepared from.
        label: its class if one was given, else None; only supervised baselines and scores use it.
        n_frames: number of frames, one per second.
    """

    id: str
    label: str | None
    seconds: float
    n_frames: int
    shard: str
    row: int


class ShardSize(NamedTuple):
    """What a complete shard measures: bytes of its file, frames in it, and the SHA-256 of the file."""

    bytes: int
    frames: int
    sha256: str


class ClipIndex(Sequence[Clip]):
    """The clips of a data set in order of their ids; a `Clip` is made when it is read.

    Args:
        table: columns id, label, seconds, n_frames, shard and row, and in its metadata the size of each
            shard.

    Raises:
        ClipsepError: if the size of a shard is missing.
    """

    def __init__(self, table: pa.Table):
        sizes = json.loads((table.schema.metadata or {}).get(_SHARDS_KEY, "{}"))
        self.shard_sizes = {shard: ShardSize(*size) for shard, size in sizes.items()}
        rows = table.select([name for name in _SCHEMA.names if name != "fingerprint"])
        rows = rows.cast(pa.schema([_SCHEMA.field(name) for name in rows.column_names]))
        columns = {name: _one_array(rows[name]) for name in rows.column_names}
        self._ids, self._labels, self._shards = (columns[name] for name in ("id", "label", "shard"))
        self._seconds, self._n_frames, self._rows = (
            columns[name].to_numpy() for name in ("seconds", "n_frames", "row")
        )
        if missing := set(self.shards) - self.shard_sizes.keys():
            raise ClipsepError(f"An index lists clips of '{min(missing)}', but no such shard.")

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, position: int) -> Clip: ...
    @overload
    def __getitem__(self, position: slice) -> list[Clip]: ...
    def __getitem__(self, position: int | slice) -> Clip | list[Clip]:
        if isinstance(position, slice):
            return [self[i] for i in range(len(self))[position]]
        i = range(len(self))[position]
        return Clip(
            self._ids[i].as_py(),
            self._labels[i].as_py(),
            float(self._seconds[i]),
            int(self._n_frames[i]),
            self._shards[i].as_py(),
            int(self._rows[i]),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClipIndex) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as the language wants it

    @cached_property
    def shards(self) -> list[str]:
        """Names of the shards in use, sorted."""
        return sorted(pc.unique(self._shards).to_pylist())

    @cached_property
    def shard_numbers(self) -> np.ndarray:
        """Each clip's shard as its place in `shards`, int32 [clips]."""
        places = pc.index_in(self._shards.dictionary, pa.array(self.shards, pa.string()))
        return places.to_numpy(zero_copy_only=False)[self._shards.indices.to_numpy()].astype(
            np.int32
        )

    @cached_property
    def labels(self) -> list[str]:
        """The distinct labels, sorted; empty if the videos have none."""
        return sorted(filter(None, pc.unique(self._labels).to_pylist()))

    @property
    def n_unlabeled(self) -> int:
        """How many clips have no label."""
        return self._labels.null_count


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """Without a copy where the file was written in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def write_index(path: Path, rows: pa.Table, shard_sizes: Mapping[str, ShardSize]) -> None:
    """Write the index of a data set in one step.

    Args:
        rows: what `ClipIndex` reads and the videos' fingerprints, in any order.
        shard_sizes: sizes of every shard that they name; a damaged shard has another one.
    """
    # By id, so that the order of clips does not depend on how often the work was interrupted.
    table = rows.select(_SCHEMA.names).cast(_SCHEMA).sort_by("id").combine_chunks()
    metadata = {_SHARDS_KEY: json.dumps(shard_sizes, separators=(",", ":"))}
    write_sealed_table(table.replace_schema_metadata(metadata), path)
