"""The code of docs/onnx.md gives the masks of this package, in Python and in JavaScript."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clipsep.checkpoint import CheckpointConfig, load_config, shipped_models
from clipsep.engines import load_engine
from clipsep.spectral import log_magnitude, stft

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
# Runs the page's function on arrays in files, and writes what it gives.
CALL = """
const fs = require("fs");
const floats = (name) => new Float32Array(new Uint8Array(fs.readFileSync(name)).buffer);
masks(process.argv[2], floats("input"), Number(process.argv[3]), floats("queries"), Number(process.argv[4]))
  .then((result) => fs.writeFileSync("masks", Buffer.from(result.buffer)));
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    return shipped_models()["mini"]


@pytest.fixture(scope="module")
def config(folder: Path) -> CheckpointConfig:
    return load_config(folder)


@pytest.fixture(scope="module")
def waveform(config: CheckpointConfig) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(config.spectral.segment_samples)
    return (0.1 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def queries(config: CheckpointConfig) -> np.ndarray:
    shape = (3, config.model.query_dim)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def bands(config: CheckpointConfig, waveform: np.ndarray) -> np.ndarray:
    settings = config.spectral
    return log_magnitude(stft(waveform, settings.n_fft, settings.hop_length), settings)


@pytest.fixture(scope="module")
def expected(folder, config, bands, queries) -> np.ndarray:
    logits = load_engine(folder, config, "onnx", "cpu").mask_logits(bands[None, None], queries)
    return 1 / (1 + np.exp(-logits[0]))


def code(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]


def test_python(folder, waveform, queries, bands, expected, monkeypatch):
    monkeypatch.chdir(folder)
    names = {"waveform": waveform, "queries": queries}
    exec(code("python"), names)
    assert np.abs(names["inputs"]["log_magnitude"][0, 0] - bands).max() < 1e-3
    assert np.abs(names["masks"] - expected).max() < 1e-3


def test_javascript(folder, queries, bands, expected, tmp_path):
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", "require('onnxruntime-node')"]).returncode:
        pytest.skip("needs node and the package onnxruntime-node, found through NODE_PATH")
    (tmp_path / "run.js").write_text(code("js") + CALL)
    bands.tofile(tmp_path / "input")
    queries.tofile(tmp_path / "queries")
    sizes = [str(bands.shape[1]), str(queries.shape[1])]
    subprocess.run([node, "run.js", str(folder), *sizes], cwd=tmp_path, check=True)
    masks = np.fromfile(tmp_path / "masks", np.float32).reshape(expected.shape)
    assert np.abs(masks - expected).max() < 1e-4
