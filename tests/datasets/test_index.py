"""Laws of the index: what was written comes back, in order of ids."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipsep.datasets.format import read_sealed_table
from clipsep.datasets.index import Clip, ClipIndex, ShardSize, write_index
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError
from tests.helpers.datasets import make_dataset

ROWS = {
    "id": ["b.mp4", "a.mp4", "c.mp4"],
    "fingerprint": ["1", "2", "3"],
    "label": ["dog", None, "cat"],
    "seconds": [1.5, 2.0, 3.0],
    "n_frames": [1, 2, 3],
    "shard": ["00001-b", "00001-b", "00000-a"],
    "row": [1, 0, 0],
}
CLIPS = [
    Clip("a.mp4", None, 2.0, 2, "00001-b", 0),
    Clip("b.mp4", "dog", 1.5, 1, "00001-b", 1),
    Clip("c.mp4", "cat", 3.0, 3, "00000-a", 0),
]
SIZES = {"00000-a": ShardSize(10, 3, "0a"), "00001-b": ShardSize(20, 3, "0b")}


def written(path: Path, rows: dict[str, list]) -> ClipIndex:
    write_index(path, pa.table(rows), SIZES)
    return ClipIndex(read_sealed_table(path))


def test_clips_come_back_in_order_of_their_ids(tmp_path: Path):
    index = written(tmp_path / "index.arrow", ROWS)
    assert list(index) == CLIPS
    assert (index[-1], index[np.int64(1)], index[1:]) == (CLIPS[2], CLIPS[1], CLIPS[1:])
    with pytest.raises(IndexError):
        index[3]
    assert index.shards == ["00000-a", "00001-b"] and index.shard_numbers.tolist() == [1, 1, 0]
    assert index.labels == ["cat", "dog"] and index.n_unlabeled == 1
    assert index.shard_sizes == SIZES


def test_an_index_that_lacks_the_size_of_a_shard_is_refused(tmp_path: Path):
    write_index(tmp_path / "index.arrow", pa.table(ROWS), {"00000-a": SIZES["00000-a"]})
    with pytest.raises(ClipsepError, match="lists clips of '00001-b', but no such shard"):
        ClipIndex(read_sealed_table(tmp_path / "index.arrow"))


def test_no_labels_and_no_clips(tmp_path: Path):
    unlabeled = written(tmp_path / "unlabeled.arrow", {**ROWS, "label": [None] * 3})
    assert unlabeled.labels == [] and unlabeled.n_unlabeled == 3 and unlabeled[0].label is None
    empty = written(tmp_path / "empty.arrow", {name: [] for name in ROWS})
    assert list(empty) == empty.shards == empty.labels == []


def test_another_process_maps_the_index_itself(tmp_path: Path):
    dataset = make_dataset(tmp_path, clips=40, seconds=0.1)
    sent = pickle.dumps(dataset)
    assert len(sent) < 1000, "an index of millions must not be copied"
    copy: PreparedDataset = pickle.loads(sent)
    assert copy.clips == dataset.clips
    assert np.array_equal(copy.audio(copy.clips[3]), dataset.audio(dataset.clips[3]))
