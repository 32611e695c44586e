"""`clipsep check`: a line and exit code 1 for what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

from clipsep.cli import main
from tests.helpers.audio import tones, write
from tests.helpers.datasets import make_dataset


def test_recordings_models_and_data_sets(tmp_path: Path, model: Path, recording: Path, capsys):
    make_dataset(tmp_path / "set", clips=2, seconds=1.0)
    assert main(["check", str(recording), str(model), "mini", str(tmp_path / "set")]) == 0
    assert "checked: 6 files, 0 damaged." in capsys.readouterr().out


def test_damage_is_named(tmp_path: Path, model: Path, capsys):
    folder = tmp_path / "songs"
    folder.mkdir()
    whole = write(folder / "a.flac", tones(16_000, 1, 1.0), 16_000, format="flac")
    (folder / "b\x1b[31m.flac").write_bytes(whole.read_bytes()[:-1000])
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main(["check", str(folder), str(model)]) == 1
    out = capsys.readouterr().out
    assert "checked: 3 files, 2 damaged." in out and "\x1b" not in out
    assert r"b\x1b[31m.flac" in out and "tiny" in out
    assert main(["check", "--json", str(folder)]) == 1
    problems = [finding["problem"] for finding in json.loads(capsys.readouterr().out)]
    assert problems[0] is None and "truncated" in problems[1]


def test_a_damaged_index_is_a_finding(tmp_path: Path, capsys):
    make_dataset(tmp_path / "set", clips=2, seconds=1.0)
    index = tmp_path / "set" / "index.arrow"
    index.write_bytes(index.read_bytes()[:-1])
    assert main(["check", str(tmp_path / "set")]) == 1
    assert "index.arrow" in capsys.readouterr().out


def test_nothing_to_check(tmp_path: Path, capsys):
    assert main(["check", str(tmp_path / "nothing")]) == 2
    assert main(["check", str(tmp_path)]) == 2
