"""What a run starts from: random weights, those of another model, or its own state if it was cut off.

What does not fit is refused here, by the name of the first setting that differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from clipsep.checkpoint import Checkpoint, CheckpointConfig
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import atomic_write, remove_unfinished
from clipsep.messages import counted
from clipsep.models.network import SeparationModel
from clipsep.models.registry import build_model
from clipsep.training.config import TrainingConfig
from clipsep.training.load import TrainingInputs

RESUME = "resume.ckpt"
# What may change when a run resumes: none of it decides what a step learns from which mixtures.
_MAY_CHANGE = {
    *("steps", "validate_every", "validation_mixtures", "save_every", "log_every", "examples"),
    *("accumulate", "device", "devices", "nodes", "loader_workers", "compile"),
}


class RunRecord(Callback):
    """Keeps in the saved state what fixes the run, so that no other run resumes from it."""

    def __init__(
        self, checkpoint: CheckpointConfig, config: TrainingConfig, inputs: TrainingInputs
    ):
        settings = checkpoint.training["config"]
        self.record = {
            **{key: value for key, value in settings.items() if key not in _MAY_CHANGE},
            "data.shuffle_shards": config.data.shuffle_shards,
            # Data may move, and sizes are enough to notice others.
            "the number of clips in data.train": len(inputs.mixtures.dataset),
            "the number of clips in data.val": inputs.validation and len(inputs.validation.dataset),
            "labels": checkpoint.labels,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the record; nothing is read back, see `resume_point`."""
        return self.record


class SaveState(Callback):
    """Saves ``resume.ckpt``, what a run needs to resume: every ``save_every`` steps, and at the end.

    At a step that is validated it saves after the validation, which a kill in between would lose otherwise.
    It must stand behind weight averaging in the list of callbacks.

    Args:
        validate: whether there is something to validate with.
    """

    def __init__(self, config: TrainingConfig, validate: bool):
        self._config = config
        self._path = config.output / RESUME
        self._validate_every = config.validate_every if validate else None
        self._saved = 0  # the last step that was

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the step that a resumed run starts from, and remove what a kill left unfinished."""
        self._saved = trainer.global_step
        if trainer.is_global_zero:
            remove_unfinished(self._path.parent, {RESUME})

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save, unless a validation follows."""
        if self._validate_every is None or trainer.global_step % self._validate_every:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what `on_train_batch_end` left for now."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if step == self._saved or (step % self._config.save_every and step != self._config.steps):
            return
        if trainer.is_global_zero:
            # Lightning copies from another disk, and what a full one holds of it would stay.
            with atomic_write(self._path) as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(self._path)  # writes nothing, but the others wait for it
        self._saved = step


@dataclass(frozen=True)
class ResumePoint:
    """A saved state to resume from: its file, the steps that were made, and what is in it."""

    path: Path
    step: int
    weights: dict[str, torch.Tensor]
    callbacks: dict[str, dict[str, Any]]


def resume_point(config: TrainingConfig, task: nn.Module, run: RunRecord) -> ResumePoint | None:
    """Load the state to resume from, if there is one; no code in it is run.

    Raises:
        ClipsepError: if it is damaged, or holds more than numbers, texts and tensors.
        UsageError: if it is of another run.
    """
    path = config.output / RESUME
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state = ResumePoint(path, saved["global_step"], saved["state_dict"], saved["callbacks"])
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise ClipsepError(
            f"'{path}' is damaged, so the run cannot resume: delete it to start again. The models beside "
            "it are intact."
        ) from error
    other = _first_difference(run.record, state.callbacks.get(run.state_key, {}))
    if other:
        raise UsageError(
            f"'{config.output}' holds another run, which differs in {other}: choose another output, or "
            "delete that folder to start again."
        )
    if _shapes(state.weights) != _shapes(task.state_dict()):
        raise UsageError(
            f"'{path}' belongs to a model of another shape: choose another output, or delete it."
        )
    return state


def initial_model(
    checkpoint: CheckpointConfig, start: Checkpoint | None, config: TrainingConfig
) -> tuple[SeparationModel, str | None]:
    """Build the model to train, with random weights or with those of ``start``.

    Returns:
        the model, and a sentence about what it took over, if it started from another.

    Raises:
        UsageError: if the weights of ``start`` mean something else, or, unless the config says
            ``init_partial``, if not all of them fit and nothing else is needed.
    """
    model = build_model(checkpoint.model, checkpoint.spectral.n_bands)
    if start is None:
        return model, None
    other = _first_difference(_meaning(checkpoint), _meaning(start.config))
    if other:
        raise UsageError(
            f"init '{config.init}' was trained with another {other} than this config's: make them equal, "
            "or choose another init."
        )
    wanted, there = model.state_dict(), start.model.state_dict()
    fitting = {n: w for n, w in there.items() if n in wanted and wanted[n].shape == w.shape}
    left_out, missing = (
        sorted(there.keys() - fitting.keys()),
        sorted(wanted.keys() - fitting.keys()),
    )
    if (left_out or missing) and not config.init_partial:
        what = "lacks" if missing else "has more than this config's model, such as"
        raise UsageError(
            f"init '{config.init}' is a model of another shape than this config's: it {what} "
            f"'{(missing or left_out)[0]}'. Make them equal, or set init_partial=true to use what fits."
        )
    model.load_state_dict(fitting, strict=False)
    note = f"Of init '{config.init}', {len(fitting)} of {counted(len(there), 'tensor')} are used"
    if left_out:
        note += f"; left out: {_some(left_out)}"
    if missing:
        note += f"; starting from random values: {_some(missing)}"
    return model, f"{note}."


def _some(names: list[str]) -> str:
    """Write out the first few of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _meaning(config: CheckpointConfig) -> dict[str, Any]:
    """Collect what the same weights need to give the same masks, but for the length of segments."""
    return {
        "query_encoder": config.query_encoder,
        "model": config.model.model_dump(include={"query_activation", "normalize_query"}),
        "spectral": config.spectral.model_dump(exclude={"segment_frames"}),
        "list of labels": config.labels,
    }


def _first_difference(one: dict[str, Any], other: dict[str, Any], above: str = "") -> str | None:
    """Dotted name of the first key in both whose values differ."""
    for key in (key for key in one if key in other):
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            below = _first_difference(one[key], other[key], f"{above}{key}.")
            if below:
                return below
        elif one[key] != other[key]:
            return f"{above}{key}"
    return None


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}
