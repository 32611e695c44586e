"""Trains a tiny model as `clipsep train` would, in a process that a test can kill."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import torch

from clipsep.training import inputs, run
from clipsep.training.config import TrainingConfig


class TinyEncoder:
    """Text side of the embeddings that `tests.stores` makes."""

    id, dim = "tiny", 4

    def encode_texts(self, texts):
        rows = [["hum" in text, "hiss" in text, 0, 0] for text in texts]
        return torch.tensor(rows, dtype=torch.float32)


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
        "mixing": {"margin": 1.0, "jitter": 0.5, "rms": 0.1},
        "loss": {"kind": "nit", "union": "either", "sdr_weight": 0.3},
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 2, "average": 0.9},
        "steps": 12,
        "batch_size": 2,
        "validate_every": 4,
        "validation_pairs": 4,
        "save_every": 3,
        "log_every": 1,
        "device": "cpu",
    }
    return TrainingConfig.model_validate({**settings, **changes})


def train_tiny(root: Path, **changes) -> Path:
    """Run or resume it."""
    with mock.patch.object(inputs, "load_query_encoder", lambda name: TinyEncoder()):
        return run.train(tiny_config(root, **changes), progress=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_tiny(Path(sys.argv[1]), **json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}"))
