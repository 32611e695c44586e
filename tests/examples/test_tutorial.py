"""The tutorial notebook runs from top to bottom."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "examples" / "tutorial.ipynb"


def test_the_notebook_runs(monkeypatch, tmp_path):
    (tmp_path / "examples").mkdir()
    shutil.copy(NOTEBOOK.with_name("speech-and-violin.flac"), tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert len(list((tmp_path / "temporary").glob("*/example.violin.wav"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"examples", "temporary"}
    assert names["found"].sounds[0].spans
    levels = {query: told.familiarity.level for query, told in names["asked"].feedback.items()}
    assert levels == {"violin": "known", "puppy yapping": "near", "theremin": "unknown"}
