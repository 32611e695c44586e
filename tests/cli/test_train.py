"""What `clipsep train` says at its end is a command that works with the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsep.cli.training.train import _next_command
from clipsep.training.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ("mini", "clipsep separate INPUT -q TEXT --model runs/best"),
        ("image-only", "clipsep separate INPUT --image IMAGE --model runs/best"),
        ("mini-image-only", "clipsep separate INPUT --image IMAGE --model runs/best"),
        ("labelsep", "clipsep separate INPUT -q TEXT --model runs/best"),
        ("mini-pit", "clipsep evaluate runs/best --mixtures CSV"),
    ],
)
def test_the_next_command_fits_the_model(config: str, command: str):
    assert _next_command(load_config(CONFIGS / f"{config}.yaml"), Path("runs/best")) == command
