"""Laws of the gathering metrics: the mean of the functions' values, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from clipsep.metrics import (
    SDR,
    BSSMetrics,
    ScaleInvariantSDR,
    ScaleInvariantSDRImprovement,
    SDRImprovement,
    bss_metrics,
    sdr,
    si_sdr,
    si_sdr_improvement,
)


@pytest.fixture
def items() -> np.ndarray:
    """Six targets and what disturbs them, [2, 6, T]."""
    return np.random.default_rng(0).standard_normal((2, 6, 2000))


def test_batches_do_not_matter(items):
    targets, others = items
    estimates = targets + np.linspace(0.1, 2, 6)[:, None] * others
    at_once, one_by_one = SDR(), SDR()
    at_once.update(targets, estimates)
    for target, estimate in zip(targets, estimates, strict=True):
        one_by_one.update(target, estimate)
    assert at_once.values.tolist() == one_by_one.values.tolist()
    assert at_once.compute() == pytest.approx(float(sdr(targets, estimates).mean()))


def test_scale_invariant_means(items):
    targets, others = items
    mixtures, estimates = targets + others, targets + 0.3 * others
    plain, gain = ScaleInvariantSDR(zero_mean=True), ScaleInvariantSDRImprovement()
    plain.update(targets, estimates)
    gain.update(targets, estimates, mixtures)
    assert plain.compute() == pytest.approx(float(si_sdr(targets, estimates, True).mean()))
    assert gain.compute() == pytest.approx(
        float(si_sdr_improvement(targets, estimates, mixtures).mean())
    )


def test_items_worse_than_their_mixture_are_counted(items):
    targets, others = items
    metric = SDRImprovement()
    gains = np.array([0.1, 0.2, 0.3, 2.0, 0.5, 3.0])[:, None]
    metric.update(targets, targets + gains * others, targets + others)
    assert metric.share_worse == pytest.approx(2 / 6)


def test_silence_is_left_out_and_counted(items):
    target, other = items[:, 0]
    metric = SDR()
    metric.update(target, target + other)
    metric.update(0 * target, other)
    assert metric.left_out == 1 and metric.compute() == pytest.approx(metric.values[0])
    metric.reset()
    assert np.isnan(metric.compute()) and metric.left_out == 0


def test_bss_means(items):
    metric = BSSMetrics(taps=8)
    expected = []
    for target, other in items.swapaxes(0, 1):
        metric.update([target, other], target + 0.5 * other + 0.1 * np.sign(target))
        expected.append(
            bss_metrics([target, other], target + 0.5 * other + 0.1 * np.sign(target), 8)
        )
    assert np.array(metric.compute()) == pytest.approx(np.mean(expected, axis=0))
