"""`clipsep train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML file; see configs/.", metavar="CONFIG.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes of it.", metavar="key=value")
    ] = None,
) -> None:
    """Train a model as a config says.

    Run the command again to go on after an interrupt.
    """
    from clipsep.training.config import load_config
    from clipsep.training.run import is_main_process
    from clipsep.training.run import train as run_training

    settings = load_config(config, overrides)
    try:
        best = run_training(settings, progress=sys.stderr.isatty())
    except SystemExit as error:
        # Lightning turns Ctrl-C into this.
        raise KeyboardInterrupt from error
    if is_main_process():
        print(f"The best model is in {best}: clipsep separate INPUT -q TEXT --model {best}")
