"""Writing data sets: finished clips are staged, then moved into shards in a fixed, shuffled order.

The layout on disk is described in reader.py; decoding is not done here.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from clipsep.datasets.format import (
    SAMPLE_RATE,
    SCHEMA,
    encode_frame,
    file_digest,
    read_sealed_table,
    read_shard,
    shard_paths,
    write_table,
)
from clipsep.datasets.index import INDEX_FILE, ClipIndex, ShardSize, write_index
from clipsep.datasets.rejected import RejectedList, Rejection
from clipsep.errors import ClipsepError
from clipsep.files import remove_unfinished

CLIPS_PER_SHARD = 64
STAGING = "staging"
_SHARD_COLUMNS = ["id", "fingerprint", "label", "seconds", "n_frames"]  # those that the index has
_ROW_SCHEMA = pa.schema(
    [*map(SCHEMA.field, _SHARD_COLUMNS), ("shard", pa.string()), ("row", pa.int32())]
)


def stage_clip(
    root: Path,
    clip_id: str,
    fingerprint: str,
    label: str | None,
    audio: np.ndarray,
    frames: Sequence[Image.Image | None],
) -> None:
    """Write one finished clip where `DatasetWriter` will find it. Safe from several processes.

    Args:
        fingerprint: what tells a changed video file, which is prepared again.
        audio: mono sound at `SAMPLE_RATE` in [-1, 1], float [T].
        frames: one per second; None where there is nothing to see.
    """
    row = {
        "id": clip_id,
        "fingerprint": fingerprint,
        "label": label or None,
        "seconds": len(audio) / SAMPLE_RATE,
        "n_frames": len(frames),
        "audio": np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16),
        "frames": [encode_frame(frame) if frame else b"" for frame in frames],
    }
    columns = {key: pa.array([value], SCHEMA.field(key).type) for key, value in row.items()}
    write_table(pa.table(columns, schema=SCHEMA), _staged_path(root, clip_id))


def shuffle_key(clip_id: str) -> bytes:
    """Sort key that puts clips into shards in a fixed pseudo-random order.

    Sorted by id, a shard would hold the videos of one folder, often of one class, and training, which mixes
    shard by shard, would mix clips of the same class.
    """
    return hashlib.sha256(clip_id.encode()).digest()


class DatasetWriter:
    """Adds clips to a data set so that a kill at any moment loses only the clips being decoded.

    Each clip is first staged (`stage_clip`, in any process), in any order. Shards take them in the order
    of their `shuffle_key`: one is written when the next 64 usable clips are known. So the files depend
    neither on the number of workers nor on interruptions. Clips and shards appear by a rename, complete.

    Args:
        labels: new labels by the ids of clips, stored ones too; an empty one removes a label, and clips
            that are not named keep theirs.
    """

    def __init__(self, root: Path, labels: Mapping[str, str] | None = None):
        self.root = root
        self._labels = labels or {}
        (root / "shards").mkdir(parents=True, exist_ok=True)
        (root / STAGING).mkdir(exist_ok=True)
        for folder in (root, root / "shards"):
            remove_unfinished(folder)
        rows, _ = _rows_of_shards(root)
        ids, fingerprints = (rows[name].to_pylist() for name in ("id", "fingerprint"))
        self._stored = dict(zip(ids, fingerprints, strict=True))  # in shards
        self._staged = self._take_over_staging()
        self._useless: set[str] = set()  # rejected in this run, before it was their turn
        self._queue = deque(sorted(self._staged, key=shuffle_key))
        self._group: list[str] = []  # staged clips of the next shard
        self._next_number = max(map(_shard_number, shard_paths(root)), default=-1) + 1
        self.rejected = RejectedList(root)

    def finished(self, clip_id: str, fingerprint: str) -> bool:
        """Whether this very version of the video was already stored, staged or rejected."""
        if clip_id in self.rejected:
            return self.rejected[clip_id].fingerprint == fingerprint
        return fingerprint in (self._stored.get(clip_id), self._staged.get(clip_id))

    def expect(self, clip_ids: Iterable[str]) -> None:
        """Name, once, the clips to come: `add` or `reject` is called for each, in any order."""
        coming = set(clip_ids)
        for clip_id in coming & self._staged.keys():
            # Of an older version of the video, which must not come back if the new one is rejected.
            del self._staged[clip_id]
            _staged_path(self.root, clip_id).unlink(missing_ok=True)
        self.rejected.remove(coming)  # so what is listed is always a video's latest version
        self._queue = deque(sorted(coming | self._staged.keys(), key=shuffle_key))
        self._write_full_shards()

    def add(self, clip_id: str, fingerprint: str) -> None:
        """Take a clip that was staged."""
        self._staged[clip_id] = fingerprint
        self._write_full_shards()

    def reject(self, clip_id: str, fingerprint: str, reason: str) -> None:
        """Remember that a video cannot be used, and why."""
        self.rejected.add(clip_id, Rejection(fingerprint, reason))
        self._useless.add(clip_id)
        self._write_full_shards()

    def close(self) -> int:
        """Put what is left into a last shard and write the index.

        Returns:
            how many clips were lost: those of damaged or missing shards that were not stored again.
        """
        self._write_full_shards()
        if self._group:
            self._write_shard()
        rows, sizes = _rows_of_shards(self.root)
        before, _ = _read_index(self.root)
        kept = pc.sum(pc.is_in(before["id"], rows["id"].combine_chunks())).as_py() or 0
        lost = len(before) - kept
        rows = rows.filter(
            pc.invert(pc.is_in(rows["id"], pa.array(list(self.rejected), pa.string())))
        )
        del before  # it maps the file that is replaced now, which Windows refuses
        write_index(self.root / INDEX_FILE, _label(rows, self._labels), sizes)
        if self.rejected:
            self.rejected.tidy()
        return lost

    def _write_full_shards(self) -> None:
        """Go on in the order of turns for as long as it is known what became of the clips."""
        while self._queue:
            clip_id = self._queue[0]
            if clip_id in self._staged:
                self._group.append(clip_id)
            elif clip_id in self._useless:
                self._useless.remove(clip_id)
            else:
                return
            self._queue.popleft()
            if len(self._group) == CLIPS_PER_SHARD:
                self._write_shard()

    def _write_shard(self) -> None:
        paths = [_staged_path(self.root, clip_id) for clip_id in self._group]
        table = _label(pa.concat_tables([read_shard(path) for path in paths]), self._labels)
        identity = json.dumps([table["id"].to_pylist(), table["fingerprint"].to_pylist()])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        write_table(table, self.root / "shards" / f"{self._next_number:05d}-{digest}.arrow")
        del table  # it maps the files that go now
        for path in paths:
            path.unlink()
        for clip_id in self._group:
            self._stored[clip_id] = self._staged.pop(clip_id)
        self._group = []
        self._next_number += 1

    def _take_over_staging(self) -> dict[str, str]:
        """Keep what a killed run staged, without half-written files and clips that reached their shard."""
        staged = {}
        for path in (self.root / STAGING).iterdir():
            if path.suffix == ".arrow":
                table = read_shard(path)
                clip_id, fingerprint = table["id"][0].as_py(), table["fingerprint"][0].as_py()
                if self._stored.get(clip_id) != fingerprint:
                    staged[clip_id] = fingerprint
                    continue
                del table  # it maps the file that goes now
            path.unlink()
        return staged


def _rows_of_shards(root: Path) -> tuple[pa.Table, dict[str, ShardSize]]:
    """Rows for the index and the sizes of all shards.

    They are read from the index where it knows a shard of that name and size, else from the shard; clips
    that the index names keep their labels. A shard that was cut off is removed, and with it its rows.
    """
    found = {path.stem: (path, path.stat().st_size) for path in shard_paths(root)}
    index, known = _read_index(root)
    sizes = {
        shard: known[shard]
        for shard, (_, n_bytes) in found.items()
        if shard in known and known[shard].bytes == n_bytes
    }
    indexed = index.filter(pc.is_in(index["shard"], pa.array(list(sizes), pa.string())))
    others = [_ROW_SCHEMA.empty_table()]
    for shard in sorted(found.keys() - sizes.keys()):
        path, n_bytes = found[shard]
        try:
            rows = _rows_of_shard(path)
        except ClipsepError:
            if shard not in known:
                raise
            path.unlink()
            continue
        sizes[shard] = ShardSize(n_bytes, pc.sum(rows["n_frames"]).as_py(), file_digest(path))
        others.append(rows)
    others = _label_as_in(index, pa.concat_tables(others))
    return _latest_versions(pa.concat_tables([indexed, others])), dict(sorted(sizes.items()))


def _read_index(root: Path) -> tuple[pa.Table, dict[str, ShardSize]]:
    """Its rows, and the sizes of the shards that it knows."""
    if not (root / INDEX_FILE).is_file():
        return _ROW_SCHEMA.empty_table(), {}
    index = read_sealed_table(root / INDEX_FILE)
    return index.select(_ROW_SCHEMA.names).cast(_ROW_SCHEMA), ClipIndex(index).shard_sizes


def _rows_of_shard(path: Path) -> pa.Table:
    """Rows for the index."""
    rows = read_shard(path).select(_SHARD_COLUMNS)
    rows = rows.append_column("shard", pa.array([path.stem] * len(rows), pa.string()))
    return rows.append_column("row", pa.array(range(len(rows)), pa.int32()))


def _label_as_in(index: pa.Table, rows: pa.Table) -> pa.Table:
    """With the labels that an index has for some of the clips."""
    places = pc.index_in(rows["id"], index["id"].combine_chunks())
    labels = pc.coalesce(index["label"].take(places), rows["label"])
    return rows.set_column(rows.column_names.index("label"), "label", labels)


def _label(rows: pa.Table, labels: Mapping[str, str]) -> pa.Table:
    """With the labels given for some of the clips; an empty one becomes none."""
    if not labels:
        return rows
    pairs = zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True)
    column = pa.array([labels.get(clip_id, label) or None for clip_id, label in pairs], pa.string())
    return rows.set_column(rows.column_names.index("label"), "label", column)


def _latest_versions(rows: pa.Table) -> pa.Table:
    """Keep only the last version of a video that changed and so stands in several shards."""
    rows = rows.sort_by([("id", "ascending"), ("shard", "ascending")])
    ids = np.asarray(rows["id"])
    is_last = np.append(ids[:-1] != ids[1:], [True] * bool(len(ids)))
    return rows.filter(pa.array(is_last, pa.bool_()))


def _shard_number(path: Path) -> int:
    return int(path.stem.split("-")[0])


def _staged_path(root: Path, clip_id: str) -> Path:
    name = hashlib.sha256(clip_id.encode()).hexdigest()[:24]
    return root / STAGING / f"{name}.arrow"
