"""Laws of a training run: it learns, it resumes exactly, it refuses unfit data before it starts."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from clipsep.checkpoint import load_checkpoint
from clipsep.errors import ClipsepError, UsageError
from tests.stores import make_store
from tests.training.run_tiny import train_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_store(tmp_path / "train")
    make_store(tmp_path / "val", clips=4)
    return tmp_path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_a_run_ends_with_checkpoints_and_a_log(root: Path):
    best = train_tiny(root)
    config = load_checkpoint(best).config
    assert config.query_encoder == "tiny" and config.model.query_dim == 4
    assert {"val/sdr_image", "val/sdr_text", "step"} <= set(config.training)
    assert (root / "run/last/config.json").is_file()
    with open(root / "run/log/version_0/metrics.csv", newline="") as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    logged = {"train/loss", "train/learning_rate", "train/noise_activation", "val/loss"}
    assert logged <= columns and {"val/sdr_image", "val/sdr_text"} <= columns


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(root: Path):
    """SIGKILL after the first save; the same command again goes on, bit for bit."""
    command = [sys.executable, "-m", "tests.training.run_tiny", str(root)]
    process = subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    resume = root / "run/resume.ckpt"
    deadline = time.monotonic() + 120
    while not resume.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    step = torch.load(resume, weights_only=False)["global_step"]
    assert 0 < step < 12
    subprocess.run(command, check=True)
    resumed = weights(root / "run/last")
    shutil.rmtree(root / "run")
    subprocess.run(command, check=True)
    unbroken = weights(root / "run/last")
    assert resumed.keys() == unbroken.keys()
    for name, tensor in unbroken.items():
        assert torch.equal(resumed[name], tensor), name


def test_training_learns_to_follow_the_query(root: Path):
    best = train_tiny(
        root,
        steps=120,
        validate_every=120,
        batch_size=6,
        optimizer={"learning_rate": 0.02, "warmup_steps": 5, "average": 0.9},
    )
    scores = load_checkpoint(best).config.training
    # The untrained masks are flat and score 3 dB on two equally loud sources.
    assert scores["val/sdr_image"] > 6
    assert scores["val/sdr_text"] > 6


def test_missing_embeddings_are_refused_before_training(root: Path):
    shutil.rmtree(root / "train/embeddings")
    with pytest.raises(ClipsepError, match="clipsep embed"):
        train_tiny(root)
    assert not (root / "run").exists()


def test_a_state_that_cannot_be_resumed_is_named_and_the_models_stay(root: Path):
    train_tiny(root, steps=4)
    kept = weights(root / "run/best")
    wider = {"network": {"kind": "patch_unet", "widths": [8, 8]}, "noise_heads": 2}
    with pytest.raises(UsageError, match="another shape"):
        train_tiny(root, steps=8, model=wider)
    resume = root / "run/resume.ckpt"
    resume.write_bytes(resume.read_bytes()[:1000])
    with pytest.raises(ClipsepError, match="damaged"):
        train_tiny(root, steps=8)
    assert all(
        torch.equal(kept[name], tensor) for name, tensor in weights(root / "run/best").items()
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named(root: Path):
    with pytest.raises(UsageError, match="no CUDA device"):
        train_tiny(root, device="cuda")
