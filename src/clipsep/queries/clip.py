"""CLIP models of Hugging Face transformers as query encoders, from cache, folder or hub.

It needs no torchvision.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipsep.errors import ClipsepError, UsageError
from clipsep.files import is_folder
from clipsep.media.images import to_rgb
from clipsep.messages import counted
from clipsep.queries.prompts import check_texts

DEFAULT_CLIP = "openai/clip-vit-base-patch32"
_TEXT_BATCH = 64
_IMAGE_BATCH = 8
# Images longer than this, in short sides, lose their ends before CLIP's own resize, which would
# blow a 1 x 3000 strip up to 150 million pixels only to keep its middle.
_LONGEST = 8
_FILES = ["*.json", "*.txt", "*.safetensors"]
_PICKLED = "pytorch_model.bin"


class CLIPEncoder:
    """Texts and images in the joint space of a CLIP (Radford et al., 2021).

    Embeddings are not normalised, as in the published CLIPSep. ``id`` is "clip:" and the hub id, or the
    absolute path of a folder; a downloaded folder counts as its hub model if it is still called like
    it. ``revision`` is the commit on the hub, None for a folder.
    """

    def __init__(self, model: str = DEFAULT_CLIP, device: str = "cpu") -> None:
        """``model``: folder or hub id.

        Raises ClipsepError if transformers or the weights cannot be had, UsageError if ``model``
        names neither a folder nor a model of the hub.
        """
        transformers = _import_transformers()
        folder = Path(model).expanduser()
        self.revision: str | None = None
        if is_folder(folder):
            name = _hub_name(folder) or str(folder.absolute())
        else:
            folder, name = _snapshot(model), model
            self.revision = folder.name
        self.id = f"clip:{name}"
        self._device = torch.device(device)
        self._model, self._tokenizer, self._processor = _load(transformers, folder)
        self._model.to(self._device)
        self.dim: int = self._model.config.projection_dim

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Texts -> embeddings [B,D] float32; what exceeds the model's 77 tokens is cut off.

        Raises UsageError for a blank text.
        """
        check_texts(texts)
        return self._in_batches(self._embed_texts, texts, _TEXT_BATCH)

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        """Images of any mode and size -> embeddings [B,D] float32."""
        return self._in_batches(self._embed_images, images, _IMAGE_BATCH)

    @torch.no_grad()
    def _in_batches(self, embed: Any, items: list[Any], size: int) -> np.ndarray:
        rows = [embed(items[i : i + size]) for i in range(0, len(items), size)]
        return torch.cat(rows).cpu().numpy() if rows else np.zeros((0, self.dim), np.float32)

    def _embed_texts(self, texts: list[str]) -> Tensor:
        limit = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self._device)
        pooled = self._model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return self._model.text_projection(pooled)

    def _embed_images(self, images: list[Image.Image]) -> Tensor:
        # Named, since an image three pixels high could be taken for three channels.
        batch = self._processor(
            images=[_shorten(to_rgb(image)) for image in images],
            input_data_format="channels_last",
            return_tensors="pt",
        )
        pixels = batch["pixel_values"].to(self._device, torch.float32)
        return self._model.visual_projection(
            self._model.vision_model(pixel_values=pixels).pooler_output
        )


def _import_transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise ClipsepError(
            "CLIP query encoders need the package transformers; run: pip install 'clipsep[clip]'"
        ) from error
    return transformers


def _load(transformers: ModuleType, folder: Path) -> tuple[Any, Any, Any]:
    """Model (float32, frozen), tokenizer and image processor from a folder, without network."""
    family = _config(folder).get("model_type")
    if family != "clip":
        raise ClipsepError(f"{folder} holds a model of type {family}, not a CLIP.")
    # transformers 5 has two image processors; the one named CLIPImageProcessor needs torchvision.
    kind = getattr(transformers, "CLIPImageProcessorPil", None)
    kind = kind or transformers.CLIPImageProcessor
    try:
        with _quiet(transformers):
            model, info = transformers.CLIPModel.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            processor = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers passes on whatever its many readers raise
        reason = str(error).strip().split("\n")[0]
        raise ClipsepError(f"The CLIP model in {folder} cannot be loaded: {reason}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ClipsepError(
            f"The CLIP model in {folder} is incomplete: its weights lack "
            f"{counted(len(missing), 'tensor')}, {missing[0]} for one; download it again."
        )
    return model.float().eval().requires_grad_(False), tokenizer, processor


def _snapshot(model: str) -> Path:
    """Folder of a hub model in the local cache, downloaded if it is not there yet.

    Raises UsageError for what cannot be a hub id or is unknown there, ClipsepError if the hub
    cannot be reached.
    """
    from huggingface_hub import errors

    try:
        return _cached(model) or _download(model)
    except errors.HFValidationError as error:
        raise UsageError(
            f'"{model}" is neither a folder nor a Hugging Face model id such as {DEFAULT_CLIP}.'
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f'Hugging Face has no public model "{model}", and no folder is called so.'
        ) from error
    except Exception as error:  # connection errors differ between versions of the hub's client
        name = model.split("/")[-1]
        raise ClipsepError(
            f"The CLIP weights come from https://huggingface.co/{model}, which cannot be reached, "
            f"and they are not in the local cache; on a machine with network run "
            f"'hf download {model} --local-dir {name}', copy the folder here and use the query "
            f"encoder clip:/path/to/{name}, or use a model with the embedded query encoder, which "
            "needs no download."
        ) from error


def _cached(model: str) -> Path | None:
    """Find the cached snapshot of a hub model, if it is complete, without the network, which is slower."""
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        return None
    has_tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "merges.txt"))
    has_settings = (folder / "preprocessor_config.json").exists()
    return folder if has_tokenizer and has_settings and _has_weights(folder) else None


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    silent = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        folder = Path(snapshot_download(model, allow_patterns=_FILES, ignore_patterns=["*/*"]))
        if not _has_weights(folder):
            snapshot_download(model, allow_patterns=[_PICKLED], revision=folder.name)
    finally:
        if not silent:
            enable_progress_bars()
    return folder


def _has_weights(folder: Path) -> bool:
    return (folder / _PICKLED).exists() or any(folder.glob("*.safetensors"))


def _hub_name(folder: Path) -> str | None:
    """Return the hub id of a downloaded folder, or None.

    The config's own word is not enough: models that were trained further still carry the name of
    the one they started from. So the folder must be called like it, too.
    """
    named = _config(folder).get("_name_or_path") or DEFAULT_CLIP
    return named if folder.resolve().name == named.split("/")[-1] else None


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ClipsepError(
            f"{folder} is not a CLIP model of Hugging Face: it has no readable config.json."
        ) from error
    return config if isinstance(config, dict) else {}


def _shorten(image: Image.Image) -> Image.Image:
    """Cut the ends off a very long image, symmetrically."""
    limit = _LONGEST * min(image.size)
    width, height = (min(extent, limit) for extent in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


@contextlib.contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """No warnings or progress bars of transformers inside, the caller's settings after."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
