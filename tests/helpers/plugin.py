"""The example package of examples/plugin as if pip had installed it, for this process and its children."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples/plugin"


def install_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put its code and its entry points, as its pyproject.toml states them, on the import path."""
    metadata = folder / "clipsep_example-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: clipsep-example\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(_entry_points())
    places = [str(folder), str(PLUGIN / "src")]
    for place in places:
        monkeypatch.syspath_prepend(place)
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*places, inherited]))


def forget_example() -> None:
    """Let another test import it again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "clipsep_example"]:
        del sys.modules[name]


def _entry_points() -> str:
    """As setuptools and hatchling write them: [group], then name = module:attribute."""
    lines: list[str] = []
    for line in (PLUGIN / "pyproject.toml").read_text().splitlines():
        if line.startswith("["):
            _, _, group = line.strip("[]").partition("entry-points.")
            lines += [f"[{group.strip(chr(34))}]"] if group else []
            inside = bool(group)
        elif lines and inside and " = " in line and not line.startswith("#"):
            lines.append(line.replace('"', ""))
    return "\n".join(lines) + "\n"
