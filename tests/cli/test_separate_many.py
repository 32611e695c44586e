"""`clipsep separate` on folders: each file as if alone, bad ones listed, finished ones left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clipsep.cli import main
from clipsep.media import probe
from tests.helpers.audio import tones, write
from tests.helpers.folders import contents


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three sounds in two folders, one of them cut in half, and a text."""
    folder = tmp_path / "recordings"
    (folder / "night").mkdir(parents=True)
    for number, name in enumerate(("street.wav", "night/street.wav", "night/cut.wav")):
        write(folder / name, tones(16_000, 1, 1.0 + 0.5 * number), 16_000)
    whole = (folder / "night/cut.wav").read_bytes()
    (folder / "night/cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture
def separate(tmp_path: Path, model: Path):
    """Runs the command into tmp_path / "out"."""

    def run(*argv: object, query: str = "rain") -> int:
        words = ["separate", *argv, "-q", query, "-o", tmp_path / "out", "--model", model]
        return main([str(word) for word in [*words, "--workers", 1]])

    return run


def test_every_good_file_is_separated_under_its_own_folder(recordings, separate, tmp_path, capsys):
    assert separate(recordings) == 0
    out = tmp_path / "out"
    assert set(contents(out)) == {
        out / "street.rain.wav",
        out / "night",
        out / "night/street.rain.wav",
        out / "report.jsonl",
    }
    assert probe(out / "night/street.rain.wav").seconds == 1.5
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"failed: {recordings / 'night/cut.wav'} ")
    assert first.count("cut.wav") == 1
    assert last.startswith(f"files: 2 separated in {out} (2 of them now), 1 failed")


def test_a_folder_gives_what_single_files_give(recordings, separate, tmp_path):
    assert separate(recordings) == 0
    many = (tmp_path / "out/night/street.rain.wav").read_bytes()
    assert separate(recordings / "night/street.wav") == 0
    assert (tmp_path / "out/street.rain.wav").read_bytes() == many


def test_json_is_the_list_of_the_report(recordings, separate, tmp_path, capsys):
    assert separate(recordings, "--json", "--residual") == 0
    printed = capsys.readouterr()
    entries = json.loads(printed.out)
    assert printed.err == ""
    assert [(Path(entry["input"]).name, entry["status"]) for entry in entries] == [
        ("cut.wav", "failed"),
        ("street.wav", "separated"),
        ("street.wav", "separated"),
    ]
    lines = (tmp_path / "out/report.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == entries
    assert "cut.wav" in entries[0]["reason"] and entries[1]["reason"] is None
    assert entries[1]["targets"][0]["query"] == "rain"
    assert Path(entries[1]["residual"]["file"]).is_file()


def test_all_bad_is_a_failure(recordings, separate, capsys):
    assert separate(recordings / "night/cut.wav", recordings / "notes.txt") == 1
    assert "0 separated" in capsys.readouterr().out.splitlines()[-1]


def test_only_what_is_missing_changed_or_asked_for_differently_is_done_again(
    recordings, separate, tmp_path, capsys
):
    def count(*argv: object, **options: str) -> int:
        """How many were separated now."""
        capsys.readouterr()
        assert separate(recordings, *argv, **options) == 0
        return int(capsys.readouterr().out.split("(")[-1].split(" of them now")[0])

    assert count() == 2
    assert count() == 0
    (tmp_path / "out/street.rain.wav").unlink()
    assert count() == 1
    write(recordings / "street.wav", tones(16_000, 1, 0.7), 16_000)
    assert count() == 1
    assert probe(tmp_path / "out/street.rain.wav").seconds == 0.7
    assert count("--binary") == 2
    assert count() == 2, "the files are those of binary masks"
    assert count(query="dog") == 2
    # Another run wrote to the same file.
    assert separate(recordings / "street.wav") == 0
    assert count(query="dog") == 0
    assert count() == 2
    shutil.copy(recordings / "street.wav", recordings / "night/cut.wav")
    assert count() == 1


def test_a_run_that_was_killed_goes_on(recordings, separate, tmp_path, capsys):
    assert separate(recordings) == 0
    report = tmp_path / "out/report.jsonl"
    lines = report.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    report.write_text("".join(lines[:2]) + lines[2][:50])
    leftover = tmp_path / "out/.street.rain.wav.0123abcd.part"
    leftover.touch()
    foreign = tmp_path / "out/.else.wav.0123abcd.part"
    foreign.touch()
    capsys.readouterr()
    assert separate(recordings) == 0
    assert "2 separated" in (out := capsys.readouterr().out) and "(1 of them now)" in out
    inputs = [json.loads(line)["input"] for line in report.read_text().splitlines()]
    assert inputs == [json.loads(line)["input"] for line in lines]
    assert not leftover.exists() and foreign.exists()


def test_outputs_are_no_inputs(recordings, model, tmp_path, capsys):
    out = recordings / "night" / "out"
    argv = ["separate", recordings, "-q", "rain", "-o", out, "--model", model, "--workers", 1]
    for _ in range(2):
        assert main([str(word) for word in argv]) == 0
        assert "2 separated" in capsys.readouterr().out


def test_outputs_behind_a_link_are_no_inputs(recordings, model, tmp_path, capsys):
    out = tmp_path / "elsewhere" / "out"
    out.parent.mkdir()
    (recordings / "link").symlink_to(out.parent)
    argv = ["separate", recordings, "-q", "rain", "-o", out, "--model", model, "--workers", 1]
    for _ in range(2):
        assert main([str(word) for word in argv]) == 0
        assert "2 separated" in capsys.readouterr().out


def test_senseless_requests_are_refused(refused, recordings, model, tmp_path):
    common = ["-q", "rain", "--model", model, "--workers", 1]
    (tmp_path / "empty").mkdir()
    refused(2, "separate", tmp_path / "empty", *common, names=tmp_path / "empty")
    refused(2, "separate", recordings, "missing.wav", *common, names="missing.wav")
    refused(2, "separate", recordings, *common, "-o", recordings, names="-o")
    refused(2, "separate", recordings, *common, "--format", "wave", names="wave")
    refused(2, "separate", recordings, *common, "-q", " ", names="empty")
    refused(2, "separate", recordings, "-q", "rain", "--model", "maxi", names="maxi")
    refused(2, "separate", recordings, *common, "--ray", "here", names="HOST:PORT")
    same = tmp_path / "elsewhere" / "street.wav"
    same.parent.mkdir()
    shutil.copy(recordings / "street.wav", same)
    twice = refused(2, "separate", recordings, same, *common, names=recordings / "street.wav")
    assert "would both be written" in twice and str(same) in twice


def test_a_video_and_its_sound_of_one_name_keep_their_extensions(recordings, model, tmp_path):
    """b.wav beside b.mp4, also where each has a figure; all else is called as ever."""
    shutil.copy(recordings / "street.wav", recordings / "street.flac")
    out = tmp_path / "out"
    argv = ["separate", recordings, "-q", "rain", "-o", out, "--model", model, "--workers", 1]
    assert main([str(word) for word in [*argv, "--plot"]]) == 0
    names = {path.name for path in out.glob("street*")}
    assert names == {
        f"street.{kind}.{end}"
        for kind in ("wav", "flac")
        for end in ("rain.wav", "spectrogram.png")
    }
    others = {path.name for path in (out / "night").iterdir()}
    assert others == {"street.rain.wav", "street.spectrogram.png"}
