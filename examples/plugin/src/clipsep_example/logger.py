"""A logger of one's own: one line of JSON for each time that something is logged."""

from __future__ import annotations

import json
from pathlib import Path

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class JsonLinesLogger(Logger):
    """Appends to a file; on several devices Lightning's rank zero alone writes.

    Args:
        path: an option of the config, ``loggers.jsonl.path``.
    """

    name, version = "jsonl", ""

    def __init__(self, path: str):
        super().__init__()
        self._path = Path(path)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Nothing: the config stands in the model."""
