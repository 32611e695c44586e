"""The CLIP encoder against transformers itself, on a tiny random CLIP; it must not use the hub."""

from __future__ import annotations

import json
import shutil
import string
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipsep.errors import ClipsepError, UsageError
from clipsep.queries import load_query_encoder
from clipsep.queries.clip import CLIPEncoder
from tests.helpers.images import random_image

transformers = pytest.importorskip("transformers")

TEXTS = ["a dog barking", "rain", "x " * 200]
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A CLIP of two thin layers each, with a tokenizer of single letters."""
    path = tmp_path_factory.mktemp("models") / "tiny-clip"
    letters = [*string.ascii_lowercase, *(letter + "</w>" for letter in string.ascii_lowercase)]
    vocab = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = transformers.CLIPTokenizer(vocab=vocab, merges=[])
    tokenizer.save_pretrained(path)
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    ends = {"bos_token_id": len(vocab) - 2, "eos_token_id": len(vocab) - 1}
    config = transformers.CLIPConfig(
        text_config={**layers, **ends, "vocab_size": len(vocab), "pad_token_id": len(vocab) - 1},
        vision_config={**layers, "image_size": 64, "patch_size": 16},
        projection_dim=24,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(path)
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 64, "width": 64},
    }
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def encoder(folder) -> CLIPEncoder:
    return CLIPEncoder(str(folder))


@pytest.fixture(scope="module")
def model(folder):
    return transformers.CLIPModel.from_pretrained(folder).eval()


def test_text_embeddings_equal_those_of_transformers(encoder, model, folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        output = model.get_text_features(**tokens)
    expected = getattr(output, "pooler_output", output)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5, rtol=0)


def test_image_embeddings_equal_those_of_transformers(encoder, model):
    image = random_image(1, 64, 64)  # already the size that the model takes
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    deviation = np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = (np.asarray(image) / 255 - mean) / deviation
    with torch.no_grad():
        output = model.get_image_features(torch.tensor(pixels).permute(2, 0, 1)[None].float())
    expected = getattr(output, "pooler_output", output)
    np.testing.assert_allclose(encoder.encode_images([image]), expected, atol=1e-5, rtol=0)


def test_a_batch_does_not_change_a_row(encoder):
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), alone, atol=1e-5, rtol=0)
    images = [random_image(seed, 70 + seed, 90) for seed in range(10)]
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_allclose(encoder.encode_images(images), alone, atol=1e-5, rtol=0)


def test_embeddings_are_not_normalised_and_have_the_projection_size(encoder):
    assert encoder.dim == 24
    embeddings = encoder.encode_texts(TEXTS)
    assert embeddings.shape == (3, 24) and embeddings.dtype == np.float32
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() > 1e-2
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, 24)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 5000), (300, 3)])
def test_images_of_any_mode_and_shape_work(encoder, mode, size):
    assert np.isfinite(encoder.encode_images([Image.new(mode, size)])).all()


def test_blank_texts_are_refused(encoder):
    with pytest.raises(UsageError, match="empty"):
        encoder.encode_texts([" "])


def test_loading_is_quiet_and_leaves_settings_alone(folder, capfd):
    verbosity = transformers.utils.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CLIPEncoder(str(folder)).encode_images([random_image()])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert transformers.utils.logging.get_verbosity() == verbosity


def test_a_folder_is_known_by_its_own_name_however_it_is_written(folder, monkeypatch):
    """Else what was embedded with one path would be missed by a training with another."""
    assert CLIPEncoder(str(folder)).id == f"clip:{folder}"
    monkeypatch.chdir(folder.parent)
    assert CLIPEncoder(folder.name).id == CLIPEncoder(f"./{folder.name}").id == f"clip:{folder}"
    assert load_query_encoder(f"clip:{folder}").revision is None


@pytest.mark.parametrize("called", ["clip-vit-base-patch32", "my-clip"])
def test_a_downloaded_folder_counts_as_its_hub_model_if_called_like_it(folder, tmp_path, called):
    """Not by the config alone: fine-tuned models keep the name of their base in it."""
    copy = shutil.copytree(folder, tmp_path / called)
    config = json.loads((copy / "config.json").read_text())
    config["_name_or_path"] = "openai/clip-vit-base-patch32"
    (copy / "config.json").write_text(json.dumps(config))
    same = called == "clip-vit-base-patch32"
    expected = "openai/clip-vit-base-patch32" if same else str(copy)
    assert CLIPEncoder(str(copy)).id == f"clip:{expected}"


@pytest.fixture
def hub(monkeypatch):
    """Replaces the hub's download with a function of the test."""

    def replace(download):
        monkeypatch.setattr("huggingface_hub.snapshot_download", download)

    return replace


def test_a_cached_hub_model_needs_no_network(folder, tmp_path, hub):
    snapshot = shutil.copytree(folder, tmp_path / REVISION)

    def download(model, local_files_only=False, **_):
        assert local_files_only
        return str(snapshot)

    hub(download)
    encoder = load_query_encoder("clip")
    assert encoder.id == "clip:openai/clip-vit-base-patch32"
    assert encoder.revision == REVISION


def test_an_incomplete_cache_is_completed_with_pickled_weights_only_if_need_be(
    folder, tmp_path, hub
):
    snapshot = shutil.copytree(folder, tmp_path / REVISION)
    weights = snapshot / "model.safetensors"
    state = transformers.CLIPModel.from_pretrained(folder).state_dict()
    weights.unlink()
    asked = []

    def download(model, local_files_only=False, allow_patterns=(), revision=None, **_):
        asked.append((local_files_only, revision))
        if "pytorch_model.bin" in allow_patterns:
            torch.save(state, snapshot / "pytorch_model.bin")
        return str(snapshot)

    hub(download)
    encoder = load_query_encoder("clip:some/model")
    assert asked == [(True, None), (False, None), (False, REVISION)]
    expected = CLIPEncoder(str(folder)).encode_texts(TEXTS)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected)


def test_an_unreachable_hub_is_explained(monkeypatch, tmp_path):
    """The real client, kept off the network: an empty cache and its offline switch."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ClipsepError) as caught:
        load_query_encoder("clip:some/model")
    text = str(caught.value)
    assert "https://huggingface.co/some/model, which cannot be reached" in text
    assert "hf download some/model --local-dir model" in text
    assert "clip:/path/to/model" in text and "embedded" in text
    assert caught.value.exit_code == 1


def test_what_cannot_be_a_model_is_a_usage_error():
    with pytest.raises(UsageError, match="neither a folder nor a Hugging Face model id"):
        load_query_encoder("clip:/no/such/folder")


def test_a_folder_without_a_clip_is_refused(folder, tmp_path):
    with pytest.raises(ClipsepError, match=r"no readable config\.json"):
        CLIPEncoder(str(tmp_path))
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ClipsepError, match="a model of type bert, not a CLIP"):
        CLIPEncoder(str(other))


def test_damaged_and_incomplete_weights_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ClipsepError, match="cannot be loaded"):
        CLIPEncoder(str(damaged))
    (damaged / "config.json").write_text("[" * 100_000)
    with pytest.raises(ClipsepError, match=r"no readable config\.json"):
        CLIPEncoder(str(damaged))
    incomplete = shutil.copytree(folder, tmp_path / "incomplete")
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, incomplete / "model.safetensors", {"format": "pt"})
    with pytest.raises(ClipsepError, match=r"lack 1 tensor, text_projection\.weight"):
        CLIPEncoder(str(incomplete))


def test_missing_transformers_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ClipsepError, match=r"pip install 'clipsep\[clip\]'"):
        CLIPEncoder(str(folder))
