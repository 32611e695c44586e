"""Every kind of bad input gets one sentence, exit code 1 or 2, and leaves nothing on the disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from clipsep.cli import main
from clipsep.media import AudioWriter
from clipsep.queries.clip import DEFAULT_CLIP
from tests.helpers.audio import tones, write, write_video
from tests.helpers.folders import contents

RATE = 16_000


# The recording


def test_missing_file(refused, tmp_path, model):
    path = tmp_path / "none.wav"
    refused(2, "separate", path, "-q", "rain", "-o", tmp_path / "out", "--model", model, names=path)


def bad_recordings(folder: Path) -> dict[str, Path]:
    """One file of each kind that cannot be separated."""
    sound = tones(RATE, 2, 2.0)
    files = {
        name: folder / f"{name}.wav" for name in ("empty", "text", "zero", "one", "nan", "inf")
    }
    files["empty"].touch()
    files["text"].write_text("no sound at all\n" * 100)
    write(files["zero"], sound[:, :0], RATE)
    write(files["one"], sound[:, :1], RATE)
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        bad = sound.T.copy()
        bad[-5, 1] = value
        soundfile.write(files[name], bad, RATE, subtype="FLOAT")
    for suffix in ("wav", "flac", "ogg", "m4a"):
        whole = write(folder / f"whole.{suffix}", sound, RATE, format=suffix).read_bytes()
        files[f"cut {suffix}"] = folder / f"cut.{suffix}"
        files[f"cut {suffix}"].write_bytes(whole[: len(whole) // 2])
    files["soundless"] = folder / "soundless.mp4"
    write_video(files["soundless"], seconds=1.0, codecs=("mpeg4", None))
    return files


@pytest.mark.parametrize(
    "kind",
    ["empty", "text", "zero", "one", "nan", "inf", "soundless"]
    + [f"cut {suffix}" for suffix in ("wav", "flac", "ogg", "m4a")],
)
def test_useless_recording(refused, tmp_path, model, kind):
    path = bad_recordings(tmp_path)[kind]
    argv = ["separate", path, "-q", "rain", "-o", tmp_path / "out", "--residual", "--plot"]
    refused(1, *argv, "--model", model, names=path)


def test_an_older_output_survives_a_failure(refused, tmp_path, model):
    path = bad_recordings(tmp_path)["nan"]
    older = tmp_path / "out" / "nan.rain.wav"
    older.parent.mkdir()
    older.write_text("older")
    argv = ["separate", path, "-q", "rain", "-o", older.parent, "--model", model]
    refused(1, *argv, names=path)
    assert older.read_text() == "older"


def test_a_file_that_fails_at_its_end_takes_the_others_with_it(
    refused, recording, model, tmp_path, monkeypatch
):
    older = tmp_path / "out" / "street.rain.wav"
    older.parent.mkdir()
    older.write_text("older")
    real = AudioWriter.finish

    def finish(writer: AudioWriter) -> Path:
        if "siren" in writer.path.name:
            raise writer._failed(OSError(errno.ENOSPC, "No space left on device"))
        return real(writer)

    monkeypatch.setattr(AudioWriter, "finish", finish)
    argv = ["separate", recording, "-q", "rain", "-q", "siren", "--residual", "--plot"]
    refused(1, *argv, "-o", older.parent, "--model", model, names="street.siren.wav could not be")


# The queries


@pytest.mark.parametrize("query", ["", "   "])
def test_empty_query(refused, recording, model, query):
    assert "empty" in refused(2, "separate", recording, "-q", query, "--model", model)


def test_no_query(refused, recording, model):
    assert "-q" in refused(2, "separate", recording, "--model", model)


def test_a_query_given_twice(refused, recording, model):
    refused(2, "separate", recording, "-q", "rain", "-q", " rain", "--model", model, names="rain")


def test_useless_images(refused, recording, model, tmp_path):
    missing, text = tmp_path / "none.jpg", tmp_path / "text.jpg"
    text.write_text("no image")
    refused(2, "separate", recording, "--image", missing, "--model", model, names=missing)
    refused(1, "separate", recording, "--image", text, "--model", model, names=text)


# The model and its encoder


@pytest.mark.parametrize("name", ["maxi", "./maxi", "a/b/c"])
def test_unknown_model(refused, recording, name):
    refused(2, "separate", recording, "-q", "rain", "--model", name, names=f"'{name}'")
    refused(2, "info", name, names=f"'{name}'")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


DAMAGES = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut config": lambda folder: cut(folder / "config.json"),
    "cut weights": lambda folder: cut(folder / "model.safetensors"),
    "cut weights, no digest": lambda folder: (
        cut(folder / "model.safetensors"),
        change_config(folder, sha256=""),
    ),
    "changed weights": lambda folder: flip_a_bit(folder / "model.safetensors"),
    "weights of another": lambda folder: (
        safetensors.torch.save_file({"x": torch.zeros(3)}, folder / "model.safetensors"),
        change_config(folder, sha256=""),
    ),
    "unknown setting": lambda folder: change_config(folder, colour="blue"),
    "newer format": lambda folder: change_config(folder, format=2),
    "senseless setting": lambda folder: change_config(folder, spectral={"n_fft": -1}),
    "config is a list": lambda folder: (folder / "config.json").write_text("[1, 2]"),
    "config is no text": lambda folder: (folder / "config.json").write_bytes(b"\xff{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_model(refused, recording, model, tmp_path, damage):
    DAMAGES[damage](model)
    argv = ["separate", recording, "-q", "rain", "-o", tmp_path / "out", "--model", model]
    refused(1, *argv, names=model)


def test_a_wrong_setting_of_a_model_has_the_name_that_its_config_gives_it(refused, model):
    config = json.loads((model / "config.json").read_text())
    config["model"]["network"]["widths"] = [8, "wide"]
    change_config(model, model=config["model"])
    refused(1, "info", model, names="config.json' is damaged: model.network.widths.1: ")


def test_an_encoder_that_the_model_was_not_trained_with(refused, recording, model):
    argv = ["separate", recording, "-q", "rain", "--model", model]
    message = refused(2, *argv, "--query-encoder", "another", names="another-v1")
    assert "embedded-v2" in message
    assert main([*map(str, argv), "-o", str(model), "--query-encoder", "embedded"]) == 0


def test_unknown_encoder(refused, recording, model):
    argv = ["separate", recording, "-q", "rain", "--model", model]
    refused(2, *argv, "--query-encoder", "frob", names="frob")


def test_a_model_whose_encoder_is_unknown_here(refused, recording, model, tmp_path):
    change_config(model, query_encoder="bert")
    argv = ["separate", recording, "-q", "rain", "-o", tmp_path / "out", "--model", model]
    refused(2, *argv, names="bert")


NO_MPS = pytest.mark.skipif(sys.platform == "darwin", reason="there is an Apple GPU")


@pytest.mark.parametrize("device", ["frob", "cuda:999", pytest.param("mps", marks=NO_MPS)])
def test_unknown_device(refused, recording, model, device):
    refused(2, "separate", recording, "-q", "rain", "--model", model, "--device", device)


@pytest.mark.parametrize(
    ("options", "source"),
    [
        (["--model", "someone/model"], "someone/model"),
        (["--query-encoder", "clip"], DEFAULT_CLIP),
    ],
)
def test_a_hub_that_cannot_be_reached(recording, model, tmp_path, options, source):
    # In a process of its own: the hub's client reads its address when it is imported.
    environment = {
        **os.environ,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "clipsep", "separate", str(recording), "-q", "rain"]
    command += ["--model", str(model), "-o", str(tmp_path / "out"), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("clipsep: error: ") and done.stderr.count("\n") == 1
    assert source in done.stderr  # where the weights would come from
    assert "folder" in done.stderr  # what to do offline
    assert not (tmp_path / "out").exists()


# The output


def test_output_below_a_file(refused, recording, model, tmp_path):
    (tmp_path / "file").touch()
    argv = ["separate", recording, "-q", "rain", "--model", model, "--plot"]
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        refused(1, *argv, "-o", folder, names=folder)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_output_without_permission(refused, recording, model, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir(mode=0o555)
    refused(1, "separate", recording, "-q", "rain", "--model", model, "-o", folder, names=folder)


@pytest.mark.parametrize("name", ["street.siren.wav", "street.spectrogram.png"])
def test_a_folder_in_the_place_of_one_of_the_files(refused, recording, model, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    argv = ["separate", recording, "-q", "rain", "-q", "siren", "--model", model, "--plot"]
    refused(1, *argv, "-o", tmp_path / "out", names=name)


def test_full_disk(refused, recording, model, tmp_path):
    # A limit on the size of files fails in the same place and way as a full disk.
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        argv = ["separate", recording, "-q", "rain", "--model", model, "--residual"]
        message = refused(1, *argv, "-o", tmp_path / "out", names="street.rain.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "could not be written" in message


def test_unknown_format(refused, recording, model, tmp_path):
    argv = ["separate", recording, "-q", "rain", "--model", model, "-o", tmp_path / "out"]
    assert "flac" in refused(2, *argv, "--format", "xyz", names="xyz")


def test_a_format_that_cannot_hold_the_input(refused, model, tmp_path):
    path = write(tmp_path / "in.wav", tones(48_000, 6, 0.5), 48_000)
    argv = ["separate", path, "-q", "rain", "--model", model, "-o", tmp_path / "out"]
    refused(2, *argv, "--format", "mp3", names="mp3")


# What is not there


@pytest.mark.parametrize(
    "argv",
    [
        ["separate", "NONE", "-q", "rain", "--model", "MODEL"],
        ["separate", "NONE", "SOUND", "-q", "rain", "--model", "MODEL"],
        ["separate", "SOUND", "--image", "NONE", "--model", "MODEL"],
        ["separate", "SOUND", "-q", "rain", "--model", "NONE"],
        ["separate", "SOUND", "-q", "rain", "--model", "EMPTY"],
        ["info", "NONE"],
        ["info", "EMPTY"],
        ["prepare", "NONE", "-o", "out"],
        ["prepare", "SOUND", "-o", "out", "--labels", "NONE"],
        ["paper", "import-list", "NONE", "-o", "out"],
        ["embed", "NONE"],
        ["embed", "EMPTY"],
        ["train", "NONE"],
        ["train", "CONFIG", "data.train=NONE"],
        ["evaluate", "MODEL", "--mixtures", "NONE"],
        ["evaluate", "NONE", "--mixtures", "SOUND"],
        ["paper", "mixtures", "NONE", "SOUND", "-o", "mixtures.csv"],
        ["paper", "import-checkpoint", "NONE", "-o", "out"],
        ["paper", "download", "music", "NONE", "-o", "out"],
        ["paper", "download", "vggsound", "NONE", "-o", "out"],
    ],
    ids=" ".join,
)
def test_a_missing_input_is_a_wrong_request(refused, tmp_path, model, recording, argv):
    config = tmp_path / "config.yaml"
    config.write_text("{name: x, output: run, data: {train: x}, query_encoder: embedded}")
    (tmp_path / "empty").mkdir()
    places = {"MODEL": model, "SOUND": recording, "CONFIG": config, "EMPTY": tmp_path / "empty"}
    missing = "empty" if "EMPTY" in argv else "none.file"
    argv = [argument.replace("NONE", str(tmp_path / "none.file")) for argument in argv]
    refused(2, *(places.get(argument, argument) for argument in argv), names=missing)


@pytest.mark.parametrize("command", ["separate", "separate many", "find"])
def test_figures_without_matplotlib_are_refused_before_any_work(
    refused, recording, model, tmp_path, monkeypatch, command
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("clipsep.separation.separator.Separator._stream", None)
    argv = [command.partition(" ")[0], recording, "-q", "rain", "--model", model, "--plot"]
    if command == "separate many":
        argv.insert(1, write(tmp_path / "other.wav", tones(RATE, 1, 0.5), RATE))
    argv += [tmp_path / "x.png"] if command == "find" else ["-o", tmp_path / "out"]
    refused(1, *argv, names="needs matplotlib, which is not installed: run pip install")


# The command itself


@pytest.mark.parametrize(
    "argv",
    [
        ["frobnicate"],
        ["separate"],
        ["separate", "in.wav", "-q", "rain", "--colour", "blue"],
        ["separate", "in.wav", "-q"],
        ["prepare", "videos"],
        ["prepare", "videos", "-o", "out", "--workers", "0"],
        ["prepare", "videos", "-o", "out", "--workers", "many"],
        ["--frob"],
    ],
)
def test_wrong_usage(refused, argv):
    assert "--help" in refused(2, *argv)


def test_an_interrupt_leaves_nothing(recording, model, tmp_path, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipsep.separation.files.outputs.SeparationFiles.write", interrupt)
    before = contents(tmp_path)
    argv = ["separate", recording, "-q", "rain", "--model", model, "-o", tmp_path / "out"]
    assert main(list(map(str, argv))) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert contents(tmp_path) == before


def test_a_termination_that_a_library_swallows_ends_the_program(monkeypatch, capsys):
    def swallow(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except SystemExit:
            raise TypeError("what a library makes of it") from None

    monkeypatch.setattr("clipsep.checkpoint.shipped_models", swallow)
    assert main(["models"]) == 143
    assert capsys.readouterr().err == ""


class EndedAsItGoes:
    """A signal comes in a destructor, where Python prints exceptions and forgets them."""

    def __init__(self, number: int):
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_that_python_forgets_ends_the_program(number, code, words, monkeypatch, capsys):
    went_on = []

    def forget(*_: object) -> None:
        EndedAsItGoes(number)
        time.sleep(5)
        went_on.append(True)

    monkeypatch.setattr("clipsep.checkpoint.shipped_models", forget)
    before = sys.unraisablehook
    assert main(["models"]) == code
    said = capsys.readouterr().err
    assert words in said and "Exception" not in said
    assert not went_on and sys.unraisablehook is before
