"""Laws of sensitivity and confidence: monotone, the middle changes nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from clipsep import Separator, UsageError
from clipsep.checkpoint import CheckpointConfig
from clipsep.engines.pytorch import PyTorchEngine
from clipsep.feedback import ConfidenceSettings, Drawing, KnownSettings, Thresholds
from clipsep.models.settings import ModelSettings
from clipsep.queries.known import Familiarity, KnownSounds
from clipsep.separation.masking.confidence import ConfidenceMeter, mask_features
from clipsep.separation.masking.query_masks import QueryMasks, sensitivity_bias
from clipsep.spectral import SpectralSettings
from tests.separation.test_separator import HashEncoder, checkpoint

SETTINGS = ConfidenceSettings(
    offset=-1.0, weights={"evident": 1.0, "overall": 0.1, "share": 0.5, "familiarity": 0.3}
)


class FixedLogits:
    """An engine that gives the same logits for every segment, moved by each query's first number."""

    name, device = "fixed", "cpu"

    def __init__(self, n_bands: int = 8, frames: int = 10):
        self.logits = 3 * np.random.default_rng(0).standard_normal((n_bands, frames))

    def mask_logits(self, log_magnitude, queries):
        moved = self.logits + queries[:, 0, None, None]
        return moved[None].astype(np.float32)


def config(confidence: ConfidenceSettings | None = SETTINGS) -> CheckpointConfig:
    return CheckpointConfig(
        name="tiny",
        model=ModelSettings(query_dim=2),
        spectral=SpectralSettings(),
        query_encoder="hash",
        confidence=confidence,
    )


def queries(*levels: float) -> np.ndarray:
    return np.array([[level, 0.0] for level in levels], np.float32)


def segment(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 1, 8, 10)).astype(np.float32)


def masks(sensitivity: float, binary: bool = False) -> np.ndarray:
    made = QueryMasks(FixedLogits(), config(), queries(0, 1), None, binary, sensitivity)
    return made(segment())


def test_the_middle_changes_nothing():
    plain = QueryMasks(FixedLogits(), config(), queries(0, 1))(segment())
    assert np.array_equal(masks(0.5), plain)
    assert sensitivity_bias(0.5) == 0


@pytest.mark.parametrize("binary", [False, True])
def test_more_sensitivity_never_takes_less(binary: bool):
    taken = [masks(sensitivity, binary) for sensitivity in np.linspace(0, 1, 11)]
    for lower, higher in pairwise(taken):
        assert (higher >= lower).all()
    assert (taken[-1] > taken[0]).any()


def test_sensitivity_multiplies_the_odds():
    plain, more = masks(0.5), masks(0.75)
    assert more / (1 - more) == pytest.approx(3 * plain / (1 - plain), rel=1e-3)


def test_opposite_sensitivities_cancel():
    assert sensitivity_bias(0.8) == pytest.approx(-sensitivity_bias(0.2))
    assert np.isfinite([sensitivity_bias(0), sensitivity_bias(1)]).all()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_other_numbers_are_refused(wrong: float):
    with pytest.raises(UsageError, match="sensitivity"):
        sensitivity_bias(wrong)


def confidence(made: QueryMasks) -> list[float]:
    return [one.confidence for one in made.feedback]


def test_confidence_does_not_depend_on_sensitivity_or_binary_masks():
    found = []
    for binary, sensitivity in ((False, 0.5), (True, 0.5), (False, 0.9), (False, 0.1)):
        made = QueryMasks(FixedLogits(), config(), queries(0, 1), None, binary, sensitivity)
        made(segment())
        found.append(confidence(made))
    assert found == [found[0]] * 4


def test_a_query_that_takes_more_is_more_certain():
    made = QueryMasks(FixedLogits(), config(), queries(-4, -2, 0, 2))
    made(segment())
    found = confidence(made)
    assert found == sorted(found) and 0 < found[0] < found[-1] < 1


def test_confidence_is_that_of_the_most_evident_segment():
    made = QueryMasks(FixedLogits(), config(), queries(0))
    alone = []
    for seed in range(4):
        single = QueryMasks(FixedLogits(), config(), queries(0))
        single(segment(seed)), made(segment(seed))
        alone += confidence(single)
    assert confidence(made) == [max(alone)]


def test_loudness_does_not_matter():
    logits = FixedLogits().mask_logits(None, queries(0, 1))[0]
    quiet = mask_features(segment()[0, 0] - 5, logits)
    assert quiet == pytest.approx(mask_features(segment()[0, 0], logits), abs=1e-5)


