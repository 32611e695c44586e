"""Turn a checkpoint of the published CLIPSep code (a `.pt` file) into one of ours.

The file is opened for its weights alone: nothing in it is run.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from clipsep.checkpoint import CheckpointConfig, load_config, save_checkpoint
from clipsep.errors import ClipsepError, UsageError
from clipsep.models.network import SeparationModel
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, UNetSettings
from clipsep.paper.weight_names import level_prefixes, query_names, unet_names
from clipsep.queries.clip import DEFAULT_CLIP
from clipsep.spectral import SpectralSettings

Weights = dict[str, torch.Tensor]

_CLIP_DIM = 512
_COUNTER = ".num_batches_tracked"
# The values of `image_model` in train-args.json and the variants whose weights they make.
_IMAGE_MODELS = {
    "clip": "CLIPSep",
    "clipsepnit": "CLIPSep-NIT",
    "clippit4": "CLIPSep-NIT",
    "pit": "PIT",
    "label_only": "LabelSep",
}
# Arguments that a model card wants; the others are paths and switches of the training machine.
_KEPT_ARGUMENTS = (
    "image_model",
    "train_mode",
    "n_mix",
    "frames",
    "steps",
    "batch_size",
    "lr",
    "drop_closest",
    "reg_coef",
    "reg2_coef",
    "reg2_epsilon",
    "seed",
)


def import_published(
    path: str | Path,
    output: str | Path,
    args: str | Path | None = None,
    name: str | None = None,
) -> CheckpointConfig:
    """Import CLIPSep (late fusion), CLIPSep-NIT, PIT or LabelSep weights.

    Which of them it is, and how large, follows from the names and shapes of the weights.

    Args:
        path: `.pt` file with the state dict, as the published training script saves it.
        output: folder of the new checkpoint.
        args: the `train-args.json` beside the published weights. Only LabelSep needs it (for its label
            map); for the others it is checked against the weights and adds the STFT settings.
        name: what the model is called; by default the name of the output folder.

    Returns:
        The configuration that was written.

    Raises:
        UsageError: if one of the two files does not exist.
        ClipsepError: if a file is damaged, holds anything but weights, belongs to a model
            that is not supported (early and middle fusion, BERTSep, Sound-of-Pixels queries), or
            contradicts the other file.
    """
    path, output, args = Path(path), Path(output), Path(args) if args else None
    for given in filter(None, (path, args)):
        if not given.exists():
            raise UsageError(f"'{given}' does not exist: check the name.")
    weights = _read_weights(path)
    _refuse_other_fusions(weights, path)
    settings = _model_settings(weights, path)
    if settings.kind != "pit" and settings.query_dim != _CLIP_DIM:
        raise ClipsepError(
            f"'{path}' takes queries of size {settings.query_dim}: only those of CLIP ViT-B/32, of "
            f"size {_CLIP_DIM}, are supported."
        )
    variant = _variant(settings)
    arguments = _read_json(args) if args else {}
    if args:
        _compare(arguments, settings, variant, args, path)
    config = CheckpointConfig(
        name=name or output.resolve().name,
        model=settings,
        spectral=_spectral_settings(arguments, args),
        query_encoder=_query_encoder(variant),
        labels=_labels(arguments, args, settings.n_labels) if settings.n_labels else [],
        training={
            "published": variant,
            "imported_from": path.name,
            **{key: arguments[key] for key in _KEPT_ARGUMENTS if key in arguments},
        },
    )
    save_checkpoint(output, config, _model_of(config, weights, path))
    return load_config(output)


def _model_of(config: CheckpointConfig, weights: Weights, path: Path) -> SeparationModel:
    model = build_model(config.model, config.spectral.n_bands)
    renamed = _rename(weights, config.model, path)
    # Batch normalisation with a fixed momentum never reads its counters.
    counters = {k: v for k, v in model.state_dict().items() if k.endswith(_COUNTER)}
    try:
        model.load_state_dict({**counters, **renamed})
    except RuntimeError as error:
        raise ClipsepError(
            f"'{path}' is not a published model: the shapes of its weights do not fit together."
        ) from error
    return model


def _read_weights(path: Path) -> Weights:
    """Read the state dict of a `.pt` file, without the `module.` that data-parallel training adds."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise ClipsepError(
            f"Cannot read the published weights '{path}': {error.strerror}."
        ) from error
    try:
        with file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols
            content = torch.load(file, map_location="cpu", weights_only=True)
            damaged = zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip()
    except pickle.UnpicklingError as error:
        raise ClipsepError(
            f"'{path}' is not loaded: it is damaged, or it holds Python objects beside weights, which "
            "could run any code."
        ) from error
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise ClipsepError(
            f"'{path}' is damaged, or not a PyTorch file: download it again."
        ) from error
    if damaged:
        # PyTorch does not look at the checksums and would load wrong numbers.
        raise ClipsepError(f"'{path}' is damaged (wrong checksum): download it again.")
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> Weights:
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(v, torch.Tensor) for v in content.values()
    ):
        raise ClipsepError(
            f"'{path}' does not hold a state dict: give the file with a model's weights."
        )
    weights = {str(key).removeprefix("module."): tensor for key, tensor in content.items()}
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ClipsepError(
                f"'{path}' cannot be imported: its weight '{key}' has NaN or infinite values."
            )
    return weights


def _refuse_other_fusions(weights: Weights, path: Path) -> None:
    """Early and middle fusion put the query into the U-Net, so their masks are no dot products."""
    for fusion, telltale in (
        ("early", "frame_net.fc.weight"),
        ("middle", "sound_net.unet_block.downconv.weight"),
    ):
        if telltale in weights:
            raise ClipsepError(
                f"'{path}' holds a CLIPSep with {fusion} fusion: only late fusion is supported."
            )


