"""What a training tells a person: what it trains with at the start, then how far it is.

On a terminal one line is kept up to date; elsewhere a line is written every few steps.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from clipsep.messages import Progress, counted


def describe_start(model: nn.Module, device: torch.device, clips: int, output: Path) -> str:
    """One line about what is trained: "Training 1.2 million parameters on cpu, with 36 clips ..."."""
    parameters = sum(weight.numel() for weight in model.parameters())
    size = f"{parameters / 1e6:.1f} million" if parameters >= 1e5 else f"{parameters:,}"
    return f"Training {size} parameters on {device}, with {counted(clips, 'clip')}, in '{output}'."


class StepLines(Callback):
    """Steps of steps, loss, rate and time left; and the scores after each validation.

    Args:
        steps: length of the whole run.
        every: steps between two lines where there is no terminal.
    """

    def __init__(self, steps: int, every: int):
        self._steps, self._every = steps, every
        self._is_terminal = sys.stderr.isatty()
        self._width = 0

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rates are of this start alone."""
        self._first, self._shown = trainer.global_step, trainer.global_step
        self._began = time.monotonic()
        if self._first:
            self._write(f"Continuing from step {self._first} of {self._steps}.")

    @rank_zero_only
    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Write a line if it is time for one."""
        step = trainer.global_step
        due = self._is_terminal or step % self._every == 0 or step == self._steps
        if step == self._shown or not due:
            return
        self._shown = step
        rate = (step - self._first) / max(time.monotonic() - self._began, 1e-9)
        loss = trainer.callback_metrics.get("train/loss")
        said = f"loss {loss.item():.4f}, " if loss is not None else ""
        left = _duration((self._steps - step) / rate)
        line = f"step {step} of {self._steps}: {said}{rate:.2f} steps/s, {left} left"
        self._write(line, stays=step == self._steps)

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the scores."""
        metrics = trainer.callback_metrics.items()
        scores = [f"{name} {value:.3f}" for name, value in metrics if name.startswith("val/")]
        self._write(f"validated at step {trainer.global_step}: {', '.join(scores)}")

    def _write(self, line: str, stays: bool = True) -> None:
        if not self._is_terminal:
            print(line, file=sys.stderr, flush=True)
            return
        end = "\n" if stays else ""
        print(f"\r{line.ljust(self._width)}", end=end, file=sys.stderr, flush=True)
        self._width = 0 if stays else len(line)


class StepCount(Callback):
    """Call a function with the steps that are done, and those of the whole run."""

    def __init__(self, steps: int, progress: Progress):
        self._steps, self._progress = steps, progress

    @rank_zero_only
    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Count the steps that were done before an interrupt, too."""
        self._progress(trainer.global_step, self._steps)


def _duration(seconds: float) -> str:
    """Write a duration as text: "12 s", "3 min", "2 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