def test_features_of_masks_that_are_known():
    log_magnitude = np.zeros((4, 5))
    logits = np.stack([np.full((4, 5), 2.0), np.full((4, 5), -50.0)])
    logits[1, 0, :] = 6.0  # a quarter of the energy
    evident, overall, share = mask_features(log_magnitude, logits).T
    assert evident == pytest.approx([2.0, 6.0], abs=0.1)
    assert overall == pytest.approx([2.0, (6 - 3 * 12) / 4], abs=1e-4)
    assert share == pytest.approx(np.log([0.8808**2, 0.25 * 0.9975**2]), abs=1e-3)


def test_a_familiar_query_is_trusted_more():
    strange = Familiarity("unknown", 0.2, ("rain",), -1.0)
    familiar = Familiarity("known", 0.9, ("rain",), 2.0)
    meter = ConfidenceMeter(SETTINGS, [strange, familiar, None])
    logits = np.zeros((3, 8, 10), np.float32)
    first, second, third = meter.add(segment()[0, 0], logits)
    assert first < third < second


def test_nothing_is_in_digital_silence():
    meter = ConfidenceMeter(SETTINGS, [None])
    assert meter.add(np.full((8, 10), -9.2), np.full((1, 8, 10), 5.0)) == 0
    assert meter.confidence == 0


def test_without_a_calibration_there_is_no_confidence():
    made = QueryMasks(FixedLogits(), config(None), queries(0))
    made(segment())
    assert confidence(made) == [None]


RATE = 16_000


def knowing_separator() -> tuple[Separator, KnownSounds]:
    """The tiny separator with two known sounds and a calibration."""
    tiny = checkpoint()
    encoder = HashEncoder()
    vectors = np.asarray(encoder.encode_texts(["dog barking", "rain"]))
    limits = Thresholds(known=0.9, near=0.2)
    drawing = {"text": Drawing(share=0.5)}
    settings = KnownSettings(drawing=drawing, thresholds={"text": limits, "image": limits})
    known = KnownSounds(["dog barking", "rain"], vectors, np.arange(2), np.zeros(2, int), settings)
    changed = tiny.config.model_copy(update={"confidence": SETTINGS})
    return Separator(changed, PyTorchEngine(tiny.model), encoder, known=known), known


def recording() -> np.ndarray:
    return np.random.default_rng(3).standard_normal(5 * RATE).astype(np.float32)


def test_a_stream_says_what_one_call_says():
    separator, _ = knowing_separator()
    whole = separator.separate(recording(), RATE, ["rain", "bagpipes"], sensitivity=0.7)
    blocks = np.array_split(recording(), 13)
    parts = list(separator.stream(blocks, RATE, ["rain", "bagpipes"], sensitivity=0.7))
    joined = np.concatenate([part.targets["rain"] for part in parts])
    assert joined == pytest.approx(whole.targets["rain"], abs=1e-6)
    for query, said in whole.feedback.items():
        so_far = [part.feedback[query].confidence for part in parts]
        assert so_far == sorted(so_far)  # the most evident segment so far
        assert parts[-1].feedback[query].familiarity == said.familiarity
        assert so_far[-1] == pytest.approx(said.confidence, abs=1e-6)


def test_the_network_gets_the_drawn_query_and_the_user_hears_of_his_own():
    separator, known = knowing_separator()
    plain = np.asarray(HashEncoder().encode_texts(["a photo of bagpipes"]))
    encoded = separator.encode(["bagpipes"])
    assert encoded.embeddings == pytest.approx(known.draw(plain, "text"))
    assert not np.allclose(encoded.embeddings, plain)
    assert encoded.familiarity == [known.compare(plain[0], "text")]


def test_images_are_compared_as_images():
    separator, known = knowing_separator()
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    found = separator.encode([image]).familiarity
    embedding = np.asarray(HashEncoder().encode_images([image]))[0]
    assert found == [known.compare(embedding, "image")]


def test_parts_add_up_at_every_sensitivity():
    separator, _ = knowing_separator()
    for sensitivity in (0.0, 0.2, 0.8, 1.0):
        result = separator.separate(recording(), RATE, ["rain", "wind"], sensitivity=sensitivity)
        total = sum(result.targets.values()) + result.residual
        assert np.abs(total - recording()).max() < 1e-5