def _model_settings(weights: Weights, path: Path) -> ModelSettings:
    """Infer the kind and sizes of a model from the names and shapes of its weights."""
    try:
        levels = level_prefixes(weights)
        features, _ = weights[f"{levels[0]}4.weight"].shape[:2]
        network = UNetSettings(num_downs=len(levels), width=len(weights[f"{levels[0]}0.weight"]))
        if "synth_net.weight" in weights:
            return ModelSettings(kind="pit", network=network, feature_channels=features)
        labels = weights.get("label_net.weight")
        return ModelSettings(
            kind="clipsep" if labels is None else "labelsep",
            network=network,
            feature_channels=features,
            query_dim=weights["frame_net.weight"].shape[1],
            noise_heads=2 if any(key.startswith("pit_nets.") for key in weights) else 0,
            n_labels=0 if labels is None else len(labels),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        detail = f" (it has no weight {error})" if type(error) is KeyError else ""
        raise ClipsepError(
            f"'{path}' does not hold the weights of a published CLIPSep model{detail}."
        ) from error


def _variant(settings: ModelSettings) -> str:
    if settings.kind != "clipsep":
        return {"pit": "PIT", "labelsep": "LabelSep"}[settings.kind]
    return "CLIPSep-NIT" if settings.noise_heads else "CLIPSep"


def _query_encoder(variant: str) -> str:
    """Id of the encoder."""
    return {"PIT": "none", "LabelSep": "labels"}.get(variant, f"clip:{DEFAULT_CLIP}")


def _rename(weights: Weights, settings: ModelSettings, path: Path) -> Weights:
    """Rename the weights to ours; every published weight is used, and none is missing."""
    names = {**unet_names(level_prefixes(weights)), **query_names(settings)}
    missing = sorted(set(names) - set(weights))
    if missing:
        raise ClipsepError(f"'{path}' is incomplete: the weight '{missing[0]}' is missing.")
    unknown = sorted(key for key in set(weights) - set(names) if not key.endswith(_COUNTER))
    if unknown:
        raise ClipsepError(
            f"'{path}' is not a supported model: it has the weight '{unknown[0]}', which a "
            f"{_variant(settings)} model does not have."
        )
    renamed = {ours: weights[published] for published, ours in names.items()}
    if settings.kind == "pit":
        renamed["masks.weight"] = renamed["masks.weight"].flatten(1)  # was a 1x1 convolution
    return renamed


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClipsepError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ClipsepError(f"'{path}' is damaged: it is not JSON.") from error
    if not isinstance(content, dict):
        raise ClipsepError(f"'{path}' is not a JSON object with names and values.")
    return content


def _compare(
    arguments: dict[str, Any], settings: ModelSettings, variant: str, args: Path, path: Path
) -> None:
    """ClipsepError if the arguments ask for what is not supported, or contradict the weights."""
    image_model = str(arguments.get("image_model", "clip"))
    if image_model not in _IMAGE_MODELS:
        raise ClipsepError(
            f"'{args}' asks for the image model '{image_model}': it is not supported."
        )
    if image_model == "clip" and arguments.get("fusion", "late") != "late":
        raise ClipsepError(
            f"'{args}' asks for {arguments['fusion']} fusion: only late fusion is supported."
        )
    for switch, meaning in (("log_freq", "linear frequency"), ("binary_mask", "ratio masks")):
        if arguments.get(switch) is False:
            raise ClipsepError(f"'{args}' asks for {meaning} ('{switch}'): it is not supported.")
    expected = {
        "image_model": (_IMAGE_MODELS[image_model], variant),
        "layers": (arguments.get("layers"), getattr(settings.network, "num_downs", None)),
        "channels": (arguments.get("channels"), settings.feature_channels),
        "n_labels": (arguments.get("n_labels"), settings.n_labels or None),
    }
    for key, (said, found) in expected.items():
        if said is not None and found is not None and said != found:
            raise ClipsepError(
                f"'{args}' and '{path}' do not belong together: '{key}' asks for {said}, the weights "
                f"are of {found}."
            )


def _spectral_settings(arguments: dict[str, Any], args: Path | None) -> SpectralSettings:
    """Choose the published settings, or those that the arguments give for sample rate and STFT."""
    names = {"sample_rate": "audio_rate", "n_fft": "n_fft", "hop_length": "hop_len"}
    given = {ours: arguments[theirs] for ours, theirs in names.items() if theirs in arguments}
    try:
        settings = SpectralSettings.model_validate({**given, "warp": "float32"})
    except ValidationError as error:
        first = error.errors()[0]
        raise ClipsepError(
            f"In '{args}', {names[str(first['loc'][0])]}: {first['msg']}."
        ) from error
    if arguments.get("win_len", settings.n_fft) != settings.n_fft:
        raise ClipsepError(f"'{args}' asks for 'win_len' other than 'n_fft': it is not supported.")
    return settings


def _labels(arguments: dict[str, Any], args: Path | None, n_labels: int) -> list[str]:
    """Labels in the order of the label table, from the map that the arguments name."""
    named = arguments.get("label_map_filename")
    if args is None or not named:
        raise ClipsepError(
            "A LabelSep model needs its labels: give the train-args.json whose 'label_map_filename' "
            "names the label map, with that file beside it."
        )
    # The path is that of the training machine, so the file may have been brought along.
    beside = args.parent / Path(str(named)).name
    path = beside if beside.is_file() else Path(str(named))
    label_map = _read_json(path)
    if sorted(map(str, label_map.values())) != sorted(map(str, range(n_labels))):
        raise ClipsepError(
            f"The label map '{path}' does not number the {n_labels} rows of the label table."
        )
    return sorted(label_map, key=lambda label: int(label_map[label]))
