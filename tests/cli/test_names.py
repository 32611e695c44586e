"""Names that are not text, that steer terminals or spreadsheets, or that would be written twice."""

from __future__ import annotations

import os
import shutil

import pytest

from clipsep.cli import main
from clipsep.messages import markdown_text, printable, spreadsheet_text

BAD = os.fsdecode(b"a\xff\xfe.wav")


def one_sentence(capsys: pytest.CaptureFixture) -> str:
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.startswith("clipsep: error: ")
    return text


@pytest.mark.parametrize("place", ["file", "folder", "output", "image"])
def test_names_that_are_not_utf_8_are_refused(tmp_path, model, recording, capsys, place):
    bad = tmp_path / "in" / BAD
    bad.parent.mkdir()
    shutil.copy(recording, bad)
    argv = {
        "file": [str(bad), "-q", "rain"],
        "folder": [str(bad.parent), "-q", "rain"],
        "output": [str(recording), "-q", "rain", "-o", str(tmp_path / BAD)],
        "image": [str(recording), "--image", str(bad.with_suffix(".png"))],
    }[place]
    assert main(["separate", *argv, "--model", str(model)]) == 2
    assert "not in UTF-8" in one_sentence(capsys)
    assert not (tmp_path / "separated").exists()


@pytest.mark.parametrize("command", ["prepare", "prepare --sounds"])
def test_a_data_set_is_not_begun_with_such_a_name(tmp_path, recording, capsys, command):
    clips = tmp_path / "in" / "rain"
    clips.mkdir(parents=True)
    for name in ("a.wav", BAD, "a.mp4", BAD.replace("wav", "mp4")):
        shutil.copy(recording, clips / name)
    assert main([*command.split(), str(clips.parent), "-o", str(tmp_path / "data")]) == 2
    assert "not in UTF-8" in one_sentence(capsys)
    assert not (tmp_path / "data").exists()


def test_a_result_never_replaces_a_recording(tmp_path, model, recording, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.wav", "a.rain.wav"):
        shutil.copy(recording, folder / name)
    files = [str(folder / "a.wav"), str(folder / "a.rain.wav")]
    argv = ["separate", *files, "-q", "rain", "-o", str(folder), "--model", str(model)]
    assert main(argv) == 2
    assert "is to be separated" in one_sentence(capsys)
    assert {path.name for path in folder.iterdir()} == {"a.wav", "a.rain.wav"}


def test_texts_of_others_are_harmless_where_they_are_shown():
    assert printable("a\x1b[31m\u202eb\n\ud800é 日本") == r"a\x1b[31m\u202eb\n\ud800é 日本"
    for formula in ("=1+1", "+1", "-1", "@SUM(A1)"):
        assert spreadsheet_text(formula) == f"'{formula}"
    assert spreadsheet_text("dog") == "dog" and spreadsheet_text(None) == ""
    assert markdown_text("a|b <script> [x](y)") == r"a\|b &lt;script&gt; \[x\](y)"
