"""The shipped model: it is as small as promised and does its job on the example recording."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from clipsep import Separator, load_checkpoint, shipped_models
from clipsep.evaluation.evaluate import evaluate
from clipsep.media import read_audio

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/speech-and-violin.flac"
SPEECH_STARTS = 1.3  # seconds; the violin plays from the beginning


def test_it_is_small():
    checkpoint = load_checkpoint("mini")
    assert sum(p.numel() for p in checkpoint.model.parameters()) <= 8e6
    assert sum(path.stat().st_size for path in shipped_models()["mini"].iterdir()) <= 21e6
    assert checkpoint.config.query_encoder == "embedded-v2"


@pytest.fixture(scope="module")
def parts() -> dict[str, np.ndarray]:
    mixture, rate = read_audio(EXAMPLE)
    separator = Separator.from_pretrained("mini", device="cpu")
    result = separator.separate(mixture, rate, ["person speaking", "violin"])
    mono = {name: part.mean(axis=0) for name, part in result.targets.items()}
    return {**mono, "mixture": mixture.mean(axis=0), "rate": rate}


def decibels(part: np.ndarray) -> float:
    return 10 * np.log10(np.mean(part**2))


def test_before_she_speaks_all_is_violin(parts):
    alone = slice(0, int(SPEECH_STARTS * parts["rate"]))
    level = decibels(parts["mixture"][alone])
    assert decibels(parts["violin"][alone]) > level - 3
    assert decibels(parts["person speaking"][alone]) < level - 10


def test_while_she_speaks_each_query_gets_its_share(parts):
    speech = slice(int(SPEECH_STARTS * parts["rate"]), int(6 * parts["rate"]))
    level = decibels(parts["mixture"][speech])
    assert level - 5 < decibels(parts["person speaking"][speech]) < level
    assert level - 12 < decibels(parts["violin"][speech]) < level - 1


@pytest.mark.corpus
@pytest.mark.skipif("CLIPSEP_CORPUS" not in os.environ, reason="CLIPSEP_CORPUS names no corpus")
def test_it_separates_the_fixed_validation_mixtures():
    """Every fifth of them: 24 of 120, three quarters of the classes."""
    corpus = Path(os.environ["CLIPSEP_CORPUS"])
    mixtures, images = corpus / "pairs_val.csv", corpus / "images" / "val"
    report = evaluate("mini", mixtures, "both", images=images, every=5, workers=1, device="cpu")
    for estimate in ("text query", "image query"):
        assert report.statistic(estimate, "sdr").mean > 6
