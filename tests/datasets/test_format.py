"""Bytes that change inside a shard do no harm, or lead to one sentence that names it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.datasets.prepare.embed import embed
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import DatasetWriter, stage_clip
from clipsep.errors import ClipsepError
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.data.settings import MixingSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of one small shard: two clips, each of 100 samples and two frames."""
    rng = np.random.default_rng(0)
    DatasetWriter(tmp_path)
    for number in range(2):
        sound = 0.3 * rng.standard_normal(100)
        frames = [Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)) for _ in range(2)]
        stage_clip(tmp_path, f"{number}.mp4", "1", [None, "dog"][number], sound, frames)
    DatasetWriter(tmp_path).close()
    return tmp_path


def only_shard(root: Path) -> Path:
    (path,) = (root / "shards").iterdir()
    return path


def put(path: Path, content: bytes) -> None:
    """As a new file: the old one may be mapped."""
    path.unlink()
    path.write_bytes(content)


def read_all(root: Path) -> int:
    """Everything that training and embedding read of the data set; how many frames it has."""
    dataset = PreparedDataset(root)
    for clip in dataset.clips:
        assert dataset.audio(clip).dtype == np.int16 and len(dataset.audio(clip)) == 100
        assert len(dataset.frames(clip)) == 2
    assert dataset.frame_offsets(clip.shard).tolist() == [0, 2, 4]
    return len(dataset.shard_frames(clip.shard, 0, dataset.n_frames(clip.shard)))


@pytest.mark.slow
def test_a_changed_byte_anywhere_does_no_harm_or_is_named(root: Path):
    path = only_shard(root)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    named = 0
    for place in range(0, len(whole), 13):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        put(path, changed)
        try:
            assert read_all(root) == 4
        except ClipsepError as error:
            named += 1
            assert f"'{path}' is" in str(error) and "delete it and run" in str(error), place
    assert named > 20, "some of the places are of weight"


def int64(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


def int32(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


FEWER_FRAMES = [(int64(0, 2, 4), int64(0, 2, 3)), (int32(2, 2), int32(2, 1))]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([(b"audio", b"aubio")], "columns"),
        ([(int64(0, 100, 200), int64(0, 90, 200))], "its sound is not as long"),
        ([(int64(0, 100, 200), int64(0, 2**40, 200))], "damaged"),
        ([(int64(0, 2, 4), int64(0, 3, 4))], "not as many frames"),
        (FEWER_FRAMES, "3 frames instead of 4"),
        ([(b"\xff\xd8\xff\xe0", bytes(4))], "a frame cannot be decoded"),
        ([(b"\xff\xda", b"\xff\xc4")], "a frame cannot be decoded"),
    ],
)
def test_what_is_damaged_is_said(root: Path, changes: list[tuple[bytes, bytes]], reason: str):
    content = only_shard(root).read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    put(only_shard(root), content)
    with pytest.raises(ClipsepError, match=f"damaged.*{reason}.*delete it"):
        read_all(root)


class Encoder:
    id, dim = "any", 3


def test_training_and_embedding_end_with_the_name_of_the_shard(root: Path, monkeypatch):
    content = only_shard(root).read_bytes().replace(int64(0, 100, 200), int64(0, 0, 200))
    put(only_shard(root), content)
    sentence = f"^'{re.escape(str(only_shard(root)))}' is .*damaged .*clipsep prepare' again.$"
    mixtures = MixtureDataset(
        PreparedDataset(root), None, [], MixingSettings(), 99, seed=0, train=True
    )
    with pytest.raises(ClipsepError, match=sentence):
        mixtures[0]
    monkeypatch.setattr(
        "clipsep.queries.load_query_encoder", lambda name, device, threads=None: Encoder()
    )
    with pytest.raises(ClipsepError, match=sentence):
        embed(root, "any", workers=1)
