"""The other commands and what all share: a quick start, exit codes, interrupts, missing packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipsep import __version__, queries
from clipsep.cli import main
from clipsep.datasets.prepare.videos import PrepareReport
from tests.helpers.audio import write_video
from tests.helpers.encoders import FakeEncoder
from tests.helpers.networks import published_model, randomize

COMMANDS = [
    *("separate", "prepare", "embed", "train", "evaluate"),
    *("compare", "mixtures", "models", "info", "paper"),
]


def run(*argv: object) -> int:
    return main([str(argument) for argument in argv])


def in_a_process(code: str, **options: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, **options
    )


# Start, help and version


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_first_answer_comes_without_heavy_imports(option):
    code = f"""
import sys, time
from clipsep.cli import main
assert main([{option!r}]) == 0
assert time.process_time() < 1, "of the processor, since the start of the interpreter"
heavy = {{"torch", "numpy", "av", "matplotlib", "pyarrow", "PIL"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = in_a_process(code)
    assert done.returncode == 0, done.stderr


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"clipsep {__version__}\n"


def test_help_lists_every_command(capsys):
    assert run() == 0
    overview = capsys.readouterr().out
    for command in COMMANDS:
        assert command in overview
        assert run(command, "--help") == 0
    assert "...\n" not in overview.split("Commands:")[1]  # every summary fits into its line


def test_module_and_command_are_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "clipsep", "--version"], capture_output=True, text=True
    )
    assert done.stdout == f"clipsep {__version__}\n"


# Models


def test_models_lists_the_shipped_ones(model, monkeypatch, capsys):
    monkeypatch.setattr("clipsep.checkpoint.shipped_models", lambda: {"tiny": model})
    assert run("models") == 0
    out = capsys.readouterr().out
    for word in ("tiny", "0.01 M", "embedded-v2", "texts and images"):
        assert word in out


