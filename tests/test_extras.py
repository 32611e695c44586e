"""What an extra promises needs nothing but what that extra installs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

_BLOCK = """
import sys
from importlib.machinery import PathFinder

class Without:
    names = set(NAMES)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = name.partition(".")[0] not in cls.names
        return PathFinder.find_spec(name, path, target) if found else None

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
PROMISES = {
    "train": """
import clipsep.datasets.prepare.embed, clipsep.datasets.prepare.videos
import clipsep.training.callbacks.progress, clipsep.training.callbacks.validation
import clipsep.training.train, clipsep.workflows.finetune
from clipsep.cli import main
sys.exit(main(["train", "--help"]))
""",
    "eval": """
import clipsep.evaluation.evaluate, clipsep.evaluation.report.files, clipsep.metrics
from clipsep.cli import main
sys.exit(main(["evaluate", "--help"]))
""",
    "serve": "import clipsep.serving.server, clipsep.serving.app",
    "export": "import clipsep.engines.export",
    "torch": "import clipsep.engines.pytorch, clipsep.models.registry",
    "clip": "import clipsep.queries.clip",
    "hub": "import clipsep.workflows.hub, huggingface_hub",
    "plot": "import clipsep.separation.files.figure, matplotlib.figure",
}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by(extra: str) -> set[str]:
    """Names of all distributions that ``pip install clipsep[extra]`` brings."""
    found: set[str] = set()
    waiting = [("clipsep", frozenset({extra}))]
    done = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system
        found.add(name)
        for text in requirements:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in (extras or {""})):
                waiting.append((_normal(requirement.name), frozenset(requirement.extras)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("extra", PROMISES)
def test_an_extra_suffices(extra: str, tmp_path) -> None:
    brought = installed_by(extra)
    blocked = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {_normal(owner) for owner in owners} & brought
    ]
    assert "pytest" in blocked, "else this tests nothing"
    code = _BLOCK.replace("NAMES", repr(blocked)) + PROMISES[extra]
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-2000:]
