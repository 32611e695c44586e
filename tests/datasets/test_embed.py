"""Laws of embed: every frame once, the same numbers whoever computed them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.prepare.embed import embed
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.writer import DatasetWriter, stage_clip
from clipsep.errors import ClipsepError
from tests.helpers.images import random_image


class ColourEncoder:
    """The mean colour of a frame; counts what it is asked for."""

    id, dim = "colour", 3

    def __init__(self):
        self.seen = 0

    def encode_images(self, images):
        self.seen += len(images)
        return torch.tensor(np.array([np.asarray(im).mean(axis=(0, 1)) for im in images]))


@pytest.fixture
def encoder(monkeypatch) -> ColourEncoder:
    encoder = ColourEncoder()
    monkeypatch.setattr(
        "clipsep.queries.load_query_encoder", lambda name, device, threads=None: encoder
    )
    return encoder


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """A data set of three shards of two clips, of one and of two frames."""
    root = tmp_path_factory.mktemp("frames")
    for shard in range(3):
        DatasetWriter(root)
        for clip in range(2):
            frames = [random_image(10 * shard + 2 * clip + frame) for frame in range(clip + 1)]
            stage_clip(root, f"{shard}{clip}.mp4", "1", None, np.zeros(16000), frames)
        DatasetWriter(root).close()
    return root


@pytest.fixture
def dataset(frames: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frames, tmp_path / "data"))


@pytest.fixture(scope="module")
def embedded(frames: Path, tmp_path_factory) -> np.ndarray:
    """What one process makes of them with the real encoder."""
    copy = Path(shutil.copytree(frames, tmp_path_factory.mktemp("embedded") / "data"))
    embed(copy, "embedded", workers=1)
    return embeddings(copy, "embedded-v2")


def embeddings(dataset: Path, encoder_id: str) -> np.ndarray:
    prepared = PreparedDataset(dataset)
    found = StoredEmbeddings(prepared, encoder_id)
    return np.concatenate([found.clip(clip) for clip in prepared.clips])


def test_every_frame_is_embedded_once_and_a_second_call_does_nothing(dataset, encoder):
    calls = []
    report = embed(dataset, "colour", workers=1, progress=lambda *call: calls.append(call))
    assert (report.encoder_id, report.frames, encoder.seen) == ("colour", 9, 9)
    assert calls == [(3, 9), (6, 9), (9, 9)]
    assert embed(dataset, "colour", workers=1).frames == 0
    prepared = PreparedDataset(dataset)
    frames = [frame for clip in prepared.clips for frame in prepared.frames(clip)]
    expected = [np.asarray(frame).mean(axis=(0, 1)) for frame in frames]
    assert np.allclose(embeddings(dataset, "colour"), expected, atol=1e-3)


def test_what_was_embedded_before_an_interrupt_stays(dataset, encoder, monkeypatch):
    write = StoredEmbeddings.write

    def interrupted(self, shard, array):
        if encoder.seen > 3:
            raise KeyboardInterrupt
        write(self, shard, array)

    monkeypatch.setattr(StoredEmbeddings, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, "colour", workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(
        "clipsep.queries.load_query_encoder", lambda name, device, threads=None: encoder
    )
    assert embed(dataset, "colour", workers=1).frames == 6


@pytest.mark.parametrize("place", ["processes", "Ray"], indirect=True)
def test_embeddings_are_the_same_wherever_they_are_computed(dataset, embedded, place):
    assert embed(dataset, "embedded", **place).frames == 9
    # Workers have fewer threads than a process alone, and sums are rounded otherwise.
    found = embeddings(dataset, "embedded-v2")
    np.testing.assert_allclose(found, embedded, rtol=0, atol=1e-5)


def test_batches_of_a_shard_may_be_finished_in_any_order(dataset, encoder, monkeypatch):
    embed(dataset, "colour", workers=1)
    expected = embeddings(dataset, "colour")
    shutil.rmtree(dataset / "embeddings")
    monkeypatch.setattr("clipsep.datasets.prepare.embed._FRAMES_PER_BATCH", 2)

    def backwards(task, batches, *_):
        return ((batch, task(batch)) for batch in reversed(batches))

    monkeypatch.setattr("clipsep.datasets.prepare.embed.run_many", backwards)
    assert embed(dataset, "colour", workers=1).frames == 9
    assert np.array_equal(embeddings(dataset, "colour"), expected)


def test_a_data_set_that_is_none_is_named(tmp_path: Path, encoder):
    with pytest.raises(ClipsepError, match="is not a data set"):
        embed(tmp_path, "colour", workers=1)
