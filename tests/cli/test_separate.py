"""`clipsep separate` on good input: the files add up to the recording, and the report is true."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from clipsep import Separator
from clipsep.cli import main
from clipsep.media import AudioWriter, probe, read_audio
from tests.helpers.audio import tones, write, write_video


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (48_000, 6), (192_000, 2)])
def test_files_have_the_inputs_shape_and_add_up_to_it(tmp_path, model, rate, channels):
    mixture = tones(rate, channels, 1.7)
    path = write(tmp_path / "in.wav", mixture, rate)
    out = tmp_path / "out"
    queries = ["-q", "dog barking", "-q", "rain"]
    assert (
        main(["separate", str(path), *queries, "-o", str(out), "--residual", "--model", str(model)])
        == 0
    )
    parts = {file.name: read_audio(file) for file in out.iterdir()}
    assert set(parts) == {"in.dog-barking.wav", "in.rain.wav", "in.residual.wav"}
    for audio, part_rate in parts.values():
        assert part_rate == rate
        assert audio.shape == mixture.shape
    total = sum(audio for audio, _ in parts.values())
    np.testing.assert_allclose(total, mixture, atol=1e-6)
    assert np.abs(parts["in.rain.wav"][0]).max() > 1e-3


def test_long_input_is_separated_as_the_python_api_does(tmp_path, model):
    mixture = tones(16_000, 1, 9.3)
    path = write(tmp_path / "in.wav", mixture, 16_000)
    assert (
        main(["separate", str(path), "-q", "rain", "-o", str(tmp_path), "--model", str(model)]) == 0
    )
    result = Separator.from_pretrained(model).separate(mixture, 16_000, ["rain"])
    separated, _ = read_audio(tmp_path / "in.rain.wav")
    np.testing.assert_allclose(separated, result.targets["rain"], atol=1e-6)


def test_json_is_all_of_the_output_and_true(recording, model, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["separate", recording, "-q", "rain", "-q", "a [red] siren", "-o", out, "--residual"]
    assert main([*map(str, argv), "--model", str(model), "--plot", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    report = json.loads(printed.out)
    assert (report["sample_rate"], report["channels"], report["seconds"]) == (44_100, 2, 2.0)
    assert report["input"] == str(recording)
    assert [target["query"] for target in report["targets"]] == ["rain", "a [red] siren"]
    mixture, _ = read_audio(recording)
    for track in [*report["targets"], report["residual"]]:
        audio, _ = read_audio(track["file"])
        energy = np.square(audio, dtype=np.float64)
        assert track["level_dbfs"] == pytest.approx(10 * np.log10(energy.mean()), abs=1e-3)
        share = energy.sum() / np.square(mixture, dtype=np.float64).sum()
        assert track["energy_share"] == pytest.approx(share, rel=1e-3)
        assert track["clipped_samples"] == 0
    with Image.open(report["figure"]) as image:
        assert image.format == "PNG"
    assert len(list(out.iterdir())) == 4


def test_the_table_names_every_query_as_given_and_stderr_is_quiet(
    recording, model, tmp_path, capsys
):
    argv = ["separate", recording, "-q", "a [red] siren", "-o", tmp_path / "out", "--model", model]
    assert main(list(map(str, argv))) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "a [red] siren" in printed.out
    assert str(tmp_path / "out" / "street.a-red-siren.wav") in printed.out
    assert "dBFS" in printed.out and "100.0 %" in printed.out
    assert "residual" not in printed.out


def test_images_are_queries_and_videos_are_recordings(tmp_path, model, capsys):
    write_video(tmp_path / "film.mp4", seconds=2.0)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "dog.png")
    argv = ["separate", tmp_path / "film.mp4", "--image", tmp_path / "dog.png", "-q", "rain"]
    assert (
        main([*map(str, argv), "-o", str(tmp_path / "out"), "--model", str(model), "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert [target["query"] for target in report["targets"]] == ["rain", "dog.png"]
    info = probe(tmp_path / "film.mp4")
    assert (report["sample_rate"], report["channels"]) == (info.sample_rate, info.channels)


@pytest.mark.parametrize("format", ["flac", "mp3", "ogg", "opus", "m4a"])
def test_every_format_is_written(tmp_path, model, format):
    path = write(tmp_path / "in.wav", tones(48_000, 2, 1.0), 48_000)
    argv = ["separate", path, "-q", "rain", "-o", tmp_path, "--model", model, "--format", format]
    assert main(list(map(str, argv))) == 0
    assert probe(tmp_path / f"in.rain.{format}").sample_rate == 48_000


def test_a_rate_that_the_format_lacks_is_changed_and_said(tmp_path, recording, model, capsys):
    argv = ["separate", recording, "-q", "rain", "-o", tmp_path, "--model", model]
    assert main([*map(str, argv), "--format", "opus", "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["sample_rate"], report["targets"][0]["sample_rate"]) == (44_100, 48_000)
    assert probe(tmp_path / "street.rain.opus").sample_rate == 48_000
    assert "44100 Hz" in printed.err and "resampled to 48000 Hz" in printed.err


def test_loud_parts_are_noted_where_the_format_cannot_hold_them(tmp_path, model, capsys):
    path = write(tmp_path / "loud.wav", 20 * tones(16_000, 1, 1.0), 16_000)
    argv = [*map(str, ["separate", path, "-q", "rain", "-o", tmp_path / "out", "--model", model])]
    assert main([*argv, "--residual", "--format", "flac", "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert max(track["clipped_samples"] for track in [*report["targets"], report["residual"]]) > 0
    assert "--format wav" in printed.err
    assert main(argv) == 0
    assert capsys.readouterr().err == ""


def test_binary_masks_differ_from_soft_ones(recording, model, tmp_path):
    argv = ["separate", str(recording), "-q", "rain", "--model", str(model), "-o"]
    assert main([*argv, str(tmp_path / "soft")]) == 0
    assert main([*argv, str(tmp_path / "binary"), "--binary"]) == 0
    soft, binary = (
        read_audio(tmp_path / kind / "street.rain.wav")[0] for kind in ("soft", "binary")
    )
    assert not np.allclose(soft, binary, atol=1e-4)


def test_silence_is_separated_into_silence(tmp_path, model, capsys):
    path = write(tmp_path / "in.wav", np.zeros((1, 16_000), "f4"), 16_000)
    argv = ["separate", path, "-q", "rain", "-o", tmp_path, "--model", model, "--plot"]
    assert main(list(map(str, argv))) == 0
    assert "silent" in capsys.readouterr().out
    assert not soundfile.read(tmp_path / "in.rain.wav")[0].any()


@pytest.mark.slow
def test_names_that_file_systems_dislike(tmp_path, model):
    path = write(tmp_path / f"{'long ' * 40}.wav", tones(16_000, 1, 0.5), 16_000)
    queries = ["a/b", "a b", "..", "狗" * 120]
    argv = [argument for query in queries for argument in ("-q", query)]
    out = tmp_path / "out"
    assert (
        main(["separate", str(path), *argv, "-o", str(out), "--model", str(model), "--plot"]) == 0
    )
    assert len(list(out.iterdir())) == len(queries) + 1


def test_an_older_file_is_replaced(recording, model, tmp_path):
    older = tmp_path / "street.rain.wav"
    older.write_text("older")
    argv = ["separate", recording, "-q", "rain", "-o", tmp_path, "--model", model]
    assert main(list(map(str, argv))) == 0
    assert probe(older).seconds == 2.0


def test_progress_is_shown_on_a_terminal(recording, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    argv = ["separate", recording, "-q", "rain", "-o", tmp_path, "--model", model, "--json"]
    assert main(list(map(str, argv))) == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert "street.wav" in printed.err


def test_the_name_of_a_shipped_model_is_enough(recording, model, tmp_path, monkeypatch):
    monkeypatch.setattr("clipsep.checkpoint.shipped_models", lambda: {"mini": Path(model)})
    assert main(["separate", str(recording), "-q", "rain", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "street.rain.wav").is_file()


def test_a_terminal_that_cannot_show_a_name_costs_nothing(tmp_path, model, monkeypatch):
    path = write(tmp_path / "ünï 音.wav", tones(16_000, 1, 1.0), 16_000)
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding="ascii", errors="strict"))
    code = main(
        ["separate", str(path), "-q", "☃", "-o", str(tmp_path / "out"), "--model", str(model)]
    )
    assert code == 0
    assert b"\\u97f3" in shown.getvalue()


@pytest.mark.slow
def test_a_terminated_separation_leaves_nothing_and_a_killed_one_is_cleaned_up(tmp_path, model):
    recording = write(tmp_path / "long.wav", tones(16_000, 1, 600.0), 16_000)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "clipsep", "separate", str(recording), "-q", "a.wav-"]
    command += ["--model", str(model), "-o", str(out)]
    program = (
        "import sys; from tests.cli.conftest import FakeEncoder; import clipsep.queries as q, "
    )
    program += "clipsep.separation.separator as s; s.load_query_encoder = lambda *a, **k: "
    program += (
        "FakeEncoder('embedded-v2'); from clipsep.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command[1:3] = ["-c", program]
    for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not list(out.glob(".*.part")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == code and b"Traceback" not in errors
        assert bool(list(out.glob(".*.part"))) is (number == signal.SIGKILL)
    (leftover,) = out.glob(".*.part")
    with AudioWriter(out / "other.wav", 16_000, 1):
        assert leftover.is_file()  # of another name
    with AudioWriter(out / leftover.name[1:-14], 16_000, 1) as writer:
        assert not leftover.exists()
        with AudioWriter(writer.path, 16_000, 1):
            assert len(list(out.glob(".*.part"))) == 2  # in use
