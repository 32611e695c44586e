"""A model on disk: a folder with config.json and model.safetensors, found by name, path or hub id.

model.onnx beside them lets the core use it without PyTorch (`clipsep.engines.export`). Nothing here is ever
unpickled; the published `.pt` files have an importer of their own.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from clipsep.errors import ClipsepError, UsageError, require
from clipsep.feedback import ConfidenceSettings, KnownSettings
from clipsep.files import is_folder, write_whole
from clipsep.messages import counted, first_problem
from clipsep.models.settings import ModelSettings, OwnNetworkSettings
from clipsep.spectral import SpectralSettings

if TYPE_CHECKING:
    import torch

    from clipsep.models.network import SeparationModel

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
ONNX_NAME = "model.onnx"  # for ONNX Runtime: the graph, which reads the weights beside it
KNOWN_NAME = "known_sounds.safetensors"  # embeddings that were learnt (`clipsep.queries.known`)
_MOST_PIXELS = 1 << 22  # of a spectrogram that a network sees; the published one has 65,536
_MOST_CONFIG_BYTES = 1 << 24
# What batch normalisation counts by itself.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class CheckpointConfig(BaseModel):
    """All that is needed to use a model's weights.

    Attributes:
        format: version of this layout.
        query_encoder: id of the encoder that the model was trained with; no other will do.
        query_encoder_revision: revision of the encoder's weights, where they have one.
        prompts: the prompt set that text queries go through.
        labels: labels of the label table (LabelSep), in its order, else empty.
        known_sounds: labels of the sounds it was trained with, for `clipsep scan`; may be empty.
        known: how queries compare with what was learnt; None without `KNOWN_NAME` beside it.
        confidence: calibration of the confidence in answers; None without one.
        training: what the model was trained on and how it scored, for people.
        sha256: SHA-256 of the weights file.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = Field(1, ge=1, le=1)
    name: str
    model: ModelSettings
    spectral: SpectralSettings
    query_encoder: str
    query_encoder_revision: str | None = None
    prompts: str = "photo"
    labels: list[str] = []
    known_sounds: list[str] = []
    known: KnownSettings | None = None
    confidence: ConfidenceSettings | None = None
    training: dict[str, Any] = {}
    sha256: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> CheckpointConfig:
        stride = self.model.network.stride
        for key in ("n_bands", "segment_frames"):
            if getattr(self.spectral, key) % stride:
                raise ValueError(f"spectral.{key} must be a multiple of {stride}")
        if self.spectral.n_bands * self.spectral.segment_frames > _MOST_PIXELS:
            raise ValueError(f"spectral.n_bands x segment_frames must be at most {_MOST_PIXELS}")
        if not self.spectral.hop_length <= self.spectral.n_fft <= 2 * self.spectral.sample_rate:
            raise ValueError("spectral.n_fft must be at least hop_length and at most two seconds")
        return self


@dataclass
class Checkpoint:
    """A loaded model, in evaluation mode on the CPU, and where it came from."""

    config: CheckpointConfig
    model: SeparationModel
    folder: Path


