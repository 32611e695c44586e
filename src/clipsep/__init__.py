"""Separate the sound that a text or a picture names out of any recording.

    from clipsep import Separator

    separator = Separator.from_pretrained("mini")
    result = separator.separate(waveform, sample_rate, queries=["dog barking", "rain"])

Importing this package is cheap: torch is imported with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clipsep.errors import ClipsepError, UsageError

if TYPE_CHECKING:
    from clipsep.checkpoint import load_checkpoint, save_checkpoint, shipped_models
    from clipsep.files import FileReport, TrackReport
    from clipsep.queries import QueryEncoder, load_query_encoder
    from clipsep.separator import SeparationResult, Separator

_HOME = {
    "FileReport": "clipsep.files",
    "QueryEncoder": "clipsep.queries",
    "SeparationResult": "clipsep.separator",
    "Separator": "clipsep.separator",
    "TrackReport": "clipsep.files",
    "load_checkpoint": "clipsep.checkpoint",
    "load_query_encoder": "clipsep.queries",
    "save_checkpoint": "clipsep.checkpoint",
    "shipped_models": "clipsep.checkpoint",
}

__version__ = "0.1.0"
__all__ = [
    "ClipsepError",
    "FileReport",
    "QueryEncoder",
    "SeparationResult",
    "Separator",
    "TrackReport",
    "UsageError",
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
    return sorted([*__all__, "__version__"])
