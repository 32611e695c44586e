"""Checks every byte of a data set that has a checksum, and what can be known of the rest.

It changes nothing; what to do about damage stands in the sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsep.datasets.format import file_digest
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError


class Finding(NamedTuple):
    """A file that was checked, and what is wrong with it (None for nothing)."""

    file: str
    problem: str | None


def check_dataset(location: str | Path) -> Iterator[Finding]:
    """Compare a prepared data set with its checksums.

    The index has a checksum of its own and those of the shards. Embeddings have none: their sizes, and
    that all of their numbers are finite, are checked in folders, not at addresses.

    Args:
        location: folder, or address such as ``s3://bucket/folder``.

    Yields:
        the index, then each shard, then each file of embeddings.

    Raises:
        UsageError: if there is no data set.
        ClipsepError: if it was not finished, or its index or the presence of its shards is at fault.
    """
    dataset = PreparedDataset(location)
    yield Finding("index.arrow", None)
    for shard in dataset.shards:
        yield Finding(
            dataset.shard_file(shard), _problem(lambda name=shard: _check_shard(dataset, name))
        )
    if dataset.root.remote:
        return
    folder = Path(str(dataset.root))
    for path in sorted(folder.glob("embeddings/*/*.npy")):
        name = path.relative_to(folder).as_posix()
        yield Finding(name, _problem(lambda file=path: _check_embeddings(dataset, file)))


def _problem(check) -> str | None:
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
