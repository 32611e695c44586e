"""What the tests of evaluations share: a short list of mixtures, tiny models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipsep.checkpoint import CheckpointConfig, save_checkpoint
from clipsep.evaluation.mixtures import Interferer, Mixture, write_mixture_list
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.spectral import SpectralSettings
from tests.helpers.audio import write
from tests.helpers.encoders import FakeEncoder
from tests.helpers.networks import randomize

LABELS = ("dog", "rain", "church bell", "tuba")


@pytest.fixture(autouse=True)
def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings that depend on the query and mean nothing."""
    monkeypatch.setattr(
        "clipsep.evaluation.evaluate.load_query_encoder",
        lambda name, device, threads=None: FakeEncoder(),
    )


@pytest.fixture
def sounds(tmp_path: Path) -> dict[str, Path]:
    """One second of noise for each label, each in another band, and one of silence."""
    random = np.random.default_rng(0)
    files = {}
    for number, label in enumerate(LABELS):
        spectrum = np.zeros(8001, np.complex128)
        band = slice(200 + 1500 * number, 2200 + 1500 * number)
        spectrum[band] = np.exp(2j * np.pi * random.random(2000))
        sound = np.fft.irfft(spectrum, 16_000).astype(np.float32)[None]
        files[label] = write(tmp_path / f"{label}.wav", 0.1 * sound / sound.std(), 16_000)
    files["silence"] = write(tmp_path / "silence.wav", np.zeros((1, 16_000), np.float32), 16_000)
    return files


@pytest.fixture
def mixture(sounds: dict[str, Path]) -> Callable[..., Mixture]:
    """Makes a mixture of labels, at equal levels if no others are asked for."""

    def make(number: int, target: str, *others: str, snr_db: float | None = 0.0) -> Mixture:
        interferers = tuple(Interferer(sounds[other], 0, other) for other in others)
        return Mixture(f"{number:04d}", sounds[target], 0, interferers, snr_db, target, target)

    return make


@pytest.fixture
def mixtures(mixture: Callable[..., Mixture], tmp_path: Path) -> Path:
    """A list of four mixtures."""
    path = tmp_path / "mixtures.csv"
    targets = zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True)
    write_mixture_list([mixture(number, *labels) for number, labels in enumerate(targets)], path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images for each label, each of another size, which the fake encoder tells apart."""
    for number, label in enumerate(LABELS):
        folder = tmp_path / "images" / label.replace(" ", "_")
        folder.mkdir(parents=True)
        for image in range(3):
            Image.new("RGB", (8 + number, 8 + image)).save(folder / f"{image}.jpg")
    return tmp_path / "images"


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Makes a model folder of random weights; ``bias`` of all mask logits decides how much they keep."""

    def make(
        kind: str = "clipsep",
        bias: float = 0.0,
        labels: tuple[str, ...] = (),
        noise_heads: int = 0,
    ) -> Path:
        settings = ModelSettings(
            kind=kind,
            network=PatchUNetSettings(widths=(4, 8)),
            feature_channels=4,
            query_dim=FakeEncoder.dim,
            query_activation="none",
            normalize_query=kind == "clipsep",
            n_labels=len(labels),
            noise_heads=noise_heads,
        )
        module = randomize(build_model(settings))
        with torch.no_grad():
            if kind == "pit":
                module.masks.bias += bias
            else:
                module.bias += bias
        config = CheckpointConfig(
            name="tiny",
            model=settings,
            spectral=SpectralSettings(level="relative", log_floor=1e-4),
            query_encoder={"clipsep": "embedded-v2"}.get(kind, "labels" if labels else "none"),
            prompts="plain",
            labels=list(labels),
        )
        folder = tmp_path / f"{kind}{bias}{noise_heads or ''}"
        save_checkpoint(folder, config, module)
        return folder

    return make
