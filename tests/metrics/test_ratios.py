"""Laws of the metrics, and museval's own values of small cases (made by benchmarks/metrics.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsep.metrics import (
    bss_metrics,
    class_aware_sdr_improvement,
    decibels,
    is_silent,
    leakage,
    sdr,
    sdr_improvement,
    si_sdr,
    si_sdr_improvement,
)

# Of silence, too, the metrics tell what they define, without NumPy's warnings.
pytestmark = pytest.mark.filterwarnings("error")

MUSEVAL = Path(__file__).parents[1] / "data/museval.npz"


def sounds(n: int, samples: int = 3000, seed: int = 0) -> np.ndarray:
    return 0.05 * np.random.default_rng(seed).standard_normal((n, samples))


def test_equal_to_museval_0_4_1():
    stored = np.load(MUSEVAL)
    assert len(stored["signals"]) >= 20
    for signals, expected in zip(stored["signals"] / 32768, stored["museval"], strict=True):
        sar_of_rounding = expected[2] > 200  # an exact mixture has no artifacts but rounding errors
        ours = np.array(bss_metrics(signals[:2], signals[2]))
        if sar_of_rounding:
            assert ours[2] > 200
            ours, expected = ours[:2], expected[:2]
        assert np.abs(ours - expected).max() < 1e-5


def test_the_mixture_by_hand():
    target, other = sounds(2)
    other *= np.linalg.norm(target) / np.linalg.norm(other)
    for level in (-6.0, 0.0, 10.0):
        mixture = target + 10 ** (-level / 20) * other
        assert sdr(target, mixture) == pytest.approx(level)


def test_perfect_and_silent_estimates():
    references = sounds(2)
    perfect = bss_metrics(references, references[0])
    assert perfect.sdr == np.inf and perfect.sir > 200 and perfect.sar > 200
    silent = bss_metrics(references, 0 * references[0])
    assert silent.sdr == 0 and np.isnan(silent.sir) and np.isnan(silent.sar)
    assert np.isnan(si_sdr(references[0], 0 * references[0]))
    assert np.isnan(si_sdr(0 * references[0], references[0]))


def test_pure_interference_has_no_target_in_it():
    # So long that chance alone explains little of one noise by 512 delays of another.
    references = sounds(2, samples=60_000)
    assert bss_metrics(references, references[1]).sir < -18
    # Delayed copies of a short sound are orthogonal if it comes first, so this is exact.
    apart = np.zeros((2, 4000))
    apart[0, :300], apart[1, 2000:2300] = sounds(2, 300)
    assert bss_metrics(apart, apart[1]).sir < -200


def test_what_filters_of_512_taps_explain_is_no_artifact():
    references = sounds(2)
    delayed = np.roll(np.pad(references, ((0, 0), (0, 600))), 511, axis=1)
    references = np.pad(references, ((0, 0), (0, 600)))
    assert bss_metrics(references, delayed.sum(axis=0)).sar > 200
    assert bss_metrics(references, np.roll(delayed, 1, axis=1).sum(axis=0)).sar < 10


def test_a_longer_filter_explains_more():
    references, estimate = sounds(2), sounds(1, seed=1)[0]
    sars = [float(bss_metrics(references, estimate, taps).sar) for taps in (1, 2, 64, 512)]
    assert sars == sorted(sars)


def test_one_tap_is_plain_projection():
    references, estimate = sounds(2), sounds(1, seed=1)[0]
    coefficients = np.linalg.lstsq(references.T, estimate, rcond=None)[0]
    projected = coefficients @ references
    sar = decibels(np.sum(projected**2), np.sum((estimate - projected) ** 2))
    assert bss_metrics(references, estimate, taps=1).sar == pytest.approx(float(sar))


def test_levels_that_do_not_matter():
    references, estimate = sounds(2), sounds(2).sum(axis=0) + sounds(1, seed=1)[0]
    plain = bss_metrics(references, estimate)
    scaled = bss_metrics(references * [[1.0], [1e-3]], estimate)
    assert scaled.sir == pytest.approx(float(plain.sir))
    assert scaled.sar == pytest.approx(float(plain.sar))
    louder = bss_metrics(references, 30 * estimate)
    assert louder.sir == pytest.approx(float(plain.sir)) and louder.sdr < plain.sdr - 10
    for gain in (1e-4, 0.5, 100.0, -1.0):
        assert si_sdr(references[0], gain * estimate) == pytest.approx(
            float(si_sdr(references[0], estimate))
        )


def test_si_sdr_by_hand():
    target, other = np.array([1.0, 1, 1, 1]), np.array([1.0, -1, 1, -1])
    assert si_sdr(target, 5 * target + 0.5 * other) == pytest.approx(20)
    assert sdr(target, target + 0.1 * other) == pytest.approx(20)


def test_many_estimates_are_scored_as_each_alone():
    references = sounds(3)
    estimates = np.stack([references.sum(axis=0), references[0] + sounds(1, seed=1)[0]])
    together = bss_metrics(references, estimates[:, None])
    for place, estimate in enumerate(estimates):
        alone = bss_metrics(references, estimate)
        for one, many in zip(alone, together, strict=True):
            assert many.shape == (2, 1)
            if one < 200:  # beyond, only rounding errors are measured
                assert many[place, 0] == pytest.approx(float(one), abs=1e-9)


def test_silent_references_take_no_part():
    target, other, silent = *sounds(2), np.zeros(3000)
    estimate = target + 0.1 * other + 0.01 * sounds(1, seed=1)[0]
    assert bss_metrics([target, other, silent], estimate) == bss_metrics([target, other], estimate)
    assert bss_metrics([target, silent], estimate).sir == np.inf
    assert bss_metrics([silent, other], estimate).sir == -np.inf
    nothing = bss_metrics([silent, silent], estimate)
    assert nothing.sdr == nothing.sar == -np.inf


def test_references_that_are_copies_of_one_another():
    target, noise = np.pad(sounds(2), ((0, 0), (0, 10)))
    for copy in (target, np.roll(target, 3), 0.1 * target):
        metrics = bss_metrics([target, copy], target + noise)
        assert np.isfinite(metrics).all() and metrics.sir > 20


def test_the_published_rule_for_silence():
    assert is_silent(np.full((2, 100), 1e-8)).all()
    assert not is_silent([0.0, 1e-4])
    assert is_silent([1e-5])  # no more than that
    assert is_silent([[1e-4, 0.0], [0.0, 0.0]]).tolist() == [False, True]
    assert not is_silent(np.array([-128], np.int8))  # whose magnitude has no place in 8 bits


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="estimates"):
        bss_metrics(sounds(2), sounds(1, 2000)[0])
    with pytest.raises(ValueError, match="references"):
        bss_metrics(sounds(1)[0], sounds(1)[0])
    for ratio in (sdr, si_sdr, leakage):
        with pytest.raises(ValueError, match=r"\[1000\] and \[1, 999\]"):
            ratio(np.ones(1000), np.ones((1, 999)))


def test_improvements_are_differences():
    target, other = sounds(2)
    mixture, estimate = target + other, target + 0.1 * other
    assert sdr_improvement(target, estimate, mixture) == pytest.approx(20)
    assert sdr_improvement(target, mixture, mixture) == 0
    assert si_sdr_improvement(target, 3 * estimate, mixture) == pytest.approx(20, abs=0.2)
    assert si_sdr_improvement(target, estimate, target + 0.5 * other) == pytest.approx(14, abs=0.2)
    assert np.isnan(si_sdr_improvement(target, 0 * target, 0 * target))
    assert np.isnan(sdr_improvement(0 * target, estimate, 0 * target))
    assert np.isnan(sdr_improvement(0 * target, estimate, other))


def test_many_sounds_are_scored_as_each_alone():
    references = sounds(6).reshape(2, 3, -1) + np.arange(6).reshape(2, 3, 1)
    others = sounds(6, seed=1).reshape(2, 3, -1)
    estimates, mixtures = references + 0.1 * others, references + others
    cases = [
        (sdr, (references, estimates), {}),
        (si_sdr, (references, estimates), {}),
        (si_sdr, (references, estimates), {"zero_mean": True}),
        (sdr_improvement, (references, estimates, mixtures), {}),
        (si_sdr_improvement, (references, estimates, mixtures), {"zero_mean": True}),
        (leakage, (mixtures, estimates), {}),
    ]
    for metric, arrays, options in cases:
        together = metric(*arrays, **options)
        assert together.shape == (2, 3)
        for place in np.ndindex(2, 3):
            alone = metric(*(array[place] for array in arrays), **options)
            assert together[place] == pytest.approx(float(alone), rel=1e-9)


def test_means_matter_only_where_they_are_not_subtracted():
    target, other = sounds(2)
    plain = si_sdr(target, target + 0.1 * other, zero_mean=True)
    assert si_sdr(target + 1, target + 0.1 * other + 2, zero_mean=True) == pytest.approx(plain)
    assert si_sdr(target + 1, target + 0.1 * other + 2) > plain + 10
    sounds_with_offsets = target + 1, target + 0.1 * other + 2, target + other + 3
    gained = si_sdr_improvement(*sounds_with_offsets, zero_mean=True)
    assert gained == pytest.approx(20, abs=0.5)
    assert si_sdr_improvement(*sounds_with_offsets) != pytest.approx(gained, abs=1)
    reference, *others = sounds_with_offsets
    for zero_mean in (False, True):
        parts = [si_sdr(reference, other, zero_mean) for other in others]
        both = si_sdr_improvement(reference, *others, zero_mean=zero_mean)
        assert both == pytest.approx(parts[0] - parts[1])


def test_leakage_is_a_share_of_energy():
    (mixture,) = sounds(1)
    assert leakage(mixture, 0.5 * mixture) == pytest.approx(0.25)
    assert leakage(mixture, 0 * mixture) == 0
    assert np.isnan(leakage(0 * mixture, 0 * mixture))
    assert leakage(0 * mixture, mixture) == np.inf


def test_the_wrong_class_counts_as_no_improvement():
    dog, rain = sounds(2)
    mixture = dog + rain
    right = {"dog": dog + 0.1 * rain}
    assert class_aware_sdr_improvement({"dog": dog}, right, mixture) == pytest.approx(20)
    both = {"dog": dog, "rain": rain}
    assert class_aware_sdr_improvement(both, right, mixture) == pytest.approx(10)
    assert class_aware_sdr_improvement({"rain": rain}, right, mixture) == 0
    with pytest.raises(ValueError, match=r"^neither references nor estimates$"):
        class_aware_sdr_improvement({}, {}, mixture)


def test_one_channel_is_mono():
    references, estimate = sounds(2), sounds(2).sum(axis=0) + sounds(1, seed=1)[0]
    mono = np.array(bss_metrics(references, estimate))
    assert np.array(bss_metrics(references[:, None], estimate[None])) == pytest.approx(mono)


def test_channels_are_projected_on_all_channels():
    """By least squares on the delays of all channels, as museval 0.4.1 (`_bss_decomp_mtifilt`)."""
    references = sounds(4).reshape(2, 2, 3000)
    estimate = references.sum(axis=0)[::-1] + sounds(2, seed=1)
    taps, padded = 3, ((0, 0), (0, 2))

    def projected(basis: np.ndarray) -> np.ndarray:
        delays = [np.roll(row, lag) for row in np.pad(basis, padded) for lag in range(taps)]
        matrix = np.stack(delays, axis=1)
        return (matrix @ np.linalg.lstsq(matrix, np.pad(estimate, padded).T, rcond=None)[0]).T

    whole, of_target = projected(references.reshape(4, -1)), projected(references[0])
    ours = bss_metrics(references, estimate, taps)
    others = whole - of_target
    assert ours.sir == pytest.approx(decibels(np.sum(of_target**2), np.sum(others**2)))
    rest = np.pad(estimate, padded) - whole
    assert ours.sar == pytest.approx(decibels(np.sum(whole**2), np.sum(rest**2)))
    assert ours.sdr == pytest.approx(float(sdr(references[0].ravel(), estimate.ravel())))


def test_plain_ratios_need_no_scipy():
    code = (
        "import sys; sys.modules['scipy'] = None; import clipsep.metrics as m;"
        "print(m.sdr([1., 0], [1., 1]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0.0", "False"]
