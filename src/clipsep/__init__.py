"""Separate the sound that a text or an image names out of any recording.

    from clipsep import Separator

    separator = Separator.from_pretrained("mini")
    result = separator.separate(waveform, sample_rate, queries=["dog barking", "rain"])

Importing this package is cheap: torch is imported with the first name that needs it.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from clipsep._version import __version__
from clipsep.errors import ClipsepError, UsageError

# Some builds of ONNX Runtime report their use: what is done on this machine stays on this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from clipsep.checkpoint import load_checkpoint, save_checkpoint, shipped_models
    from clipsep.queries import QueryEncoder, load_query_encoder
    from clipsep.queries.known import Familiarity
    from clipsep.queries.parsing import Frame
    from clipsep.separation.files.outputs import FileReport, TrackReport
    from clipsep.separation.masking.confidence import QueryFeedback
    from clipsep.separation.options import SeparationOptions
    from clipsep.separation.result import SeparationResult
    from clipsep.separation.separator import Separator

_HOME = {
    "Familiarity": "clipsep.queries.known",
    "FileReport": "clipsep.separation.files.outputs",
    "Frame": "clipsep.queries.parsing",
    "QueryEncoder": "clipsep.queries",
    "QueryFeedback": "clipsep.separation.masking.confidence",
    "SeparationOptions": "clipsep.separation.options",
    "SeparationResult": "clipsep.separation.result",
    "Separator": "clipsep.separation.separator",
    "TrackReport": "clipsep.separation.files.outputs",
    "load_checkpoint": "clipsep.checkpoint",
    "load_query_encoder": "clipsep.queries",
    "save_checkpoint": "clipsep.checkpoint",
    "shipped_models": "clipsep.checkpoint",
}

__all__ = [
    "ClipsepError",
    "Familiarity",
    "FileReport",
    "Frame",
    "QueryEncoder",
    "QueryFeedback",
    "SeparationOptions",
    "SeparationResult",
    "Separator",
    "TrackReport",
    "UsageError",
    "__version__",
    "load_checkpoint",
    "load_query_encoder",
    "save_checkpoint",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'clipsep' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
