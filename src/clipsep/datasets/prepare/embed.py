"""`embed`: one embedding for each second of a data set, so that training never runs the encoder.

What an embedding means is known to the encoder; how work is spread, to `parallel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsep import queries
from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import SAMPLE_RATE, PreparedDataset
from clipsep.datasets.storage.folders import is_address
from clipsep.devices import one_thread
from clipsep.errors import ClipsepError
from clipsep.messages import Progress
from clipsep.parallel.run import local_workers, run_many
from clipsep.parallel.task import require_shared_folder
from clipsep.plugins import trust

_FRAMES_PER_BATCH = 64
AUDIO_SECONDS = 4.0  # around each frame: about a training segment


@dataclass
class EmbedReport:
    """How many frames, or seconds of audio, were embedded now, and by which encoder."""

    encoder_id: str
    frames: int = 0


def embed(
    dataset: str | Path,
    encoder: str,
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
    audio: bool = False,
) -> EmbedReport:
    """Store one embedding per frame of a data set; shards that are done are not done again.

    Args:
        dataset: folder, or address such as ``s3://bucket/folder``.
        encoder: a name for `clipsep.queries.load_query_encoder`.
        workers, ray: see `clipsep.parallel.run.run_many`.
        audio: embed the four seconds of audio around each frame instead of the frame.

    Raises:
        UsageError, ClipsepError: if the data set, the encoder or the workers cannot be used.
    """
    trust(encoder)
    task = _EmbedBatch(_absolute(str(dataset)), _absolute_encoder(encoder), device, audio)
    # The machines of a cluster may have GPUs where this one has none.
    embeddings = (task if ray is None else replace(task, device="cpu")).embeddings
    prepared = embeddings.dataset
    missing = {shard: prepared.n_frames(shard) for shard in embeddings.missing_shards()}
    total = sum(map(prepared.n_frames, prepared.shards))
    report = EmbedReport(embeddings.encoder_id)
    finished = total - sum(missing.values())
    if ray is None:
        workers = workers or local_workers(device)
    pieces = {shard: _Pieces() for shard in missing}
    with closing(run_many(task, _batches(missing), workers, ray)) as outcomes:
        for batch, found in outcomes:
            pieces[batch.shard].add(batch, found)
            finished += len(found)
            if pieces[batch.shard].n_frames == missing[batch.shard]:
                embeddings.write(batch.shard, pieces.pop(batch.shard).join())
                report.frames += missing[batch.shard]
            if progress:
                progress(finished, total)
    return report


class _Batch(NamedTuple):
    """Some frames of a shard, those from number ``start`` on."""

    shard: str
    start: int
    stop: int


def _batches(shards: Mapping[str, int]) -> list[_Batch]:
    """All frames of shards, given by their numbers of frames.

    Smaller than a shard, so that several workers have work on a few shards; and always the same ones,
    because sums are rounded otherwise in batches of other sizes.
    """
    return [
        _Batch(shard, start, min(start + _FRAMES_PER_BATCH, n_frames))
        for shard, n_frames in shards.items()
        for start in range(0, n_frames, _FRAMES_PER_BATCH)
    ]


class _Pieces:
    """The embeddings of a shard, as its batches come in in any order."""

    def __init__(self) -> None:
        self.n_frames = 0
        self._by_start: dict[int, np.ndarray] = {}

    def add(self, batch: _Batch, embeddings: np.ndarray) -> None:
        self.n_frames += len(embeddings)
        self._by_start[batch.start] = embeddings

    def join(self) -> np.ndarray:
        return np.concatenate([self._by_start[start] for start in sorted(self._by_start)])


@dataclass
class _EmbedBatch:
    """Embeds a batch of frames, or the audio around them; the result is their embeddings [N, D]."""

    dataset: str
    encoder_name: str
    device: str
    audio: bool = False

    def __call__(self, batch: _Batch) -> np.ndarray:
        if not is_address(self.dataset):
            require_shared_folder(Path(self.dataset))
        dataset = self.embeddings.dataset
        if self.audio:
            encode = queries.reads_audio(self.encoder).encode_audios
            waveforms = dataset.shard_audio(*batch, AUDIO_SECONDS)
            with one_thread():
                return np.asarray(encode(waveforms, SAMPLE_RATE))
        frames = dataset.shard_frames(*batch)
        with one_thread():
            return np.asarray(self.encoder.encode_images(frames))

    def died(self, batch: _Batch) -> np.ndarray:
        raise ClipsepError(
            f"The shard {batch.shard} of '{self.dataset}' killed every process that embedded it (too "
            "little memory?): run the same command again with fewer --workers."
        )

    @cached_property
    def encoder(self) -> queries.QueryEncoder:
        trust(self.encoder_name)  # workers of a cluster do not share this process's environment
        return queries.load_query_encoder(self.encoder_name, self.device, threads=1)

    @cached_property
    def embeddings(self) -> StoredEmbeddings:
        return StoredEmbeddings(PreparedDataset(self.dataset), self.encoder.id, self.audio)

    def __reduce__(self) -> tuple:
        # A worker loads its own encoder and opens its own dataset.
        return _EmbedBatch, (self.dataset, self.encoder_name, self.device, self.audio)


def _absolute(location: str) -> str:
    """Make a path absolute, because workers have working folders of their own."""
    return location if is_address(location) else str(Path(location).absolute())


def _absolute_encoder(name: str) -> str:
    family, _, model = name.partition(":")
    return f"{family}:{_absolute(model)}" if model and Path(model).is_dir() else name
