"""Trains a tiny model as `clipsep train` would, in a process that a test can kill or look into."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import safetensors.torch
import torch

from clipsep.training import load as inputs
from clipsep.training import train as run
from clipsep.training.config import TrainingConfig
from clipsep.training.task import SeparationTask


class TinyEncoder:
    """Text side of the embeddings that `tests.helpers.datasets` makes."""

    id, dim = "tiny", 4

    def encode_texts(self, texts):
        rows = [["hum" in text, "hiss" in text, 0, 0] for text in texts]
        return np.array(rows, np.float32)


def tiny_config(root: Path, **changes) -> TrainingConfig:
    """A few steps of a network of a few thousand parameters on the stores below ``root``."""
    settings = {
        "name": "tiny",
        "output": root / "run",
        "data": {"train": root / "train", "val": root / "val"},
        "query_encoder": "tiny",
        "query_noise": 0.1,
        "model": {
            "network": {"kind": "patch_unet", "widths": [4, 8]},
            "feature_channels": 4,
            "query_activation": "none",
            "noise_heads": 2,
        },
        "spectral": {"segment_frames": 64},
        "mixing": {"margin": 1.0, "jitter": 0.5, "target_rms": 0.1},
        "loss": {"kind": "nit", "union": "either", "sdr_weight": 0.3},
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9},
        "steps": 12,
        "batch_size": 2,
        "validate_every": 4,
        "validation_mixtures": 4,
        "save_every": 3,
        "log_every": 1,
        "device": "cpu",
    }
    return TrainingConfig.model_validate({**settings, **changes})


def train_tiny(root: Path, **changes) -> Path:
    """Run or resume it."""
    with mock.patch.object(inputs, "load_query_encoder", lambda name, **_: TinyEncoder()):
        return run.train(tiny_config(root, **changes), progress=False)


class RecordingTask(SeparationTask):
    """Writes which mixtures each process saw, and the first step's gradient, as files in the root.

    Batch norm is frozen, because it sees only the part of a batch that is on its device.
    """

    def on_train_start(self):
        self.seen = []
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()

    def training_step(self, batch, batch_idx):
        self.seen += batch.position.tolist()
        return super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer):
        if self.global_step == 0 and self.global_rank == 0:
            gradient = {name: weight.grad for name, weight in self.named_parameters()}
            safetensors.torch.save_file(
                gradient, self.config.output.parent / "gradient.safetensors"
            )

    def on_train_end(self):
        path = self.config.output.parent / f"seen-{self.global_rank}.json"
        path.write_text(json.dumps(self.seen))


if __name__ == "__main__":
    torch.set_num_threads(1)
    root, changes = Path(sys.argv[1]), json.loads(sys.argv[2])
    if changes.pop("record", False):
        run.SeparationTask = RecordingTask
    train_tiny(root, **changes)
