"""Every changed byte of a data set is found, and none ends the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipsep.datasets.check import check_dataset
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError
from tests.helpers.datasets import make_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small data set with embeddings."""
    make_dataset(tmp_path, clips=2, seconds=1.0)
    return tmp_path


def files(root: Path) -> dict[str, Path]:
    """The index, the shard and the embeddings."""
    found = [root / "index.arrow", *root.glob("shards/*"), *root.glob("embeddings/*/*")]
    return dict(zip(("index", "shard", "embeddings"), found, strict=True))


def problems(root: Path) -> list[str]:
    return [finding.problem for finding in check_dataset(root) if finding.problem]


def test_a_whole_data_set_has_no_problems(root: Path):
    counts: list[tuple[float, float | None]] = []
    found = list(check_dataset(root, lambda *count: counts.append(count)))
    assert counts == [(1, 3), (2, 3), (3, 3)]
    assert [finding.problem for finding in found] == [None] * 3
    assert [finding.file for finding in found] == [
        path.relative_to(root).as_posix() for path in files(root).values()
    ]


def test_a_changed_or_missing_byte_of_the_index_is_found_when_it_is_opened(root: Path):
    path = files(root)["index"]
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(len(whole), size=200)
    for place in [*places, len(whole) - 1, len(whole) - 40]:
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        for content in (bytes(changed), whole[:place]):
            path.unlink()  # the old one may be mapped
            path.write_bytes(content)
            if content == whole[: len(whole) - 40]:
                continue  # the whole Arrow file, as it was written before there were checksums
            with pytest.raises(ClipsepError, match=r"index.arrow.*damaged.*clipsep prepare"):
                PreparedDataset(root)


def test_every_changed_bit_of_a_shard_is_found(root: Path):
    path = files(root)["shard"]
    whole = path.read_bytes()
    for place in np.random.default_rng(1).integers(8 * len(whole), size=50):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.unlink()
        path.write_bytes(changed)
        (problem,) = problems(root)
        assert str(path) in problem and "checksum" in problem


def test_embeddings_that_are_cut_or_not_finite_are_found(root: Path):
    path = files(root)["embeddings"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "embed" in problems(root)[0]
    path.write_bytes(whole[:-4] + np.float32(np.nan).tobytes())
    assert "finite" in problems(root)[0]
