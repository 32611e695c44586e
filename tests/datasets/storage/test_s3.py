"""A data set in an S3 bucket: what the laws of remote data say holds of a real client and server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.storage.cache import FileCache
from clipsep.errors import ClipsepError
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.data.settings import MixingSettings
from tests.helpers.datasets import LABELS, make_dataset
from tests.helpers.remote import s3_server, upload

pytest.importorskip("moto")
pytest.importorskip("flask")
pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


def mixtures(dataset: PreparedDataset) -> MixtureDataset:
    embeddings = StoredEmbeddings(dataset, "tiny")
    embeddings.require_complete()
    return MixtureDataset(
        dataset, embeddings, list(LABELS), MixingSettings(margin=0), 4095, 7, True, 30, 2
    )


def test_a_bucket_gives_what_the_folder_gives(bucket: str, tmp_path: Path):
    """In processes that are forked after the client was used, too."""
    local = make_dataset(tmp_path / "local", 12, seconds=1.0, per_shard=2)
    url = upload(tmp_path / "local", f"{bucket}/train")
    for workers in (0, 2):
        dataset = PreparedDataset(url, FileCache(tmp_path / f"cache-{workers}"))
        loader = DataLoader(mixtures(dataset), batch_size=None, num_workers=workers)
        for index, mixture in enumerate(loader):
            expected = mixtures(local)[index]
            assert np.array_equal(mixture.sources, expected.sources)
            assert np.array_equal(mixture.clip_query, expected.clip_query)
    embeddings = StoredEmbeddings(dataset, "other")
    assert embeddings.missing_shards() == dataset.shards
    for shard in dataset.shards:
        embeddings.write(shard, np.ones((dataset.frame_offsets(shard)[-1], 4)))
    embeddings.require_complete()


def test_empty_places_are_named(bucket: str, tmp_path: Path):
    for place in (f"{bucket}/elsewhere", "s3://no-such-bucket/train"):
        with pytest.raises(ClipsepError, match=rf"'{place}' is not a data set.*check the address"):
            PreparedDataset(place, FileCache(tmp_path))