def test_info_shows_config_and_training(model, capsys):
    assert run("info", model) == 0
    out = capsys.readouterr().out
    assert "embedded-v2" in out and '"steps": 3' in out
    assert run("info", model, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    config = json.loads((model / "config.json").read_text())
    assert content.pop("parameters") > 10_000
    assert Path(content.pop("folder")) == model
    assert content.pop("engines") == ["pytorch"]  # it has no export
    assert content == config


def test_a_published_checkpoint_becomes_a_model(tmp_path, capsys):
    weights = randomize(published_model()).state_dict()
    torch.save({f"module.{key}": value for key, value in weights.items()}, tmp_path / "last.pt")
    assert run("paper", "import-checkpoint", tmp_path / "last.pt", "-o", tmp_path / "clipsep") == 0
    assert str(tmp_path / "clipsep") in capsys.readouterr().out
    assert run("info", tmp_path / "clipsep", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model"]["kind"] == "clipsep"


def test_a_file_that_is_no_published_checkpoint(refused, tmp_path):
    path = tmp_path / "last.pt"
    refused(2, "paper", "import-checkpoint", path, "-o", tmp_path / "out", names=path)
    path.write_bytes(b"no weights" * 100)
    refused(1, "paper", "import-checkpoint", path, "-o", tmp_path / "out", names=path)


# Data and training


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two good videos, one cut in half."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, seconds=3.0)
    (folder / "cut.mp4").write_bytes((folder / "a.mp4").read_bytes()[:5000])
    return folder


def test_prepare_counts_and_lists_what_it_rejects(videos, tmp_path, capsys):
    assert run("prepare", videos, "-o", tmp_path / "data", "--workers", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("rejected cut.mp4: ") and str(videos / "cut.mp4") in lines[0]
    assert lines[1].startswith("videos: 2 stored in") and "1 rejected" in lines[1]
    assert run("prepare", videos, "-o", tmp_path / "data", "--workers", 1) == 0
    assert "(0 of them now)" in capsys.readouterr().out


def test_prepare_tells_which_labels_found_their_video(videos, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\na.mp4,dog\nx.mp4,dog\ny.mp4,cat\n")
    argv = ["prepare", videos, "-o", tmp_path / "data", "--workers", 1, "--labels", labels]
    assert run(*argv) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert (
        last.startswith("labels: ")
        and "1 of 3 videos" in last
        and "2 of its rows match no video" in last
    )


def test_prepare_tells_what_a_lost_shard_took_along(videos, tmp_path, capsys):
    data = tmp_path / "data"
    for name in ("a.mp4", "b.mp4"):
        assert run("prepare", videos / name, "-o", data, "--workers", 1) == 0
    assert "lost with" not in capsys.readouterr().out
    min((data / "shards").iterdir()).unlink()
    assert run("prepare", videos / "b.mp4", "-o", data, "--workers", 1) == 0
    assert "lost with damaged or missing shards: 1 video; give" in capsys.readouterr().out
    assert run("prepare", videos, "-o", data, "--workers", 1) == 0
    out = capsys.readouterr().out
    assert "2 stored" in out and "lost with" not in out


def test_import_list_tells_what_a_lost_shard_took_along(tmp_path, capsys, monkeypatch):
    report = PrepareReport(stored=1, already_there=1, lost=2, rejected={"c.wav": "No frames."})
    monkeypatch.setattr("clipsep.paper.import_list.import_list", lambda *_: report)
    assert run("paper", "import-list", tmp_path / "list.csv", "-o", "data") == 0
    assert capsys.readouterr().out.splitlines() == [
        "rejected c.wav: No frames.",
        "clips: 2 stored in data (1 of them now), 1 rejected.",
        "lost with damaged or missing shards: 2 clips; give their sources to this command again.",
    ]


def test_prepare_fails_if_no_video_is_of_use(videos, tmp_path, capsys):
    assert run("prepare", videos / "cut.mp4", "-o", tmp_path / "data", "--workers", 1) == 1
    assert "videos: 0 stored" in capsys.readouterr().out


def test_prepare_refuses_senseless_sources(refused, videos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    refused(2, "prepare", tmp_path / "none", "-o", tmp_path / "data", names=tmp_path / "none")
    refused(2, "prepare", tmp_path / "empty", "-o", tmp_path / "data")
    refused(1, "prepare", videos, "-o", tmp_path / "file" / "data", names=tmp_path / "file")
    refused(2, "prepare", videos, "-o", videos, names=videos)
    labels = tmp_path / "labels.csv"
    refused(2, "prepare", videos, "-o", tmp_path / "data", "--labels", labels, names=labels)


def test_from_videos_to_a_model_that_separates(videos, tmp_path, recording, capsys, monkeypatch):
    # Another test may have imported the module already, with the real encoders.
    monkeypatch.setattr("clipsep.training.load.load_query_encoder", queries.load_query_encoder)
    data, config = tmp_path / "data", tmp_path / "tiny.yaml"
    config.write_text(TINY_CONFIG.format(data=data, output=tmp_path / "run"))
    assert run("prepare", videos, "-o", data, "--workers", 1) == 0
    assert run("embed", data, "--encoder", "embedded") == 0
    assert "6 frames" in capsys.readouterr().out
    assert run("embed", data, "--encoder", "embedded") == 0
    assert capsys.readouterr().out.startswith("0 frames")
    assert run("train", config, "steps=2") == 0
    best = tmp_path / "run" / "best"
    said = capsys.readouterr()
    assert str(best) in said.out
    # Also without a terminal.
    assert said.err.startswith("Training ") and "step 2 of 2: loss " in said.err
    out = tmp_path / "out"
    assert run("separate", recording, "-q", "rain", "-o", out, "--model", best) == 0
    assert (out / "street.rain.wav").is_file()


TINY_CONFIG = f"""
name: tiny
output: {{output}}
data: {{{{train: {{data}}, val: {{data}}}}}}
query_encoder: embedded
prompts: plain
model:
  network: {{{{kind: patch_unet, widths: [4, 8]}}}}
  feature_channels: 4
  query_dim: {FakeEncoder.dim}
spectral: {{{{segment_frames: 64}}}}
steps: 1000
batch_size: 1
validate_every: 2
validation_mixtures: 1
device: cpu
"""


def test_train_refuses_bad_configs(refused, tmp_path):
    config = tmp_path / "tiny.yaml"
    refused(2, "train", config, names=config)
    config.write_text(TINY_CONFIG.format(data=tmp_path / "data", output=tmp_path / "run"))
    refused(2, "train", config, names=tmp_path / "data")
    assert "stepps" in refused(2, "train", config, "stepps=3", names=config)
    assert "steps" in refused(2, "train", config, "steps=many", names=config)
    refused(2, "train", config, "steps", names="key=value")
    config.write_text("name: [")
    refused(2, "train", config, names=config)


def test_embed_refuses_what_is_no_data_set(refused, tmp_path):
    refused(2, "embed", tmp_path / "none", names=tmp_path / "none")


# What every command shares


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["prepare", "v", "-o", "d"], "run the same command again"),
        (["models"], "nothing was written"),
        (["mixtures", "l.csv", "-o", "f"], "only finished files were written"),
        (["push", "mini", "a/b", "-o", "f"], "run the same command again"),
    ],
)
def test_interrupted(argv, hint, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipsep.datasets.prepare.videos.find_videos", interrupt)
    monkeypatch.setattr("clipsep.checkpoint.shipped_models", interrupt)
    monkeypatch.setattr("clipsep.evaluation.lists.export.write_mixtures", interrupt)
    monkeypatch.setattr("clipsep.workflows.hub.save_pretrained", interrupt)
    assert run(*argv) == 130
    err = capsys.readouterr().err
    assert hint in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "argv"),
    [
        ("pyarrow", ["prepare", "videos", "-o", "data"]),
        ("pyarrow", ["embed", "data"]),
        ("pytorch_lightning", ["train", "tiny.yaml"]),
    ],
)
def test_a_missing_extra_is_named(package, argv, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY_CONFIG.format(data="data", output="run"))
    code = f"""
import sys
sys.modules[{package!r}] = None
from clipsep.cli import main
sys.exit(main({argv!r}))
"""
    done = in_a_process(code, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'clipsep[train]'" in done.stderr and done.stderr.count("\n") == 1


def test_ray_is_an_extra(videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("prepare", videos, "-o", tmp_path / "data", "--ray", "local") == 1
    err = capsys.readouterr().err
    assert "pip install 'clipsep[cluster]'" in err and err.count("\n") == 1


def test_other_refusals_of_the_system_are_one_sentence(monkeypatch, capsys):
    def refuse() -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr("clipsep.checkpoint.shipped_models", refuse)
    assert run("models") == 1
    err = capsys.readouterr().err
    assert "No space left" in err and "/some/file" in err and err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="closed pipes are another matter elsewhere")
def test_a_closed_pipe_is_left_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "clipsep", "--help"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert done.stderr == b""
