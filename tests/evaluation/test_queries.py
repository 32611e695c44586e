"""Laws of the queries of test mixtures: what they are the same for, and what is absent."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clipsep.errors import UsageError
from clipsep.evaluation.mixtures import load_sources
from clipsep.evaluation.queries import (
    AUDIO,
    MixtureQueries,
    absent_sounds,
    other_recording,
    random_image,
)
from clipsep.feedback import IMAGE, TEXT
from tests.helpers.encoders import FakeEncoder


class CountingEncoder(FakeEncoder):
    """Notes how many texts and images it was given."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        self.seen += len(texts)
        return super().encode_texts(texts)

    def encode_images(self, images: list) -> torch.Tensor:
        self.seen += len(images)
        return super().encode_images(images)


def test_what_is_asked_again_is_embedded_once(mixture, images):
    encoder = CountingEncoder()
    queries = MixtureQueries(encoder, "plain", images)
    mixtures = [mixture(0, "dog", "rain"), mixture(1, "dog", "tuba"), mixture(2, "tuba", "dog")]
    for kind in (TEXT, TEXT, IMAGE, IMAGE):
        for one in mixtures:
            queries.embed(kind, one)
    assert encoder.seen == 2 + 3  # texts, and an image for each mixture


def test_prompts_are_averaged(mixture):
    encoder = FakeEncoder()
    embedded = MixtureQueries(encoder, "ensemble", None).embed(TEXT, mixture(0, "dog", "rain"))
    small, plain = "a photo of the small dog.", "a photo of dog."
    others = ["a low resolution photo of a dog.", "a photo of many dog."]
    expected = encoder.encode_texts([plain, small, small, *others]).mean(dim=0)
    assert np.allclose(embedded, expected.numpy(), atol=1e-6)


def test_images_of_the_list_are_averaged(mixture, tmp_path):
    for number in range(1, 6):
        Image.new("RGB", (8, 8 + number)).save(tmp_path / f"{number:06d}.jpg")
    one = replace(mixture(0, "dog", "rain"), target_frames=tmp_path, target_frame=3)
    encoder = FakeEncoder()
    expected = encoder.encode_images([Image.new("RGB", (8, 8 + n)) for n in (2, 3, 4)]).mean(dim=0)
    embedded = MixtureQueries(encoder, "plain", None).embed(IMAGE, one)
    assert np.allclose(embedded, expected.numpy(), atol=1e-6)


def test_the_image_of_a_mixture_is_always_the_same(mixture, images):
    one = mixture(7, "church bell", "rain")
    folder = images / "church_bell"
    (folder / "notes.txt").touch()  # no image
    expected = random.Random("0007").choice(["0.jpg", "1.jpg", "2.jpg"])
    assert random_image(one, images) == folder / expected
    chosen = {random_image(replace(one, id=str(number)), images) for number in range(30)}
    assert len(chosen) == 3
    with pytest.raises(UsageError, match="those of 'siren' belong"):
        random_image(replace(one, label="siren"), images)


def test_an_absent_sound_is_not_in_the_mixture(mixture):
    mixtures = [
        mixture(0, "dog", "rain"),
        mixture(1, "rain", "tuba", "dog"),
        mixture(2, "tuba", "dog"),
    ]
    mixtures += [mixture(number, "church bell", "rain") for number in range(3, 9)]
    absent = absent_sounds(mixtures)
    assert set(absent) == {one.id for one in mixtures}
    for one in mixtures:
        present = {one.label, *(interferer.label for interferer in one.interferers)}
        assert absent[one.id].label not in present
    assert absent["0001"].label == "church bell"  # nothing else is left
    assert {absent[f"{number:04d}"].label for number in range(3, 9)} == {"dog", "tuba"}
    assert absent_sounds(mixtures[:1] + mixtures[1:])["0004"] == absent["0004"]


def test_where_labels_are_unknown_nothing_is_known_to_be_absent(mixture):
    first, second = mixture(0, "dog", "rain"), mixture(1, "tuba", "rain")
    unknown = replace(first, interferers=(replace(first.interferers[0], label=None),))
    assert set(absent_sounds([unknown, second])) == {"0001"}
    assert set(absent_sounds([replace(first, label=None), second])) == set()
    assert absent_sounds([first]) == {}


class Listener(FakeEncoder):
    """Also reads audio: the level of a waveform is its query."""

    def encode_audios(self, waveforms, sample_rate):
        assert sample_rate == 16_000
        return np.stack([np.full(self.dim, np.abs(one).mean(), np.float32) for one in waveforms])


def test_audio_that_asks_is_another_recording_of_the_class(mixture, sounds):
    other_dog = replace(mixture(1, "rain", "tuba"), label="dog", snr_db=20.0)
    mixtures = [mixture(0, "dog", "rain"), replace(other_dog, id="a"), mixture(2, "tuba", "dog")]
    mixtures[1] = replace(mixtures[1], target=sounds["church bell"])
    assert other_recording(mixtures[0], mixtures) is mixtures[1]
    assert other_recording(mixtures[1], mixtures) is mixtures[0]
    with pytest.raises(UsageError, match=r"0002 cannot be found by audio: .* of 'tuba'"):
        other_recording(mixtures[2], mixtures)
    # What is heard in the mixture is not what asks for it.
    with pytest.raises(UsageError, match="no other recording of 'dog'"):
        other_recording(mixture(3, "dog", "church bell"), mixtures)
    queries = MixtureQueries(Listener(), "plain", None, None, mixtures)
    level = np.abs(load_sources(mixtures[1])[0]).mean()
    assert np.allclose(queries.embed(AUDIO, mixtures[0]), level)
    with pytest.raises(UsageError, match="does not read audio"):
        MixtureQueries(FakeEncoder(), "plain", None, None, mixtures).embed(AUDIO, mixtures[0])
