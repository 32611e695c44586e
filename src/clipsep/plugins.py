"""Parts from other packages, found by an entry point's name or by a dotted path that the user trusts."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from clipsep.errors import ClipsepError, UsageError

# The groups of entry points, and what one of their members is called in a sentence.
NETWORKS = "clipsep.networks"
LOSSES = "clipsep.losses"
QUERY_ENCODERS = "clipsep.query_encoders"
PROMPTS = "clipsep.prompts"
SAMPLERS = "clipsep.samplers"
LOGGERS = "clipsep.loggers"
_NOUNS = {
    NETWORKS: "network",
    LOSSES: "loss",
    QUERY_ENCODERS: "query encoder",
    PROMPTS: "prompt set",
    SAMPLERS: "sampler",
    LOGGERS: "logger",
}
TRUSTED = "CLIPSEP_TRUST"  # environment variable: packages whose code a model may name
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def installed(group: str) -> list[str]:
    """Names that installed packages add to a group, sorted."""
    return sorted(entry_points(group=group).names)


def is_known(group: str, name: str) -> bool:
    """Whether an installed package has the name, or it is a dotted path; nothing is imported."""
    return is_dotted(name) or name in entry_points(group=group).names


def is_dotted(name: str) -> bool:
    """Whether a name is the path of code: ``package.module.Name``."""
    return _DOTTED.fullmatch(name) is not None


def trust(*names: str) -> None:
    """Allow dotted paths that the user wrote, here and in the processes that this one starts.

    What follows a colon is not part of a name, and names that are not dotted paths are ignored. What a
    checkpoint names must never come here: it may be somebody else's.
    """
    paths = [name.partition(":")[0] for name in names]
    packages = {path.partition(".")[0] for path in paths if is_dotted(path)}
    if packages:
        os.environ[TRUSTED] = ",".join(sorted(_trusted() | packages))


def load_plugin(group: str, name: str, known: Iterable[str] = ()) -> Any:
    """Import the part called ``name``.

    Args:
        group: a group of entry points, such as `NETWORKS`.
        name: that of an entry point, or a dotted path ``package.module.Name`` of a trusted package, which
            may also lie in the working folder.
        known: names that the package has itself, for the message.

    Raises:
        UsageError: if there is no such part.
        ClipsepError: if its code is not trusted, or cannot be imported.
    """
    noun = _NOUNS[group]
    points = entry_points(group=group)
    if name not in points.names and not is_dotted(name):
        listed = ", ".join([*known, *sorted(points.names)])
        raise UsageError(
            f"Unknown {noun} '{name}': known are {listed}, and a dotted path such as package.module.Name."
        )
    try:
        part = points[name].load() if name in points.names else _import(noun, name)
    except ClipsepError:
        raise
    except Exception as error:  # whatever somebody's code raises as it is imported
        raise ClipsepError(f"The {noun} '{name}' cannot be imported: {error}.") from error
    if group != PROMPTS and not callable(part):
        kind = type(part).__name__
        raise ClipsepError(f"The {noun} '{name}' is no class or function, but of the type {kind}.")
    return part


def _import(noun: str, name: str) -> Any:
    package = name.partition(".")[0]
    if package not in _trusted():
        raise ClipsepError(
            f"The {noun} '{name}' is code outside of clipsep: if you trust the package '{package}', set "
            f"{TRUSTED}={package}."
        )
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing that is installed can be replaced
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def _trusted() -> set[str]:
    return set(filter(None, os.environ.get(TRUSTED, "").replace(" ", "").split(",")))
