"""What an evaluation scores is what the published code would score: its sounds, within the ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clipsep.checkpoint import load_checkpoint, save_checkpoint
from clipsep.errors import ClipsepError
from clipsep.evaluation.scoring.separation import MixtureSeparator
from clipsep.metrics import sdr
from clipsep.paper.checkpoints import import_published

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
END = 1024  # samples, within which overlap-add differs


@pytest.mark.parametrize("name", ["clipsep", "nit"])
def test_published_sounds_come_back(name: str, tmp_path: Path):
    golden = load_file(GOLDEN / f"{name}.safetensors")
    state = {
        f"module.{key.removeprefix('state.')}": tensor
        for key, tensor in golden.items()
        if key.startswith("state.")
    }
    torch.save(state, tmp_path / "published.pt")
    import_published(tmp_path / "published.pt", tmp_path / "imported")
    # The stored mixtures are shorter than the published ones.
    config = tmp_path / "imported" / "config.json"
    content = json.loads(config.read_text())
    content["spectral"]["segment_frames"] = 64
    config.write_text(json.dumps(content))
    separator = MixtureSeparator(tmp_path / "imported", "cpu", binary=False)
    mixtures = (golden["source_0"] + golden["source_1"]).numpy()
    published = golden["eval.separated_soft"].numpy()
    for mixture, query, expected in zip(
        mixtures, golden["query_0"].numpy(), published, strict=True
    ):
        (sound,) = separator.separate(mixture, 16_000, query[None])
        sound = np.clip(sound[: len(expected)], -1, 1)
        middle = slice(END, len(expected) - END)
        assert np.abs(sound[middle] - expected[middle]).max() < 1e-4
        assert sdr(expected, sound) > 30


def test_many_queries_are_as_each_alone_and_nothing_is_kept_between_mixtures(model):
    separator = MixtureSeparator(model(), "cpu", binary=False)
    random = np.random.default_rng(0)
    mixtures = 0.1 * random.standard_normal((2, 65_535)).astype(np.float32)
    queries = random.standard_normal((3, 16)).astype(np.float32)
    together = separator.separate(mixtures[0], 16_000, queries)
    assert together.shape == (3, 65_535)
    separator.separate(mixtures[1], 16_000, queries)
    for query, sound in zip(queries, together, strict=True):
        alone = separator.separate(mixtures[0], 16_000, query[None])[0]
        assert np.abs(alone - sound).max() < 1e-5


@pytest.mark.parametrize("binary", [False, True])
def test_a_model_that_gives_no_numbers_is_not_scored(model, binary):
    """A binary mask of NaN would be a silence, of 0 dB."""
    folder = model()
    checkpoint = load_checkpoint(folder)
    for weight in checkpoint.model.parameters():
        torch.nn.init.constant_(weight, float("nan"))
    save_checkpoint(folder, checkpoint.config, checkpoint.model)
    separator = MixtureSeparator(folder, "cpu", binary)
    mixture = np.random.default_rng(0).standard_normal(65_535).astype(np.float32)
    with pytest.raises(ClipsepError, match="NaN or infinite"):
        separator.separate(mixture, 16_000, np.ones((1, 16), np.float32))
