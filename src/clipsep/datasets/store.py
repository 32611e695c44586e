"""Prepared videos on disk: sound and pictures in memory-mapped Arrow shards, an index, embeddings.

Layout of a data set folder::

    index.arrow                 one row per clip: id, label, seconds, n_frames, shard, row
    shards/00000-<digest>.arrow up to 64 clips each: sound (int16) and one JPEG picture per second
    embeddings/<encoder>/       one [frames, D] array per shard, under the shard's own name
    staging/, rejected.csv      finished clips not yet in a shard; videos without use, and why

A shard's name holds a digest of its contents, so embeddings can never be read beside other pictures
than theirs. Decoding and training live elsewhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from clipsep.errors import ClipsepError

CLIPS_PER_SHARD = 64
SAMPLE_RATE = 16000  # Hz, of the sound in every data set
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
    _write_table(pa.table(columns, schema=_SCHEMA), root / "staging" / f"{name}.arrow")


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
        for path in _shard_paths(root):
            table = _read_table(path)
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
            table = pa.concat_tables([_read_table(path) for path in group]).sort_by("id")
            _write_table(table, self._new_shard_path(table))
            self.done.update(
                zip(table["id"].to_pylist(), table["fingerprint"].to_pylist(), strict=True)
            )
            for path in group:
                path.unlink()

    def close(self) -> None:
        """Put every staged clip into a shard and write the index."""
        self.compact(everything=True)
        rows: dict[str, list] = {name: [] for name in (*_INDEX_COLUMNS, "shard", "row")}
        for path in _shard_paths(self.root):
            table = _read_table(path).select(list(_INDEX_COLUMNS)).to_pylist()
            for number, row in enumerate(table):
                # A video that changed since stands in two shards; only its last version counts.
                if self.done[row["id"]] == row["fingerprint"]:
                    for name in _INDEX_COLUMNS:
                        rows[name].append(row[name])
                    rows["shard"].append(path.stem)
                    rows["row"].append(number)
        # By id, so that the order of clips does not depend on how often the work was interrupted.
        _write_table(pa.table(rows).sort_by("id"), self.root / "index.arrow")

    def _new_shard_path(self, table: pa.Table) -> Path:
        identity = json.dumps([table["id"].to_pylist(), table["fingerprint"].to_pylist()])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        numbers = [int(path.stem.split("-")[0]) for path in _shard_paths(self.root)]
        return self.root / "shards" / f"{max(numbers, default=-1) + 1:05d}-{digest}.arrow"

    def _drop_stale_staging(self) -> None:
        """Remove what a killed run left: half-written files, and clips that reached their shard."""
        for path in self._staging.iterdir():
            if path.suffix != ".arrow":
                path.unlink()
                continue
            table = _read_table(path)
            clip_id, fingerprint = table["id"][0].as_py(), table["fingerprint"][0].as_py()
            if self.done.get(clip_id) == fingerprint:
                path.unlink()
            else:
                self.done[clip_id] = fingerprint


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
        rows = _read_table(index).drop_columns(["fingerprint"]).to_pylist()
        self.clips = [Clip(**row) for row in rows]
        present = {path.stem for path in _shard_paths(self.root)}
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


def _to_jpeg(frame: Image.Image) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _shard_paths(root: Path) -> Iterable[Path]:
    return sorted((root / "shards").glob("*.arrow"))


def _write_table(table: pa.Table, path: Path) -> None:
    """Write an Arrow file beside ``path`` and rename it, as one record batch."""
    temporary = path.with_suffix(".tmp")
    with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    temporary.rename(path)


def _read_table(path: Path) -> pa.Table:
    """A memory-mapped Arrow file; ClipsepError if it is missing or damaged."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise ClipsepError(
            f"'{path}' is missing or damaged ({error}): delete it and run 'clipsep prepare' again."
        ) from error


@lru_cache(maxsize=4096)
def _open_shard(path: Path) -> pa.Table:
    return _read_table(path)


def _read_rejected(root: Path) -> dict[str, tuple[str, str]]:
    path = root / "rejected.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row[0]: (row[1], row[2]) for row in csv.reader(file) if len(row) == 3}
