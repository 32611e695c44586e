"""Import of published checkpoints: every variant, full size, and files that cannot be imported."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from clipsep.checkpoint import load_checkpoint
from clipsep.errors import ClipsepError
from clipsep.paper.checkpoints import import_published
from clipsep.spectral import SpectralSettings
from tests.helpers.networks import published_model, randomize

# What the published training script writes beside its weights (the part that says anything).
ARGUMENTS = {
    "out_dir": "/home/somebody/exp",
    "image_model": "clip",
    "fusion": "late",
    "layers": 5,
    "channels": 4,
    "audio_len": 65535,
    "audio_rate": 16000,
    "n_fft": 1024,
    "hop_len": 256,
    "win_len": 1024,
    "log_freq": True,
    "binary_mask": True,
    "n_labels": None,
    "train_mode": "image",
    "steps": 200000,
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not tmp_path, which would keep the full-size weights after the test."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def write_weights(folder: Path, model: nn.Module, prefix: str = "") -> Path:
    path = folder / "published.pt"
    torch.save({prefix + key: tensor for key, tensor in model.state_dict().items()}, path)
    return path


def write_arguments(folder: Path, **changes) -> Path:
    path = folder / "train-args.json"
    path.write_text(json.dumps({**ARGUMENTS, **changes}))
    return path


def refused(path: Path, match: str, args: Path | None = None, code: int = 1) -> None:
    """One sentence that names the file, and nothing written."""
    with pytest.raises(ClipsepError, match=match) as error:
        import_published(path, path.parent / "imported", args)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and error.value.exit_code == code
    assert str(path) in text or (args is not None and str(args.parent) in text)
    assert not (path.parent / "imported").exists()


# Full size


@pytest.mark.parametrize(
    ("noise_heads", "image_model", "parameters"),
    [(0, "clip", 30_290_659), (2, "clippit4", 30_292_771)],
)
def test_full_size_models(folder: Path, noise_heads: int, image_model: str, parameters: int):
    published = published_model(7, 64, 32, noise_heads=noise_heads)
    assert sum(tensor.numel() for tensor in published.parameters()) == parameters
    path = write_weights(folder, published, prefix="module.")
    args = write_arguments(folder, image_model=image_model, layers=7, channels=32)
    config = import_published(path, folder / "imported", args)
    path.unlink()

    checkpoint = load_checkpoint(folder / "imported")
    assert checkpoint.config == config
    assert sum(tensor.numel() for tensor in checkpoint.model.parameters()) == parameters
    assert config.model.noise_heads == noise_heads
    assert (config.model.network.num_downs, config.model.network.width) == (7, 64)
    assert config.query_encoder == "clip:openai/clip-vit-base-patch32"
    with torch.no_grad():
        logits = checkpoint.model(torch.randn(1, 1, 256, 128), torch.randn(1, 2, 512))
    assert logits.query.shape == (1, 2, 256, 128) and logits.query.isfinite().all()
    assert (logits.noise is None) == (noise_heads == 0)


# Variants


def test_every_published_weight_arrives(folder: Path):
    published = randomize(published_model(noise_heads=2, num_downs=6))
    config = import_published(write_weights(folder, published), folder / "imported")
    state = load_checkpoint(folder / "imported").model.state_dict()
    ours = sorted(float(t.double().sum()) for t in state.values() if t.is_floating_point())
    theirs = published.state_dict().values()
    assert ours == sorted(float(t.double().sum()) for t in theirs if t.is_floating_point())
    assert config.model.network.num_downs == 6


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_nested_state_dict(folder: Path, key: str):
    path = folder / "published.pt"
    torch.save({"step": 7, key: published_model().state_dict()}, path)
    assert import_published(path, folder / "imported").model.kind == "clipsep"


def test_half_precision_and_missing_counters(folder: Path):
    state = published_model().half().state_dict()
    state = {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, folder / "published.pt")
    import_published(folder / "published.pt", folder / "imported")
    weights = load_checkpoint(folder / "imported").model.state_dict()
    assert torch.equal(
        weights["network.head.weight"].half(), state["sound_net.unet_block.model.4.weight"]
    )


def test_name_and_summary(folder: Path):
    path, args = write_weights(folder, published_model()), write_arguments(folder)
    config = import_published(path, folder / "imported", args)
    assert config.name == "imported"
    assert config.training["published"] == "CLIPSep"
    assert config.training["imported_from"] == "published.pt"
    assert config.training["train_mode"] == "image" and config.training["steps"] == 200000
    assert "somebody" not in config.model_dump_json()
    assert import_published(path, folder / "imported", name="mine").name == "mine"


def test_spectral_settings_follow_the_arguments(folder: Path):
    path = write_weights(folder, published_model())
    assert import_published(path, folder / "a").spectral == SpectralSettings(warp="float32")
    args = write_arguments(folder, audio_rate=11025, n_fft=512, win_len=512, hop_len=128)
    expected = SpectralSettings(sample_rate=11025, n_fft=512, hop_length=128, warp="float32")
    assert import_published(path, folder / "b", args).spectral == expected


def make_pit() -> nn.Module:
    model = published_model()
    del model.frame_net
    model.synth_net = nn.Conv2d(4, 2, 1)
    return model


def test_pit(folder: Path):
    published = make_pit()
    args = write_arguments(folder, image_model="pit")
    config = import_published(write_weights(folder, published), folder / "imported", args)
    assert config.model.kind == "pit" and config.query_encoder == "none"
    masks = load_checkpoint(folder / "imported").model.masks
    assert torch.equal(masks.weight, published.synth_net.weight[:, :, 0, 0])
    assert torch.equal(masks.bias, published.synth_net.bias)


def test_labelsep(folder: Path):
    published = published_model(n_labels=3)
    (folder / "labels.json").write_text(json.dumps({"dog": 1, "cat": 2, "bell": 0}))
    args = write_arguments(
        folder, image_model="label_only", n_labels=3, label_map_filename="/far/away/labels.json"
    )
    config = import_published(write_weights(folder, published), folder / "imported", args)
    assert config.model.kind == "labelsep" and config.query_encoder == "labels"
    assert config.labels == ["bell", "dog", "cat"]
    model = load_checkpoint(folder / "imported").model
    assert torch.equal(model.label_table, published.label_net.weight)


def test_labelsep_needs_its_label_map(folder: Path):
    path = write_weights(folder, published_model(n_labels=3))
    with pytest.raises(ClipsepError, match="needs its labels"):
        import_published(path, folder / "imported")
    named = {"image_model": "label_only", "label_map_filename": str(folder / "labels.json")}
    refused(path, "Cannot read", write_arguments(folder, **named))
    (folder / "labels.json").write_text(json.dumps({"dog": 0, "cat": 1}))
    refused(path, "3 rows", write_arguments(folder, **named))


# Not supported


def test_bertsep(folder: Path):
    """Its queries were rows of a table that was not published: nothing could ask it for a sound."""
    path = write_weights(folder, published_model(query_dim=256))
    with pytest.raises(ClipsepError, match="size 256"):
        import_published(path, folder / "imported")


def test_early_fusion(folder: Path):
    model = published_model()
    model.frame_net = nn.Module()
    model.frame_net.fc = nn.Linear(512, 4)
    refused(write_weights(folder, model), "early fusion")


def test_middle_fusion(folder: Path):
    model = published_model()
    model.sound_net.unet_block = nn.Module()
    model.sound_net.unet_block.downconv = nn.Conv2d(1, 1, 4)
    refused(write_weights(folder, model), "middle fusion")


def test_other_query_sizes(folder: Path):
    refused(write_weights(folder, published_model(query_dim=768)), "queries of size 768")


def test_unknown_weight(folder: Path):
    model = published_model()
    model.extra = nn.Linear(2, 2)
    refused(write_weights(folder, model), "extra.bias")


@pytest.mark.parametrize(
    "key",
    ["sound_net.bn0.running_mean", "pit_nets.1.weight", "synth_net.scale", "frame_net.bias"],
)
def test_missing_weight(folder: Path, key: str):
    state = published_model(noise_heads=2).state_dict()
    del state[key]
    torch.save(state, folder / "published.pt")
    refused(folder / "published.pt", key)


def test_weight_of_another_shape(folder: Path):
    state = published_model().state_dict()
    state["synth_net.scale"] = torch.ones(5)
    torch.save(state, folder / "published.pt")
    refused(folder / "published.pt", "do not fit together")


def test_weight_that_is_no_number(folder: Path):
    model = published_model()
    model.synth_net.bias.data.fill_(float("nan"))
    refused(write_weights(folder, model), "synth_net.bias")


def test_weights_of_something_else(folder: Path):
    refused(
        write_weights(folder, nn.Linear(3, 3)), "does not hold the weights of a published CLIPSep"
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_model": "sop"}, "'sop'"),
        ({"image_model": ["clip"]}, "not supported"),
        ({"fusion": "middle"}, "middle fusion"),
        ({"log_freq": False}, "linear frequency"),
        ({"binary_mask": False}, "ratio masks"),
        ({"win_len": 512}, "win_len"),
        ({"audio_rate": -1}, "audio_rate"),
        ({"image_model": "clippit4"}, "asks for CLIPSep-NIT, the weights are of CLIPSep"),
        ({"layers": 7}, "'layers' asks for 7, the weights are of 5"),
        ({"channels": 32}, "'channels' asks for 32, the weights are of 4"),
    ],
)
def test_arguments_that_do_not_fit(folder: Path, changes: dict, match: str):
    path = write_weights(folder, published_model())
    refused(path, match, write_arguments(folder, **changes))


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{", b"[" * 100_000], ids=range(5))
def test_damaged_arguments(folder: Path, content: bytes):
    args = folder / "train-args.json"
    args.write_bytes(content)
    refused(write_weights(folder, published_model()), "not (a )?JSON", args)


# Damaged and dangerous files


class Dangerous:
    """Unpickling it makes a folder."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_unsafe_pickle(folder: Path, zipped: bool):
    path = folder / "published.pt"
    content = {**published_model().state_dict(), "extra": Dangerous(folder / "trace")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, "could run any code")
    assert not (folder / "trace").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04", bytes(1000)])
def test_no_pytorch_file(folder: Path, content: bytes):
    path = folder / "published.pt"
    path.write_bytes(content)
    refused(path, "damaged, or not a PyTorch file|it is damaged")


def test_truncated_file(folder: Path):
    path = write_weights(folder, published_model())
    path.write_bytes(path.read_bytes()[:-1000])
    refused(path, "damaged")


def test_one_wrong_byte(folder: Path):
    """In the numbers, where PyTorch itself would not notice."""
    path = write_weights(folder, published_model())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    refused(path, "damaged")


@pytest.mark.parametrize("content", [[1, 2], {"param_groups": [], "state": {}}, torch.ones(3)])
def test_no_state_dict(folder: Path, content: object):
    torch.save(content, folder / "published.pt")
    refused(folder / "published.pt", "does not hold a state dict")


def test_missing_file_and_folder(folder: Path):
    refused(folder / "published.pt", "does not exist", code=2)
    path = write_weights(folder, published_model())
    refused(path, "train-args.json' does not exist", folder / "train-args.json", code=2)
    path.unlink()
    (folder / "published.pt").mkdir()
    refused(folder / "published.pt", "Cannot read")
