"""`embed`: one embedding for each picture of a data set, so that training never runs the encoder.

What an embedding means is the encoder's business, spreading the work that of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from clipsep import queries
from clipsep.datasets.embeddings import EmbeddingStore
from clipsep.datasets.folders import is_address
from clipsep.datasets.store import ClipStore
from clipsep.devices import choose_device, local_workers, one_thread
from clipsep.errors import ClipsepError
from clipsep.workers import Progress, require_shared_folder, run_many

_PICTURES_PER_BATCH = 64


@dataclass
class EmbedReport:
    """How many pictures were embedded now, and by which encoder."""

    encoder_id: str
    pictures: int = 0


def embed(
    dataset: str | Path,
    encoder: str,
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> EmbedReport:
    """Store one embedding per picture of a data set; shards that are done are not done again.

    Args:
        dataset: folder, or address such as ``s3://bucket/folder``.
        encoder: a name for `clipsep.queries.load_query_encoder`.
        workers, ray: see `clipsep.workers.run_many`.

    Raises:
        UsageError, ClipsepError: if the data set, the encoder or the workers cannot be used.
    """
    task = _EmbedShard(_absolute(str(dataset)), _absolute_encoder(encoder), device)
    # The machines of a cluster may have GPUs where this one has none.
    embeddings = (task if ray is None else replace(task, device="cpu")).embeddings
    missing = embeddings.missing_shards()
    finished = len(embeddings.store.shards) - len(missing)
    report = EmbedReport(embeddings.encoder_id)
    if ray is None:
        workers = workers or local_workers(device)
    with closing(run_many(task, missing, workers, ray)) as outcomes:
        for _, count in outcomes:
            report.pictures += count
            finished += 1
            if progress:
                progress(finished, len(embeddings.store.shards))
    return report


@dataclass
class _EmbedShard:
    """Embeds the pictures of a shard; the result is their number."""

    dataset: str
    encoder_name: str
    device: str

    def __call__(self, shard: str) -> int:
        if not is_address(self.dataset):
            require_shared_folder(Path(self.dataset))
        frames = (frame for clip in self.embeddings.store.frames_of_shard(shard) for frame in clip)
        batches = _batches(frames, _PICTURES_PER_BATCH)
        with one_thread():
            parts = [self.encoder.encode_images(batch).cpu() for batch in batches]
        self.embeddings.write(shard, torch.cat(parts).numpy())
        return sum(map(len, parts))

    def died(self, shard: str) -> int:
        raise ClipsepError(
            f"The shard {shard} of '{self.dataset}' killed every process that embedded it (too little "
            "memory?): run the same command again with fewer --workers."
        )

    @cached_property
    def encoder(self) -> queries.QueryEncoder:
        return queries.load_query_encoder(self.encoder_name, str(choose_device(self.device)))

    @cached_property
    def embeddings(self) -> EmbeddingStore:
        return EmbeddingStore(ClipStore(self.dataset), self.encoder.id)

    def __reduce__(self) -> tuple:
        # A worker loads its own encoder and opens its own store.
        return _EmbedShard, (self.dataset, self.encoder_name, self.device)


def _absolute(location: str) -> str:
    """A path that holds for workers, which have working folders of their own."""
    return location if is_address(location) else str(Path(location).absolute())


def _absolute_encoder(name: str) -> str:
    family, _, model = name.partition(":")
    return f"{family}:{_absolute(model)}" if model and Path(model).is_dir() else name


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
