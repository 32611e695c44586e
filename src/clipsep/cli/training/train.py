"""`clipsep train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clipsep.training.config import TrainingConfig


def train(
    config: Annotated[Path, typer.Argument(help="YAML file; see configs/.", metavar="CONFIG.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes of it.", metavar="key=value")
    ] = None,
) -> None:
    """Train a model as a config says.

    After an interruption, run the command again: it continues.
    """
    from clipsep.training.config import load_config
    from clipsep.training.train import is_main_process
    from clipsep.training.train import train as run_training

    settings = load_config(config, overrides)
    try:
        folder = run_training(settings)
    except SystemExit as error:
        # Lightning turns Ctrl-C into this.
        raise KeyboardInterrupt from error
    if is_main_process():
        rank = "last" if folder.name == "last" else "best"
        print(f"The {rank} model is in {folder}: {_next_command(settings, folder)}")


def _next_command(settings: TrainingConfig, folder: Path) -> str:
    """Describe what the model is good for."""
    if settings.query == "none":
        return f"clipsep evaluate {folder} --mixtures CSV"
    query = "--image IMAGE" if settings.query_encoder.startswith("efficientnet") else "-q TEXT"
    return f"clipsep separate INPUT {query} --model {folder}"
