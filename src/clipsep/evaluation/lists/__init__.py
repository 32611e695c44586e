"""Readers of public test lists, by name: their columns and mixing rules as test mixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clipsep.errors import UsageError
from clipsep.evaluation.lists.audiosep import read_audiosep
from clipsep.evaluation.lists.captioned import read_clapsep, read_dcase
from clipsep.evaluation.lists.hive import read_hive
from clipsep.evaluation.lists.plain import read_files, read_recipes
from clipsep.evaluation.mixtures import Mixture, read_mixture_list

Reader = Callable[[Path, Path], list[Mixture]]  # (the list, the folder of its sounds)
READERS: dict[str, Reader] = {
    "audiosep": read_audiosep,
    "clapsep": read_clapsep,
    "dcase": read_dcase,
    "hive": read_hive,
    "files": read_files,
    "snr": read_recipes,
}


def split_name(name: str | Path) -> tuple[str | None, Path]:
    """``audiosep:esc50_eval.csv`` as its kind and file; the kind of the package's own lists is None."""
    kind, separator, path = str(name).partition(":")
    if separator and kind in READERS:
        return kind, Path(path)
    if separator and not Path(name).exists() and kind.isalnum() and len(kind) > 1:
        raise UsageError(f"'{kind}' is not a kind of list: choose one of {', '.join(READERS)}.")
    return None, Path(name)


def read_any(name: str | Path, audio: str | Path | None = None) -> list[Mixture]:
    """Read the mixtures of a public list, ``KIND:FILE``, or of one of the package's own, ``FILE``.

    Args:
        audio: the folder of its sounds; by default the list's own.

    Raises:
        UsageError: if the list cannot be read or names a sound that does not exist.
    """
    kind, path = split_name(name)
    if kind is None:
        return read_mixture_list(path, audio, must_exist=True)
    mixtures = READERS[kind](path, Path(audio) if audio else path.parent)
    if not mixtures:
        raise UsageError(f"'{path}' lists no mixtures.")
    seen: set[str] = set()
    for mixture in mixtures:
        if mixture.id in seen:
            raise UsageError(f"'{path}' has the id '{mixture.id}' twice.")
        seen.add(mixture.id)
        mixture.require_sounds(f"'{path}', mixture {mixture.id}")
    return mixtures
