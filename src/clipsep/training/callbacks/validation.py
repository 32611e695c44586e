"""What happens after each validation: models are saved, and examples written for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter

from clipsep.checkpoint import CheckpointConfig, save_checkpoint
from clipsep.models.transforms import stft
from clipsep.separation.files.figure import paint
from clipsep.training.data.batches import MixtureBatch, collate
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.losses import make_targets
from clipsep.training.task import SeparationTask, diverged

_DARKEST = (
    8.0  # natural logarithm of the magnitude below the loudest, 70 dB, that is painted darkest
)
_LOUDEST = 0.9  # peak of a mixture as it is written; its parts are scaled with it


class ExportModel(Callback):
    """Writes the checkpoint folders ``last/`` and ``best/``.

    It must stand before weight averaging in the list of callbacks, because that takes the averaged
    weights out of the model at the end of a validation.
    """

    def __init__(self, output: Path, config: CheckpointConfig, best_by: str = "loss"):
        self.output, self.config, self.best_by = output, config, best_by
        self.best = float("-inf")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and note the scores in the checkpoint."""
        assert isinstance(pl_module, SeparationTask)
        metrics = {
            name: round(value.item(), 4)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/") and not _nothing_heard(name, value)
        }
        if not all(map(math.isfinite, metrics.values())):
            raise diverged(trainer.global_step)
        self._note(trainer.global_step, metrics)
        self.save("last", trainer.global_step, pl_module)
        score = _score(metrics, self.best_by)
        if score > self.best:
            self.best = score
            self.save("best", trainer.global_step, pl_module)

    def finish(self, step: int, task: SeparationTask) -> None:
        """Write what the training ends with as ``last``; its scores stay if it was validated."""
        if self.config.training.get("step") != step:
            self._note(step, {})
        self.save("last", step, task)

    @rank_zero_only
    def save(self, name: str, step: int, task: SeparationTask) -> None:
        """Write the task's present weights to ``output/name``, from one of the processes.

        Raises:
            ClipsepError: if they are not finite; what was written before stays.
        """
        if not all(tensor.isfinite().all() for tensor in task.model.state_dict().values()):
            raise diverged(step)
        save_checkpoint(self.output / name, self.config, task.model)

    def state_dict(self) -> dict:
        """Return the best score and those of the last validation, which a resumed run takes back."""
        scores = {k: v for k, v in self.config.training.items() if k != "config"}
        return {"best": self.best, "scores": scores}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over what `state_dict` gave."""
        self.best = state_dict.get("best", self.best)
        scores = dict(state_dict.get("scores", {}))
        self._note(scores.pop("step", None), scores)

    def _note(self, step: int | None, scores: dict[str, float]) -> None:
        """Put into the checkpoint's config what step it is of, and its scores."""
        training = {"config": self.config.training["config"], **scores}
        self.config.training.clear()
        self.config.training.update(training if step is None else {**training, "step": step})


def _nothing_heard(name: str, value: torch.Tensor) -> bool:
    """Whether an SDR is the mean of nothing, because all targets are silent.

    It is not left out where it is logged: all devices must log the same. And of a model that diverged,
    the loss is not a number either.
    """
    return name.startswith("val/sdr") and bool(value.isnan())


def _score(metrics: dict[str, float], best_by: str) -> float:
    """Compute what makes a model the best: its loss, or its mean SDR with text and image queries."""
    if best_by == "loss":
        return -metrics.get("val/loss", float("inf"))
    sdrs = [value for name, value in metrics.items() if name.startswith("val/sdr")]
    return sum(sdrs) / len(sdrs) if sdrs else -metrics.get("val/loss", float("inf"))


class ValidationExamples(Callback):
    """Writes sound, spectrogram and masks of the first validation mixtures after each validation.

    Like `ExportModel` it must stand before weight averaging, to see the averaged weights.
    """

    def __init__(self, mixtures: MixtureDataset, count: int):
        self.mixtures, self.count = mixtures, min(count, len(mixtures))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One pass per example, in the main process only."""
        assert isinstance(pl_module, SeparationTask)
        writer = _tensorboard(trainer)
        if writer is None:
            return
        for number in range(self.count):
            batch = collate([self.mixtures[number]])
            batch = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
            self._write(writer, f"example {number + 1}", batch, pl_module, trainer.global_step)

    @torch.no_grad()
    def _write(
        self, writer: SummaryWriter, name: str, batch: MixtureBatch, task: SeparationTask, step: int
    ) -> None:
        spectral = task.config.spectral
        mixture = batch.sources.sum(dim=1)
        scale = _LOUDEST / mixture.abs().max().clamp(min=1e-8)

        def write_sound(kind: str, samples: torch.Tensor) -> None:
            writer.add_audio(f"{name}/{kind}", scale * samples, step, spectral.sample_rate)

        write_sound("mixture", mixture)
        write_sound("target", batch.sources[:, 0])
        spectra = stft(batch.sources, spectral.n_fft, spectral.hop_length)
        targets = make_targets(spectra, spectral)

        def write_image(
            kind: str, image: torch.Tensor, top: float = 1.0, span: float = 1.0
        ) -> None:
            painted = np.asarray(paint(image.float().cpu().numpy(), top, span))
            writer.add_image(f"{name}/{kind}", painted, step, dataformats="HWC")

        levels = targets.log_mixture[0, 0]
        write_image("mixture", levels, float(levels.max()), _DARKEST)
        write_image("ideal mask", targets.mask[0, 0])
        for kind, query in task.validation_queries(batch).items():
            masks, estimates = task.estimate(batch.sources, query)
            write_sound(f"estimate ({kind})", estimates[:, 0])
            write_image(f"mask ({kind})", masks[0, 0])
        noise = task.noise_masks(targets.log_mixture, batch)
        if noise is not None:
            for head, mask in enumerate(noise[0]):
                write_image(f"noise mask {head + 1}", mask)


def _tensorboard(trainer: pl.Trainer) -> SummaryWriter | None:
    """Return the writer of the main process; None in the others."""
    if not trainer.is_global_zero:
        return None
    loggers = (logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))
    return next((logger.experiment for logger in loggers), None)
