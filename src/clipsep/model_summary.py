"""A model folder in a few words, for people who choose between models.

It reads config.json and the sizes of things; it never loads the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from clipsep.checkpoint import WEIGHTS_NAME, CheckpointConfig, load_config
from clipsep.errors import ClipsepError
from clipsep.messages import counted
from clipsep.models.registry import build_model


@dataclass(frozen=True)
class ModelSummary:
    """``n_bytes`` is the size of the weights' file, ``encoder`` the id of the query encoder."""

    name: str
    parameters: int
    n_bytes: int
    encoder: str
    purpose: str


def summarize(folder: Path) -> ModelSummary:
    """Summary of a checkpoint folder; ClipsepError if it is none or lacks its weights."""
    config = load_config(folder)
    try:
        n_bytes = (folder / WEIGHTS_NAME).stat().st_size
    except OSError as error:
        raise ClipsepError(
            f"'{folder}' is no model: its {WEIGHTS_NAME} cannot be read ({error.strerror})."
        ) from error
    # On the meta device tensors have shapes but no memory.
    with torch.device("meta"):
        model = build_model(config.model, config.spectral.n_bands)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelSummary(config.name, parameters, n_bytes, config.query_encoder, _purpose(config))


def _purpose(config: CheckpointConfig) -> str:
    settings = config.model
    if settings.kind == "pit":
        return "baseline that takes no query: splits a mixture in two"
    if settings.kind == "labelsep":
        return f"baseline that takes one of {counted(settings.n_labels, 'label')} as a query"
    noise = ", trained to leave off-screen sound alone" if settings.noise_heads else ""
    return f"any sound by text or picture{noise}"
