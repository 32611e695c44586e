"""Laws of the noise heads at test time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipsep.checkpoint import load_checkpoint
from clipsep.errors import UsageError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.report.text import markdown
from clipsep.evaluation.scoring.noise import NoiseSeparator
from clipsep.models.transforms import log_magnitude, stft


def test_joined_masks_and_activation_are_those_of_the_masks(model):
    folder = model(noise_heads=2)
    checkpoint = load_checkpoint(folder)
    spectral = checkpoint.config.spectral
    mixture = np.random.default_rng(0).standard_normal(spectral.segment_samples).astype(np.float32)
    queries = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    found = NoiseSeparator(folder, "cpu").separate(mixture, 16_000, queries)
    assert found.joined.shape == (3, len(mixture)) and found.noise.shape == (3, 2, len(mixture))
    spectrum = stft(torch.from_numpy(mixture), spectral.n_fft, spectral.hop_length)
    log_mixture = log_magnitude(spectrum, spectral)[None, None]
    for number, query in enumerate(queries):  # each alone, as if there were no others
        with torch.no_grad():
            logits = checkpoint.model(log_mixture, torch.from_numpy(query)[None, None])
        noise = logits.noise.sigmoid()
        assert found.activation[number] == pytest.approx(noise.sum(dim=1).mean().item(), rel=1e-4)
    # Where the query takes everything, nothing is left to join.
    everything = NoiseSeparator(model(bias=1e4, noise_heads=2), "cpu").separate(
        mixture, 16_000, queries
    )
    assert np.allclose(everything.joined, mixture, atol=1e-3)
    assert np.allclose(everything.activation, 2)


def test_a_report_has_joined_estimates_activation_and_their_sounds(model, mixtures):
    report = evaluate(model(noise_heads=2), mixtures, noise_heads=True, workers=1, examples=1)
    assert report.model_estimates == ["text query", "text query + noise"]
    activation = report.noise_activation("text query")
    assert activation.n == 4 and 0 < activation.mean < 2
    assert report.summary()["noise_activation"]["text query"]["n"] == 4
    assert "Noise heads given the text query: mean activation" in markdown(report)
    sounds = report.mixtures[0].sounds
    assert {"noise 1 of text query", "noise 2 of text query"} <= sounds.keys()
    plain = evaluate(model(noise_heads=2), mixtures, workers=1)
    for before, after in zip(plain.mixtures, report.mixtures, strict=True):
        assert before.scores["text query"] == after.scores["text query"]
        assert after.levels["text query + noise"] >= 0


def test_models_without_noise_heads_and_files_are_refused(model, mixtures, tmp_path: Path):
    with pytest.raises(UsageError, match="has no noise heads: leave out --noise-heads"):
        evaluate(model(), mixtures, noise_heads=True, workers=1)
    with pytest.raises(UsageError, match="leave out --noise-heads with --estimates"):
        evaluate(None, mixtures, estimates=tmp_path, noise_heads=True, workers=1)
    with pytest.raises(UsageError, match="has no noise heads"):
        NoiseSeparator(model(), "cpu")
