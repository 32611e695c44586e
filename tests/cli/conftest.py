"""What the tests of the command line share: a tiny random model, a fake encoder, one way to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipsep.checkpoint import CheckpointConfig, save_checkpoint
from clipsep.cli import main
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.queries import load_query_encoder
from clipsep.spectral import SpectralSettings
from tests.helpers.audio import tones, write
from tests.helpers.encoders import FakeEncoder
from tests.helpers.folders import contents
from tests.helpers.networks import randomize


@pytest.fixture(autouse=True)
def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`embedded` and `another` are fake; every other name goes the usual way."""

    def load(name: str, device: str = "cpu", threads: int | None = None):
        known = {"embedded": "embedded-v2", "embedded-v2": "embedded-v2", "another": "another-v1"}
        return (
            FakeEncoder(known[name]) if name in known else load_query_encoder(name, device, threads)
        )

    for module in ("separator", "querying.query_reader"):
        monkeypatch.setattr(f"clipsep.separation.{module}.load_query_encoder", load)
    monkeypatch.setattr("clipsep.queries.load_query_encoder", load)


@pytest.fixture(autouse=True)
def own_folder_and_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a command leaves in the current folder is seen; more threads would only wait."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A checkpoint folder of some thousand random weights; half of its masks' values are large."""
    settings = ModelSettings(
        network=PatchUNetSettings(widths=(8, 16)),
        feature_channels=4,
        query_dim=FakeEncoder.dim,
        query_activation="none",
        normalize_query=True,
        noise_heads=2,
    )
    config = CheckpointConfig(
        name="tiny",
        model=settings,
        spectral=SpectralSettings(segment_frames=64, level="relative", log_floor=1e-4),
        query_encoder="embedded-v2",
        prompts="plain",
        training={"steps": 3},
    )
    folder = tmp_path / "tiny"
    save_checkpoint(folder, config, randomize(build_model(settings)))
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of stereo at 44.1 kHz, floating point."""
    return write(tmp_path / "street.wav", tones(44_100, 2, 2.0), 44_100)


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a command that must fail: with an exit code, one sentence, and no trace on the disk."""

    def run(code: int, *argv: object, names: object = "") -> str:
        before = contents(tmp_path)
        assert main([str(argument) for argument in argv]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("clipsep: error: ")
        assert err.count("\n") == 1 and err.endswith("\n")
        assert "Traceback" not in err
        assert str(names) in err
        assert contents(tmp_path) == before
        return err

    return run
