"""Model checkpoints of a running training: the last one and the best one, ready to be used."""

from __future__ import annotations

import math
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from clipsep.checkpoint import CheckpointConfig, save_checkpoint
from clipsep.training.task import SeparationTask, diverged


class ExportModel(Callback):
    """Writes the checkpoint folders ``last/`` and ``best/`` (highest validation SDR).

    It must stand before weight averaging in the list of callbacks, because that takes the averaged
    weights out of the model when its turn at the end of a validation comes.
    """

    def __init__(self, output: Path, config: CheckpointConfig):
        self.output, self.config = output, config
        self.best = float("-inf")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: SeparationTask) -> None:
        """Save, and note the scores in the checkpoint."""
        metrics = {
            name: round(value.item(), 4)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        if not all(map(math.isfinite, metrics.values())):
            raise diverged(trainer.global_step)
        self.config.training.update(step=trainer.global_step, **metrics)
        self.save("last", trainer, pl_module)
        score = _score(metrics)
        if score > self.best:
            self.best = score
            self.save("best", trainer, pl_module)

    def save(self, name: str, trainer: pl.Trainer, task: SeparationTask) -> None:
        """Write the task's present weights to ``output/name``, from one of the processes.

        Raises:
            ClipsepError: if they are not finite; what was written before stays.
        """
        if not all(tensor.isfinite().all() for tensor in task.model.state_dict().values()):
            raise diverged(trainer.global_step)
        if trainer.is_global_zero:
            save_checkpoint(self.output / name, self.config, task.model)

    def state_dict(self) -> dict:
        """The best score comes back with the run."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict) -> None:
        """See `state_dict`."""
        self.best = state_dict["best"]


def _score(metrics: dict[str, float]) -> float:
    """What makes a model the best: mean of the SDRs with text and with image queries."""
    sdrs = [value for name, value in metrics.items() if name.startswith("val/sdr")]
    return sum(sdrs) / len(sdrs) if sdrs else -metrics.get("val/loss", float("inf"))
