"""Laws of the engines: both give the same masks, and what cannot run says why in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clipsep.checkpoint import (
    ONNX_NAME,
    WEIGHTS_NAME,
    CheckpointConfig,
    load_config,
    save_checkpoint,
)
from clipsep.engines import engines_of, load_engine
from clipsep.engines.export import LARGEST_DIFFERENCE, export_checkpoint
from clipsep.errors import ClipsepError, UsageError
from clipsep.models import registry
from clipsep.models.network import SeparationNetwork
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings, UNetSettings
from clipsep.spectral import SpectralSettings
from tests.helpers.networks import randomize

pytest.importorskip("onnxscript")
PATCHES = PatchUNetSettings(widths=(4, 8))
MODELS = {
    "plain": {"network": PATCHES, "normalize_query": True, "query_activation": "none"},
    "film_decoder": {
        "network": PATCHES.model_copy(update={"film_decoder": True}),
        "noise_heads": 2,
    },
    "slots": {
        "network": PATCHES.model_copy(update={"slots": 3, "slot_steps": 2, "gated_head": True})
    },
    "labels": {"network": PATCHES, "kind": "labelsep", "n_labels": 3},
    "no queries": {"network": PATCHES, "kind": "pit"},
    "published network": {"network": UNetSettings(num_downs=5, width=2)},
}


class Attending(SeparationNetwork):
    """A network that the package does not know: each column of patches attends to all others."""

    stride = 8

    def __init__(self, feature_channels: int):
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 8, stride=8)
        self.joined = nn.Linear(16, 48)
        self.features = nn.Linear(16, feature_channels)
        self.gate = nn.Linear(feature_channels, 64)

    def forward(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        patches = self.patches(log_magnitude)
        joined = self.joined(patches.flatten(2).mT)[:, None]  # one head: [B, 1, F T / 64, 48]
        mixed = F.scaled_dot_product_attention(*joined.chunk(3, dim=-1))
        return self.features(mixed[:, 0]).unflatten(1, patches.shape[2:])  # [B, F / 8, T / 8, K]

    def mask_logits(self, hidden: torch.Tensor, query_weights: torch.Tensor) -> torch.Tensor:
        gated = F.relu(hidden[:, None] * query_weights[:, :, None, None])  # [B, N, F / 8, T / 8, K]
        return F.pixel_shuffle(self.gate(gated).permute(0, 1, 4, 2, 3), 8)[:, :, 0]


def make_checkpoint(
    folder: Path, dtype: torch.dtype = torch.float32, query_dim: int = 6, **settings
) -> Path:
    model = ModelSettings(feature_channels=4, query_dim=query_dim, **settings)
    config = CheckpointConfig(
        name="tiny",
        model=model,
        spectral=SpectralSettings(n_bands=64, segment_frames=32),
        query_encoder="hash",
    )
    save_checkpoint(folder, config, randomize(build_model(model, 64)), dtype)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkpoint(tmp_path_factory.mktemp("plain"), torch.float16, **MODELS["plain"])
    export_checkpoint(folder)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_both_engines_give_the_same_masks(name: str, tmp_path: Path):
    folder = make_checkpoint(tmp_path / "model", **MODELS[name])
    result = export_checkpoint(folder, tmp_path / "out")
    assert result.difference < LARGEST_DIFFERENCE and engines_of(folder) == ["pytorch"]
    assert engines_of(tmp_path / "out") == ["onnx", "pytorch"]
    config = load_config(tmp_path / "out")
    random = np.random.default_rng(0)
    sizes = {"labels": 3, "no queries": None}
    frames = 32 if name == "published network" else 64
    for batch, n_queries in ((1, 1), (2, 5)):
        mixtures = random.standard_normal((batch, 1, 64, frames)).astype(np.float32)
        dim = sizes.get(name, 6)
        queries = random.standard_normal((n_queries, dim)).astype(np.float32) if dim else None
        masks = [
            1
            / (1 + np.exp(-load_engine(tmp_path / "out", config, e).mask_logits(mixtures, queries)))
            for e in ("onnx", "pytorch")
        ]
        assert masks[0].shape == (batch, n_queries if dim else 2, 64, frames)
        assert np.abs(masks[0] - masks[1]).max() < 1e-4


@pytest.mark.slow
def test_a_network_of_someone_else_is_exported_too(tmp_path: Path, monkeypatch):
    """Whatever is a SeparationNetwork: any number of queries and any length, from one pass."""
    monkeypatch.setattr(registry, "_build_network", lambda settings, n_bands: Attending(4))
    folder = make_checkpoint(tmp_path / "model", normalize_query=True, network=PatchUNetSettings())
    export_checkpoint(folder)
    config, random = load_config(folder), np.random.default_rng(0)
    onnx, pytorch = (load_engine(folder, config, name) for name in ("onnx", "pytorch"))
    for batch, n_queries, frames in ((1, 1, 16), (2, 7, 40)):
        mixtures = random.standard_normal((batch, 1, 64, frames)).astype(np.float32)
        queries = random.standard_normal((n_queries, 6)).astype(np.float32)
        logits = onnx.mask_logits(mixtures, queries)
        assert logits.shape == (batch, n_queries, 64, frames)
        assert np.abs(logits - pytorch.mask_logits(mixtures, queries)).max() < 1e-4
        alone = [onnx.mask_logits(mixtures, query[None])[:, 0] for query in queries]
        assert np.abs(logits - np.stack(alone, axis=1)).max() < 1e-4


@pytest.mark.slow
def test_the_graph_holds_no_weights_of_its_own(tmp_path: Path):
    """Those of linear layers neither, which an export holds in transposed order."""
    wide = PatchUNetSettings(widths=(16, 32))
    for dtype in (torch.float16, torch.float32):
        folder = make_checkpoint(tmp_path / str(dtype), dtype, query_dim=20_000, network=wide)
        result = export_checkpoint(folder)
        tensors = (folder / WEIGHTS_NAME).stat().st_size
        assert result.n_bytes < 0.2 * tensors
        # Without the weights beside it, the graph is nothing.
        content = bytearray((folder / WEIGHTS_NAME).read_bytes())
        content[-2] ^= 64
        (folder / WEIGHTS_NAME).write_bytes(content)
        with pytest.raises(ClipsepError, match="damaged"):
            load_engine(folder, load_config(folder), "onnx")


@pytest.mark.slow
def test_an_export_of_other_weights_is_refused_and_new_weights_remove_it(copy: Path):
    config = load_config(copy)
    with pytest.raises(ClipsepError, match=r"belongs to other weights.*clipsep export"):
        other = make_checkpoint(copy.parent / "other", **MODELS["plain"])
        shutil.copy(copy / ONNX_NAME, other / ONNX_NAME)
        load_engine(other, load_config(other), "onnx")
    save_checkpoint(copy, config, build_model(config.model, 64))
    assert not (copy / ONNX_NAME).exists()


@pytest.mark.slow
def test_a_damaged_graph_is_named(copy: Path):
    (copy / ONNX_NAME).write_bytes(b"no graph")
    with pytest.raises(ClipsepError, match=ONNX_NAME):
        load_engine(copy, load_config(copy), "onnx")


@pytest.mark.slow
def test_auto_takes_what_is_there(exported: Path, copy: Path):
    config = load_config(exported)
    assert load_engine(exported, config, device="cpu").name == "onnx"
    (copy / ONNX_NAME).unlink()
    assert load_engine(copy, config, device="cpu").name == "pytorch"
    with pytest.raises(ClipsepError, match=r"has no model.onnx.*clipsep export"):
        load_engine(copy, config, "onnx")


@pytest.mark.slow
def test_unknown_engines_and_devices_that_are_not_there_are_refused(exported: Path):
    config = load_config(exported)
    for engine, device, sentence in (
        ("jax", "auto", "Unknown engine 'jax': choose auto, onnx, pytorch"),
        ("auto", "tpu", "Unknown device 'tpu': choose auto, cpu, cuda or mps"),
        ("onnx", "mps", "ONNX Runtime does not run on an Apple GPU"),
        ("onnx", "cuda:99", "ONNX Runtime finds no CUDA device"),
        ("pytorch", "cuda:99", "PyTorch finds no CUDA device"),
    ):
        with pytest.raises(UsageError, match=sentence):
            load_engine(exported, config, engine, device)


def test_the_shipped_model_runs_alike_in_both(tmp_path: Path):
    from clipsep import shipped_models

    folder = shipped_models()["mini"]
    assert engines_of(folder)[0] == "onnx"
    config = load_config(folder)
    random = np.random.default_rng(0)
    shape = (1, 1, config.spectral.n_bands, config.spectral.segment_frames)
    mixture = random.standard_normal(shape).astype(np.float32)
    queries = random.standard_normal((2, config.model.query_dim)).astype(np.float32)
    masks = [
        1 / (1 + np.exp(-load_engine(folder, config, name).mask_logits(mixture, queries)))
        for name in ("onnx", "pytorch")
    ]
    assert np.abs(masks[0] - masks[1]).max() < 1e-4
