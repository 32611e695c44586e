"""Evaluation of models on lists of test mixtures: `evaluate` gives a `Report`, `write_report` a folder.

Importing this package is cheap, as some of its modules need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipsep.evaluation.protocol import evaluate
    from clipsep.evaluation.report import Report
    from clipsep.evaluation.report_files import write_report

_HOME = {
    "Report": "clipsep.evaluation.report",
    "evaluate": "clipsep.evaluation.protocol",
    "write_report": "clipsep.evaluation.report_files",
}
__all__ = ["Report", "evaluate", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'clipsep.evaluation' has no attribute '{name}'")
