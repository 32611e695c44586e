"""Laws of what is heard: false alarms, misses, class-aware improvement; and of a model's cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clipsep.engines.cost import model_cost
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.report.text import detection_text, markdown
from clipsep.evaluation.scoring.score import Scores
from clipsep.metrics import class_aware_sdr_improvement
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings

NAME = "text query"


def scored(report, level: float, leakage: float, gain: float, target_level: float = 0.5):
    one = report.mixtures[0]
    scores = {NAME: Scores(0.0, gain, 0.0, 0.0, 0.0, 0.0)}
    return replace(
        one, scores=scores, levels={NAME: level}, leakage={NAME: leakage}, target_level=target_level
    )


def test_rates_and_class_aware_improvement_by_hand(model, mixtures):
    report = evaluate(model(), mixtures, workers=1)
    made = replace(
        report,
        mixtures=[
            scored(report, 0.5, 0.0, 6.0),  # right: 6 dB for the target
            scored(report, 0.5, 0.02, 6.0),  # an absent sound is heard at -17 dB: half of it
            scored(report, 0.001, 0.5, 6.0),  # missed, and an absent sound heard: nothing
            scored(report, 0.001, 0.0, 6.0, target_level=0.005),  # not heard, nor loud enough
        ],
    )
    found = made.detection(NAME)
    assert found.false_alarm_rate == 0.5 and found.miss_rate == pytest.approx(1 / 3)
    assert found.class_aware_sdr_improvement.mean == pytest.approx((6 + 3 + 0 + 0) / 4)
    assert made.detection(NAME, -10.0).false_alarm_rate == 0.25
    assert made.detection(NAME, -30.0).miss_rate == 0.0
    assert "false alarms 50.0 %, misses 33.3 %; CA-SDRi 2.25 dB." in detection_text(made, NAME)


def test_class_aware_improvement_is_that_of_the_metric(model, mixtures):
    """A mixture with a heard target and a heard absent sound has two classes, one of them found."""
    report = evaluate(model(bias=2.0), mixtures, workers=1, examples=1)
    one = report.mixtures[0]
    sounds = one.sounds
    assert one.leakage[NAME] > 0.01 and one.levels[NAME] > 0.01
    by_metric = class_aware_sdr_improvement(
        {"target": sounds["target"]},
        {"target": sounds[NAME], "absent": sounds[NAME]},
        sounds["mixture"],
    )
    alone = replace(report, mixtures=[one]).detection(NAME)
    assert alone.class_aware_sdr_improvement.mean == pytest.approx(by_metric, abs=1e-6)


def test_without_absent_queries_there_is_nothing_to_detect(model, mixtures):
    report = evaluate(model(), mixtures, workers=1)
    silent = replace(report, mixtures=[replace(one, leakage={}) for one in report.mixtures])
    assert silent.detection(NAME) is None and detection_text(silent, NAME) == ""


def test_the_cost_counts_parameters_and_multiplications(model, mixtures):
    folder = model()
    cost = model_cost(folder)
    settings = evaluate(folder, mixtures, workers=1).model
    assert settings["parameters"] == cost.parameters and cost.macs_per_second > 1e6
    text = markdown(evaluate(folder, mixtures, workers=1))
    assert "million" not in text and "multiplications per second of sound with one query" in text
    assert "MB of memory" in text


def test_the_published_network_has_the_parameters_that_it_is_known_for():
    model = build_model(ModelSettings())
    assert sum(weight.numel() for weight in model.parameters()) == 30_290_659
