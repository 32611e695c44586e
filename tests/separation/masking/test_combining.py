"""Laws of combined masks, and what --not, --remove and --gain do to real sounds, in dB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipsep import SeparationOptions, Separator, UsageError
from clipsep.media import read_audio
from clipsep.separation.masking.combining import MaskPlan

EXAMPLE = Path(__file__).parents[3] / "examples" / "speech-and-violin.flac"
MASKS = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)


def test_without_wishes_each_mask_is_a_part():
    np.testing.assert_array_equal(MaskPlan()(MASKS), MASKS)


def test_together_and_remove_share_every_spot_between_them():
    together, removed = MaskPlan(together=True)(MASKS), MaskPlan(remove=True)(MASKS)
    assert together.shape == removed.shape == (1, 4, 5)
    np.testing.assert_allclose(together + removed, 1, atol=1e-6)
    assert (together >= MASKS.max(axis=0) - 1e-6).all()


def test_what_is_excluded_only_takes_away_and_makes_no_part():
    left = MaskPlan(excluded=1)(MASKS)
    assert left.shape == (2, 4, 5)
    assert (left <= MASKS[:2]).all()
    # By hand: a sure target keeps what is excluded, an unsure one loses nearly (1 - m) ** 3 of it.
    masks = np.array([[[1.0, 0.0, 0.5, 0.5, 0.5]], [[1.0, 1.0, 0.0, 0.75, 1.0]]], np.float32)
    (part,) = MaskPlan(excluded=1)(masks)
    np.testing.assert_allclose(part, [[1, 0, 0.5, 0.5 * 0.25**1.5, 0]], rtol=1e-6)
    more = MaskPlan(excluded=2)(np.concatenate([masks, masks[1:]]))
    assert (more <= part).all() and more[0, 0, 3] < part[0, 3]


def test_gains_leave_the_rest_alone_and_reach_their_value_where_a_mask_is_one():
    masks = np.array([[[1.0, 0.0, 1.0, 0.5]], [[0.0, 0.0, 1.0, 0.5]]], np.float32)
    mix = MaskPlan(gains_db=(20.0, -20.0))(masks)[0, 0]
    np.testing.assert_allclose(mix, [10, 1, (10 + 0.1) / 2, 1 + 4.5 - 0.45], rtol=1e-6)
    np.testing.assert_allclose(MaskPlan(gains_db=(0.0, 0.0, 0.0))(MASKS), 1, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"remove": ["a"], "gain": {"b": 1.0}},
        {"together": True, "remove": ["a"]},
        {"gain": {"a": 100.0}},
        {"start": 3.0, "end": 2.0},
        {"filename": "{stem}.{loudness}.wav"},
        {"filename": "../{query}.{ext}"},
        {"filename": "{stem}-{query}"},
        {"filename": "{ext}/{query}"},
        {"filename": None},
        {"gain": {"violin": "x"}},
        {"gain": {"violin": None}},
        {"gain": ["violin"]},
        {"gain": "violin=3"},
        {"remove": {"violin"}},
        {"exclude": {"violin"}},
        {"start": "4"},
        {"end": [8]},
        {"sensitivity": None},
        {"sensitivity": "high"},
        {"together": "yes"},
        {"format": 3},
        {"bit_rate": "128"},
        {"video": True, "end": 2.0},
        {"video": True, "format": "mp3"},
        {"format": "wav", "bit_rate": 128},
        {"sensitivity": 2.0},
    ],
)
def test_wishes_that_cannot_be_met_are_refused(settings):
    with pytest.raises(UsageError):
        SeparationOptions(**settings)


@pytest.fixture(scope="module")
def stems() -> tuple[np.ndarray, np.ndarray, int]:
    """Two sounds that the shipped model knows, as far as it tells them apart: speech and violin."""
    mixture, rate = read_audio(EXAMPLE, mono=True)
    parts = Separator().separate(mixture, rate, ["person speaking", "violin"], binary=True).targets
    return parts["person speaking"], parts["violin"], rate


def powers(separate, speech: np.ndarray, violin: np.ndarray) -> tuple[float, float]:
    """What of two sounds is in an output of their sum, in dB of each: by least squares."""
    output = separate(speech + violin)
    basis = np.stack([speech, violin]).astype(np.float64)
    shares = np.linalg.solve(basis @ basis.T, basis @ output)
    return tuple(20 * np.log10(np.abs(shares) + 1e-9))


def test_removing_and_turning_down_act_on_the_named_sound_alone(stems):
    speech, violin, rate = stems
    separator = Separator()

    def run(**settings):
        def separate(mixture):
            result = separator.separate(mixture, rate, **settings)
            (part,) = result.targets.values()
            np.testing.assert_allclose(part + result.residual, mixture, atol=1e-5)
            return part

        return powers(separate, speech, violin)

    kept, removed = run(remove=["violin"])
    assert removed < -10 and kept > -1.5
    louder, softer = run(gain={"person speaking": 6.0, "violin": -20.0})
    assert louder == pytest.approx(6, abs=1.5)
    assert softer < -8
    both = run(queries=["person speaking", "violin"], together=True)
    assert min(both) > -3


def test_a_negative_query_lowers_the_interferer_and_spares_the_target(stems):
    speech, violin, rate = stems
    separator = Separator()
    # A high sensitivity lets much of the other sound through, which is then excluded.
    plain, negative = (
        powers(
            lambda mixture, exclude=exclude: separator.separate(
                mixture, rate, ["violin"], sensitivity=0.9, exclude=exclude
            ).targets["violin"],
            speech,
            violin,
        )
        for exclude in ([], ["person speaking"])
    )
    assert plain[0] - negative[0] >= 3
    assert plain[1] - negative[1] <= 1