def save_checkpoint(
    folder: str | Path,
    config: CheckpointConfig,
    model: torch.nn.Module,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint folder; each file is complete or not there.

    An export of other weights that is there is removed; so is what was measured with them, the
    feedback on queries and answers.

    Args:
        dtype: type of the stored weights, float32 by default; they are used in float32.
    """
    import safetensors.torch
    import torch

    folder, dtype = Path(folder), dtype or torch.float32
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    weights = safetensors.torch.save(tensors)
    digest = hashlib.sha256(weights).hexdigest()
    config = config.model_copy(update={"sha256": digest, "known": None, "confidence": None})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (ONNX_NAME, KNOWN_NAME):
            (folder / name).unlink(missing_ok=True)
        write_whole(folder / WEIGHTS_NAME, weights)
        save_config(folder, config)
    except OSError as error:
        raise ClipsepError(
            f"Cannot write the model to '{folder}': {error.strerror or error}."
        ) from error


def save_config(folder: Path, config: CheckpointConfig) -> None:
    """Write config.json of a checkpoint folder."""
    text = json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_whole(folder / CONFIG_NAME, (text + "\n").encode())


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Load a model into PyTorch, by the name of a shipped one, by folder, or by hub id ("owner/model").

    Raises:
        UsageError: if there is no such model.
        ClipsepError: if its files are missing or damaged, the hub cannot be reached, or PyTorch is not
            installed.
    """
    require("torch", extra="torch", purpose="loading a model into PyTorch")
    import safetensors.torch

    from clipsep.models.registry import build_model

    folder = find_checkpoint(name)
    config = load_config(folder)
    weights = verify_weights(folder, config)
    _require_fitting_shapes(folder / WEIGHTS_NAME, config)
    model = build_model(config.model, config.spectral.n_bands)
    try:
        model.load_state_dict(safetensors.torch.load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise _damaged_weights(folder / WEIGHTS_NAME) from error
    return Checkpoint(config, model.eval(), folder)


def _require_fitting_shapes(weights: Path, config: CheckpointConfig) -> None:
    """Compare the shapes in the weights' header with the config before anything of that size is made.

    Networks of other packages are not made twice: their code has the last word anyway.
    """
    if isinstance(config.model.network, OwnNetworkSettings):
        return
    import torch

    from clipsep.models.registry import build_model

    with torch.device("meta"):
        model = build_model(config.model, config.spectral.n_bands)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        with safe_open(weights, "numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged_weights(weights) from error
    if found != expected:
        raise _damaged_weights(weights)


def _damaged_weights(weights: Path) -> ClipsepError:
    return ClipsepError(
        f"The weights '{weights}' are damaged or belong to another config.json: fetch or install the "
        "model again."
    )


def verify_weights(folder: Path, config: CheckpointConfig) -> bytes:
    """Read a checkpoint's model.safetensors, checked against its config.json.

    Raises:
        ClipsepError: if it cannot be read, or is damaged.
    """
    path = folder / WEIGHTS_NAME
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise ClipsepError(f"Cannot read the weights '{path}': {error.strerror}.") from error
    if config.sha256 and hashlib.sha256(weights).hexdigest() != config.sha256:
        raise ClipsepError(f"The weights '{path}' are damaged: fetch or install the model again.")
    return weights


def load_config(folder: Path) -> CheckpointConfig:
    """Read config.json of a checkpoint folder.

    Raises:
        UsageError: if the folder holds no part of a model.
        ClipsepError: if the file is missing or damaged.
    """
    path = folder / CONFIG_NAME
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise ValueError
        content = json.loads(path.read_bytes())
    except OSError as error:
        part_of_a_model = path.exists() or (folder / WEIGHTS_NAME).exists()
        kind = ClipsepError if part_of_a_model else UsageError
        raise kind(
            f"'{folder}' is not a model: its {CONFIG_NAME} cannot be read ({error.strerror})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ClipsepError(f"'{path}' is damaged: it is not the JSON text of a model.") from error
    try:
        return CheckpointConfig.model_validate(content)
    except ValidationError as error:
        raise ClipsepError(f"'{path}' is damaged: {first_problem(error, content)}.") from error
    except UnicodeEncodeError as error:  # half of a pair, such as U+D800
        raise ClipsepError(f"'{path}' is damaged: a text in it is not Unicode.") from error


def shipped_models() -> dict[str, Path]:
    """Names and folders of the models inside the package."""
    assets = Path(str(resources.files("clipsep"))) / "assets"
    return {path.parent.name: path.parent for path in sorted(assets.glob(f"*/{CONFIG_NAME}"))}


def find_checkpoint(name: str | Path) -> Path:
    """Find the folder of a model given by name, folder or hub id; download it in the last case."""
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    folder = Path(name)
    if str(name).strip() and is_folder(folder):
        return folder
    if isinstance(name, str) and _HUB_ID.fullmatch(name) and not name.startswith("."):
        if is_folder(
            folder.parent
        ):  # a path with a mistake in it, which must not be sent to the hub
            raise UsageError(
                f"There is no model '{name}': the folder '{folder.parent}' has no folder "
                f"'{folder.name}'. (For a model of that name on the Hugging Face hub, start elsewhere.)"
            )
        return _from_hub(name)
    raise UsageError(
        f"There is no model '{name}': give the name of a shipped one ({', '.join(shipped)}), "
        "a folder, or a Hugging Face id such as owner/model."
    )


def _from_hub(repository: str) -> Path:
    require("huggingface_hub", extra="hub", purpose=f"fetching the model '{repository}'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository, allow_patterns=[CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME, KNOWN_NAME]
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ClipsepError(
            f"Cannot fetch the model '{repository}' from the Hugging Face hub and it is not in the "
            f"local cache. Offline, copy its {CONFIG_NAME} and {WEIGHTS_NAME} into a folder and give "
            "that folder, or use the shipped model 'mini'."
        ) from error
    return Path(folder)


@dataclass(frozen=True)
class ModelSummary:
    """``n_bytes`` is the size of the weights' file, ``encoder`` the id of the query encoder."""

    name: str
    parameters: int
    n_bytes: int
    encoder: str
    purpose: str


def summarize(folder: Path) -> ModelSummary:
    """Summary of a checkpoint folder; ClipsepError if it is not one or lacks its weights."""
    config = load_config(folder)
    try:
        n_bytes = (folder / WEIGHTS_NAME).stat().st_size
    except OSError as error:
        raise ClipsepError(
            f"'{folder}' is not a model: its {WEIGHTS_NAME} cannot be read ({error.strerror})."
        ) from error
    parameters = _parameters(folder / WEIGHTS_NAME)
    return ModelSummary(config.name, parameters, n_bytes, config.query_encoder, _purpose(config))


def _parameters(weights: Path) -> int:
    """Numbers that training sets, by the names and shapes in the file's header."""
    try:
        with safe_open(weights, "numpy") as file:
            names = [name for name in file.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise ClipsepError(
            f"The weights '{weights}' are damaged: fetch or install the model again."
        ) from error


def _purpose(config: CheckpointConfig) -> str:
    settings = config.model
    if settings.kind == "pit":
        return "baseline that takes no query: splits a mixture in two"
    if settings.kind == "labelsep":
        return f"baseline that takes one of {counted(settings.n_labels, 'label')} as a query"
    noise = ", trained to leave off-screen sound alone" if settings.noise_heads else ""
    return f"takes texts and images as queries{noise}"
