"""Checkpoints: what is saved comes back, and what is missing or damaged is said in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from clipsep import checkpoint as module
from clipsep.checkpoint import (
    CheckpointConfig,
    find_checkpoint,
    load_checkpoint,
    load_config,
    save_checkpoint,
    shipped_models,
)
from clipsep.errors import ClipsepError, UsageError
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings, UNetSettings
from clipsep.spectral import SpectralSettings

NETWORKS = {
    "unet": UNetSettings(num_downs=5, width=1),
    "patch_unet": PatchUNetSettings(widths=(4, 6)),
    "film_decoder": PatchUNetSettings(widths=(4, 6), film_decoder=True),
    "slots": PatchUNetSettings(widths=(4, 6), slots=3),
}


def make_config(network: str = "patch_unet", **model) -> CheckpointConfig:
    return CheckpointConfig(
        name="tiny",
        model=ModelSettings(
            network=NETWORKS[network], **{"feature_channels": 3, "query_dim": 4, **model}
        ),
        spectral=SpectralSettings(level="relative", n_bands=64),
        query_encoder="embedded-v2",
        prompts="plain",
        training={"steps": 3, "score": {"sdr": 1.5}},
    )


def make_model(config: CheckpointConfig) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(config.model, config.spectral.n_bands)
    model(torch.randn(2, 1, 64, 64), torch.randn(2, 2, 4))  # moves the normalisation's statistics
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    config = make_config()
    save_checkpoint(folder, config, make_model(config))
    return folder


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def one_sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


# Round trip


@pytest.mark.parametrize(
    "config",
    [
        make_config("unet"),
        make_config("patch_unet", noise_heads=2, normalize_query=True, query_activation="none"),
        make_config("unet", kind="labelsep", n_labels=4).model_copy(
            update={"labels": list("abcd")}
        ),
        make_config("patch_unet", kind="pit"),
        make_config("film_decoder"),
        make_config("slots"),
    ],
    ids=["clipsep", "nit", "labelsep", "pit", "film_decoder", "slots"],
)
def test_saved_models_come_back_bit_by_bit(config: CheckpointConfig, tmp_path: Path):
    model = make_model(config)
    save_checkpoint(tmp_path / "a" / "b", config, model)
    loaded = load_checkpoint(tmp_path / "a" / "b")
    assert loaded.folder == tmp_path / "a" / "b"
    assert loaded.config.model_copy(update={"sha256": ""}) == config
    assert not loaded.model.training
    state, expected = loaded.model.state_dict(), model.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    mixture, query = torch.randn(1, 1, 64, 64), torch.randn(1, 2, 4)
    model.eval()
    assert torch.equal(loaded.model(mixture, query).query, model(mixture, query).query)


def test_half_precision_halves_the_file_and_rounds_the_weights(tmp_path: Path):
    config = make_config()
    model = make_model(config)
    sizes = {}
    for dtype in (torch.float16, torch.float32):
        save_checkpoint(tmp_path / str(dtype), config, model, dtype)
        sizes[dtype] = (tmp_path / str(dtype) / "model.safetensors").stat().st_size
    assert sizes[torch.float16] < 0.7 * sizes[torch.float32]
    state = load_checkpoint(tmp_path / "torch.float16").model.state_dict()
    for key, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert state[key].dtype == expected.dtype and torch.equal(state[key], expected)


def test_saving_again_replaces_and_leaves_nothing_else(saved: Path):
    config = make_config().model_copy(update={"name": "second"})
    save_checkpoint(saved, config, make_model(config))
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert load_config(saved).name == "second"


def test_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    config = make_config()
    with pytest.raises(ClipsepError, match="Cannot write the model to") as error:
        save_checkpoint(tmp_path / "file", config, make_model(config))
    one_sentence(error)


# Damage


def check_damaged(folder: Path, match: str) -> None:
    with pytest.raises(ClipsepError, match=match) as error:
        load_checkpoint(folder)
    assert error.value.exit_code == 1
    assert str(folder) in one_sentence(error)


@pytest.mark.parametrize("position", [0.2, 0.5, 0.99])
def test_one_wrong_byte(saved: Path, position: float):
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    path.write_bytes(data)
    check_damaged(saved, "are damaged")


@pytest.mark.parametrize("sha256", ["kept", ""])
def test_truncated_weights(saved: Path, sha256: str):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    if not sha256:
        edit_config(saved, sha256="")
    check_damaged(saved, "are damaged")


def test_weights_of_another_model(saved: Path, tmp_path: Path):
    config = make_config("patch_unet", noise_heads=2)
    save_checkpoint(tmp_path / "other", config, make_model(config))
    shutil.copy(tmp_path / "other" / "model.safetensors", saved)
    check_damaged(saved, "are damaged")
    edit_config(saved, sha256="")
    check_damaged(saved, "belong to another config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(saved: Path, name: str):
    (saved / name).unlink()
    check_damaged(saved, "cannot be read|Cannot read")


def test_unknown_and_missing_keys(saved: Path):
    original = json.loads((saved / "config.json").read_text())
    edit_config(saved, colour="blue")
    check_damaged(saved, "colour")
    edit_config(saved, colour="blue", model={**original["model"], "colour": "blue"})
    check_damaged(saved, r"model\.colour")
    del original["spectral"]
    (saved / "config.json").write_text(json.dumps(original))
    check_damaged(saved, "spectral")


def test_half_a_surrogate_pair_is_not_text(saved: Path):
    original = json.loads((saved / "config.json").read_text())
    network = {**original["model"]["network"], "kind": "\ud800"}
    edit_config(saved, model={**original["model"], "network": network})
    check_damaged(saved, "not Unicode")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_config_that_is_no_json_object(saved: Path, content: bytes):
    (saved / "config.json").write_bytes(content)
    check_damaged(saved, "is damaged")


def test_later_format(saved: Path):
    edit_config(saved, format=2)
    check_damaged(saved, "format")


# Names


def test_shipped_models_are_found_by_name(saved: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "shipped_models", lambda: {"tiny": saved})
    assert find_checkpoint("tiny") == saved
    assert load_checkpoint("tiny").config.name == "tiny"
    with pytest.raises(UsageError, match="tiny"):
        find_checkpoint("tinny")
    for name in ("x" * 300, "/" + "x" * 300, "a\0b"):
        with pytest.raises(UsageError, match="There is no model"):
            find_checkpoint(name)


def test_a_path_with_a_mistake_is_not_asked_of_the_hub(saved: Path, monkeypatch):
    def fetched(name: str) -> Path:
        raise AssertionError(f"'{name}' was sent to the hub")

    monkeypatch.setattr(module, "_from_hub", fetched)
    monkeypatch.chdir(saved.parent)
    (saved.parent / "runs").mkdir()
    with pytest.raises(UsageError, match=r"'runs/mine'.*'runs' has no folder 'mine'"):
        find_checkpoint("runs/mine")
    with pytest.raises(AssertionError, match="'owner/model' was sent"):
        find_checkpoint("owner/model")


def test_shipped_models_are_whole():
    for name, folder in shipped_models().items():
        assert load_checkpoint(name).folder == folder


@pytest.mark.parametrize("name", ["", "no-such-model", "../model", "a/b/c", Path("owner/model")])
def test_unknown_model(name: str | Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(UsageError, match="There is no model") as error:
        load_checkpoint(name)
    assert error.value.exit_code == 2
    one_sentence(error)


def test_hub_id(saved: Path, monkeypatch: pytest.MonkeyPatch):
    asked = {}

    def download(repository: str, allow_patterns: list[str]) -> str:
        asked.update(repository=repository, files=allow_patterns)
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_checkpoint("owner/model").folder == saved
    files = ["config.json", "model.safetensors", "model.onnx", "known_sounds.safetensors"]
    # Nothing else is fetched: no pickles, no code.
    assert asked == {"repository": "owner/model", "files": files}


def test_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    check_unreachable()


@pytest.mark.parametrize(
    "error", [LocalEntryNotFoundError("not cached"), ConnectionError("refused"), ValueError("id")]
)
def test_failed_download(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def download(*_, **__) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    check_unreachable()


def check_unreachable() -> None:
    with pytest.raises(ClipsepError, match="owner/model") as error:
        load_checkpoint("owner/model")
    assert error.value.exit_code == 1 and not isinstance(error.value, UsageError)
    assert "local cache" in str(error.value) and "folder" in str(error.value)
