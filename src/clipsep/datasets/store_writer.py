"""Writing data sets: finished clips are staged, then moved into shards, so that a kill loses one clip.

The layout on disk is described in store.py; decoding is not done here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from clipsep.datasets.arrow_files import read_table, shard_paths, write_table
from clipsep.datasets.index import INDEX_FILE, ShardSize, write_index
from clipsep.datasets.store import SAMPLE_RATE

CLIPS_PER_SHARD = 64
_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "fingerprint": pa.string(),
        "label": pa.string(),
        "seconds": pa.float64(),
        "n_frames": pa.int32(),
        "audio": pa.large_list(pa.int16()),
        "frames": pa.large_list(pa.binary()),
    }
)
_INDEX_COLUMNS = ("id", "fingerprint", "label", "seconds", "n_frames")


def stage_clip(
    root: Path,
    clip_id: str,
    fingerprint: str,
    label: str | None,
    audio: np.ndarray,
    frames: list[Image.Image],
) -> None:
    """Write one finished clip where `StoreWriter` will find it. Safe from several processes.

    Args:
        fingerprint: of the video file; a changed video is prepared again.
        audio: mono sound at `SAMPLE_RATE` in [-1, 1], float [T].
        frames: its pictures, one per second.
    """
    row = {
        "id": clip_id,
        "fingerprint": fingerprint,
        "label": label,
        "seconds": len(audio) / SAMPLE_RATE,
        "n_frames": len(frames),
        "audio": np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16),
        "frames": [_to_jpeg(frame) for frame in frames],
    }
    name = hashlib.sha256(clip_id.encode()).hexdigest()[:24]
    columns = {key: pa.array([value], _SCHEMA.field(key).type) for key, value in row.items()}
    write_table(pa.table(columns, schema=_SCHEMA), root / "staging" / f"{name}.arrow")


class StoreWriter:
    """Adds clips to a data set so that a kill at any moment loses only the clip being written.

    Each clip is first written to ``staging/`` (`stage_clip`, in any process) and whole groups are then
    moved into shards; both by a rename, so that no half-written file is ever taken for a finished one.
    """

    def __init__(self, root: Path):
        self.root = root
        self._staging = root / "staging"
        (root / "shards").mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(exist_ok=True)
        self.done: dict[str, str] = {}  # id -> fingerprint of the video it was made from
        for path in shard_paths(root):
            table = read_table(path)
            self.done.update(
                zip(*(table[c].to_pylist() for c in ("id", "fingerprint")), strict=True)
            )
        self._drop_stale_staging()
        self.rejected = _read_rejected(root)

    def finished(self, clip_id: str, fingerprint: str) -> bool:
        """Whether this very version of the video was already stored or rejected."""
        return fingerprint in (self.done.get(clip_id), self.rejected.get(clip_id, ("", ""))[0])

    def reject(self, clip_id: str, fingerprint: str, reason: str) -> None:
        """Remember that a video is of no use, and why."""
        self.rejected[clip_id] = (fingerprint, reason)
        with open(self.root / "rejected.csv", "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([clip_id, fingerprint, reason])

    def compact(self, everything: bool = False) -> None:
        """Move staged clips into shards: full groups only, or all of them."""
        paths = sorted(self._staging.glob("*.arrow"))
        while paths and (everything or len(paths) >= CLIPS_PER_SHARD):
            group, paths = paths[:CLIPS_PER_SHARD], paths[CLIPS_PER_SHARD:]
            table = pa.concat_tables([read_table(path) for path in group]).sort_by("id")
            write_table(table, self._new_shard_path(table))
            self.done.update(
                zip(table["id"].to_pylist(), table["fingerprint"].to_pylist(), strict=True)
            )
            for path in group:
                path.unlink()

    def close(self) -> None:
        """Put every staged clip into a shard and write the index."""
        self.compact(everything=True)
        rows: dict[str, list] = {name: [] for name in (*_INDEX_COLUMNS, "shard", "row")}
        sizes = {}
        for path in shard_paths(self.root):
            table = read_table(path).select(list(_INDEX_COLUMNS)).to_pylist()
            frames = sum(row["n_frames"] for row in table)
            sizes[path.stem] = ShardSize(path.stat().st_size, frames)
            for number, row in enumerate(table):
                # A video that changed since stands in two shards; only its last version counts.
                if self.done[row["id"]] == row["fingerprint"]:
                    for name in _INDEX_COLUMNS:
                        rows[name].append(row[name])
                    rows["shard"].append(path.stem)
                    rows["row"].append(number)
        write_index(self.root / INDEX_FILE, pa.table(rows), sizes)

    def _new_shard_path(self, table: pa.Table) -> Path:
        identity = json.dumps([table["id"].to_pylist(), table["fingerprint"].to_pylist()])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        numbers = [int(path.stem.split("-")[0]) for path in shard_paths(self.root)]
        return self.root / "shards" / f"{max(numbers, default=-1) + 1:05d}-{digest}.arrow"

    def _drop_stale_staging(self) -> None:
        """Remove what a killed run left: half-written files, and clips that reached their shard."""
        for path in self._staging.iterdir():
            if path.suffix != ".arrow":
                path.unlink()
                continue
            table = read_table(path)
            clip_id, fingerprint = table["id"][0].as_py(), table["fingerprint"][0].as_py()
            if self.done.get(clip_id) == fingerprint:
                path.unlink()
            else:
                self.done[clip_id] = fingerprint


def _to_jpeg(frame: Image.Image) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _read_rejected(root: Path) -> dict[str, tuple[str, str]]:
    path = root / "rejected.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row[0]: (row[1], row[2]) for row in csv.reader(file) if len(row) == 3}
