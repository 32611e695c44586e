"""The tutorial notebook runs from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "tutorial.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch, tmp_path):
    (tmp_path / "examples").symlink_to(NOTEBOOK.parent)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert (tmp_path / "separated" / "example.violin.wav").is_file()
    assert names["found"].sounds[0].spans
