"""Scores by a CLAP: a fake one, and a random one of transformers."""

from __future__ import annotations

import numpy as np
import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.report.text import markdown
from clipsep.evaluation.scoring.clap import ClapJudge
from tests.helpers.clap import save_tiny_clap


class FakeClap:
    """Hears how loud the halves of the spectrum are; reads nothing."""

    def __init__(self, folder):
        assert folder.name == "clap"

    def text(self, text):
        return np.array([1.0, 0.0], np.float32)

    def audio(self, waveform, sample_rate):
        assert sample_rate == 16_000
        spectrum = np.abs(np.fft.rfft(waveform)) ** 2
        return np.array([part.sum() for part in np.array_split(spectrum, 2)], np.float32)


def test_estimates_are_judged_with_the_mixture_beside_them(model, mixtures, tmp_path, monkeypatch):
    monkeypatch.setattr("clipsep.evaluation.scoring.clap.ClapJudge", FakeClap)
    report = evaluate(model(), mixtures, workers=1, clap=tmp_path / "clap", examples=4)
    scores = report.summary()["clap"]
    assert list(scores) == ["mixture", "text query"]
    by_hand = []
    for one in report.mixtures:
        heard = FakeClap(tmp_path / "clap").audio(one.sounds["text query"], 16_000)
        by_hand.append(heard[0] / np.linalg.norm(heard))
    assert scores["text query"]["clap_score"]["mean"] == pytest.approx(np.mean(by_hand), abs=1e-5)
    assert scores["mixture"]["clap_score_a"]["n"] == 4
    assert scores["text query"]["frechet_distance"] > 0
    assert "Text query by CLAP: CLAPScore" in markdown(report)
    assert evaluate(model(), mixtures, workers=1).summary()["clap"] == {}


def test_a_model_of_transformers_judges(tmp_path):
    folder = save_tiny_clap(tmp_path / "clap")
    judge = ClapJudge(folder)
    assert judge.text("a dog").shape == (12,)
    sound = np.random.default_rng(0).standard_normal(16_000)
    assert judge.audio(sound, 16_000).shape == (12,)
    assert np.allclose(judge.audio(sound, 16_000), judge.audio(sound, 16_000))


def test_all_of_a_long_sound_is_judged_and_nothing_of_it_at_random(tmp_path):
    judge = ClapJudge(save_tiny_clap(tmp_path / "clap"))
    rate = 48_000
    sound = np.random.default_rng(0).standard_normal(25 * rate).astype(np.float32)
    sound *= np.linspace(0, 1, len(sound), dtype=np.float32)
    whole = judge.audio(sound, rate)
    assert np.array_equal(judge.audio(sound, rate), whole)
    windows = [judge.audio(sound[start * rate :][: 10 * rate], rate) for start in (0, 10, 15)]
    assert whole == pytest.approx(np.mean(windows, axis=0), abs=1e-6)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        ClapJudge(tmp_path / "nothing")
    with pytest.raises(ClipsepError, match="Cannot read the CLAP model"):
        ClapJudge(tmp_path)
