"""Checks every byte of a data set that has a checksum, and what can be known of the rest.

It changes nothing; what to do about damage stands in the sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsep.datasets.format import file_digest
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError
from clipsep.messages import Progress


class Finding(NamedTuple):
    """A file that was checked, and what is wrong with it (None for nothing)."""

    file: str
    problem: str | None


def check_dataset(location: str | Path, progress: Progress | None = None) -> Iterator[Finding]:
    """Compare a prepared data set with its checksums.

    The index has a checksum of its own and those of the shards. Embeddings have none: their sizes, and
    that all of their numbers are finite, are checked in folders, not at addresses.

    Args:
        location: folder, or address such as ``s3://bucket/folder``.
        progress: is called with the files that are checked, and all of them.

    Yields:
        the index, then each shard, then each file of embeddings.

    Raises:
        UsageError: if there is no data set.
        ClipsepError: if it was not finished, or its index or the presence of its shards is at fault.
    """
    dataset = PreparedDataset(location)
    embeddings: list[tuple[str, Path]] = []
    if not dataset.root.remote:
        folder = Path(str(dataset.root))
        paths = sorted(folder.glob("embeddings/*/*.npy"))
        embeddings = [(path.relative_to(folder).as_posix(), path) for path in paths]
    checks: list[tuple[str, Callable[[], None]]] = [
        ("index.arrow", lambda: None),  # it was compared when it was opened
        *(
            (dataset.shard_file(shard), partial(_check_shard, dataset, shard))
            for shard in dataset.shards
        ),
        *((name, partial(_check_embeddings, dataset, path)) for name, path in embeddings),
    ]
    for done, (name, check) in enumerate(checks, 1):
        finding = Finding(name, _problem(check))
        if progress:
            progress(done, len(checks))
        yield finding


def _problem(check: Callable[[], None]) -> str | None:
    try:
        check()
    except (ClipsepError, OSError) as error:
        return str(error)
    return None


def _check_shard(dataset: PreparedDataset, shard: str) -> None:
    file = dataset.shard_file(shard)
    if dataset.root.read(file, file_digest) != dataset.clips.shard_sizes[shard].sha256:
        raise ClipsepError(
            f"'{dataset.root}/{file}' is damaged (its checksum is wrong): delete it and "
            f"{dataset.root.repair}."
        )


def _check_embeddings(dataset: PreparedDataset, path: Path) -> None:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        whole = values.offset + values.nbytes == path.stat().st_size
        finite = whole and values.ndim == 2 and bool(np.isfinite(values).all())
    except Exception as error:  # NumPy's parser raises whatever the damage leads to
        raise _damaged(path, "its header cannot be read") from error
    if not finite:
        raise _damaged(path, "not all of its numbers are there, or some are not finite")
    if path.stem in dataset.shards and len(values) != dataset.n_frames(path.stem):
        expected = dataset.n_frames(path.stem)
        raise _damaged(path, f"{len(values)} embeddings for {expected} frames")


def _damaged(path: Path, what: str) -> ClipsepError:
    return ClipsepError(f"'{path}' is damaged ({what}): delete it and run 'clipsep embed' again.")
