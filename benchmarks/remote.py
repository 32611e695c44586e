"""A data set in a bucket against the same one in a folder: `python -m benchmarks.remote DATASET`.

Starts an S3 server on this machine (moto's, from the extra `dev`), uploads a prepared and embedded data
set and draws training mixtures of more than one epoch from it, through a cache that holds a third of
it, with no loader process and with two. Checks that every mixture is, bit for bit, the folder's and that
the cache never passed its limit; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import DataLoader

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.storage.cache import FileCache
from clipsep.training.data.batches import MixtureBatch, collate
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.data.settings import MixingSettings
from tests.helpers.remote import PeakSize, s3_server, upload

EPOCHS = 1.25
BATCH = 16
SAMPLES = 65535


class Run(NamedTuple):
    """One pass: a digest of each batch, seconds until the first, and mixtures per second from then on."""

    digests: list[bytes]
    first: float
    rate: float


def mixtures(prepared: PreparedDataset, encoder: str, window: int) -> MixtureDataset:
    """Training mixtures of more than one epoch."""
    embeddings = StoredEmbeddings(prepared, encoder)
    embeddings.require_complete()
    length = round(EPOCHS * len(prepared))
    settings = MixingSettings(margin=2, jitter=0.5, target_rms=0.1)
    return MixtureDataset(
        prepared, embeddings, prepared.labels, settings, SAMPLES, 0, True, length, window
    )


def mean_megabytes(folder: Path) -> float:
    """Of the files in a folder."""
    return statistics.mean(path.stat().st_size for path in folder.iterdir()) / 1e6


def digest(batch: MixtureBatch) -> bytes:
    """Tells whether two batches are the same."""
    total = hashlib.sha256()
    for tensor in batch:
        total.update(tensor.numpy())
    return total.digest()


def run(dataset: MixtureDataset, workers: int) -> Run:
    """All mixtures through a loader; the rate leaves out the first batch, for which processes start."""
    start = time.perf_counter()
    loader = iter(DataLoader(dataset, BATCH, num_workers=workers, collate_fn=collate))
    digests = [digest(next(loader))]
    first = time.perf_counter() - start
    digests += [digest(batch) for batch in loader]
    rate = (len(dataset) - BATCH) / (time.perf_counter() - start - first)
    return Run(digests, first, rate)


def main() -> None:
    """Upload, stream, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--encoder", default="embedded-v2", help="id of the embeddings' encoder")
    parser.add_argument("--window", type=int, default=4, help="data.shuffle_shards")
    arguments = parser.parse_args()
    root, encoder, window = arguments.dataset, arguments.encoder, arguments.window
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e9
    local = PreparedDataset(root)
    print(
        f"{date.today()}: {len(local):,} clips in {len(local.shards)} shards, {size:.2f} GB, ",
        end="",
    )
    print(
        f"cache of {size / 3:.2f} GB, windows of {window} shards, {EPOCHS} epochs; a shard takes ",
        end="",
    )
    print(f"{mean_megabytes(root / 'shards'):.1f} MB, its embeddings ", end="")
    print(f"{mean_megabytes(root / 'embeddings' / encoder):.1f} MB\n")
    print("| data set | loader processes | first batch | mixtures per second | peak of the cache |")
    print("|---|---|---|---|---|")
    with s3_server() as bucket, tempfile.TemporaryDirectory() as folder:
        url = upload(root, f"{bucket}/data")
        for workers in (0, 2):
            expected = run(mixtures(local, encoder, window), workers)
            print(f"| folder | {workers} | {expected.first:.2f} s | {expected.rate:.0f} | |")
            cache = FileCache(Path(folder) / str(workers), size / 3)
            with PeakSize(cache.folder) as watched:
                prepared = PreparedDataset(url, cache)
                streamed = run(mixtures(prepared, encoder, window), workers)
            print(f"| bucket | {workers} | {streamed.first:.2f} s | {streamed.rate:.0f} ", end="")
            print(f"| {watched.bytes / 1e9:.3f} GB |")
            if streamed.digests != expected.digests:
                raise SystemExit("the bucket's mixtures are not those of the folder")
            if watched.bytes > cache.limit:
                raise SystemExit("the cache passed its limit")
    print(f"\nAll {round(EPOCHS * len(local)):,} mixtures are the same, bit for bit.")


if __name__ == "__main__":
    main()
