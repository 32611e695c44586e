"""Laws of prompt sets and of the label table; it must load no network."""

from __future__ import annotations

import pytest
import torch

from clipsep.errors import UsageError
from clipsep.queries.labels import LabelEncoder
from clipsep.queries.prompts import PROMPT_SETS, encode_prompted


class LengthEncoder:
    """Embeds a text as its length and its number of words; remembers what it was given."""

    id = "length"
    dim = 2

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        self.texts = texts
        return torch.tensor([[len(text), len(text.split())] for text in texts]).float()


def test_plain_passes_texts_through():
    encoder = LengthEncoder()
    embeddings = encode_prompted(encoder, ["dog", "a {} cat"], "plain")
    assert encoder.texts == ["dog", "a {} cat"]
    assert embeddings.tolist() == [[3, 1], [8, 3]]


def test_the_ensemble_is_the_mean_over_its_prompts_for_each_text():
    texts = ["dog", "church bell"]
    encoder = LengthEncoder()
    embeddings = encode_prompted(encoder, texts, "ensemble")
    for text, row in zip(texts, embeddings, strict=True):
        sentences = [template.format(text) for template in PROMPT_SETS["ensemble"]]
        torch.testing.assert_close(row, encoder.encode_texts(sentences).mean(0))


def test_the_published_ensemble_counts_the_second_prompt_twice():
    assert len(PROMPT_SETS["ensemble"]) == 5 and len(set(PROMPT_SETS["ensemble"])) == 4


@pytest.mark.parametrize(
    ("prompts", "sentence"), [("photo", "a photo of rain"), ("sound", "the sound of rain")]
)
def test_one_prompt_sets(prompts, sentence):
    encoder = LengthEncoder()
    encode_prompted(encoder, ["rain"], prompts)
    assert encoder.texts == [sentence]


def test_unknown_sets_and_blank_texts_are_refused():
    with pytest.raises(UsageError, match="known are plain, photo, ensemble, sound"):
        encode_prompted(LengthEncoder(), ["dog"], "poster")
    with pytest.raises(UsageError, match="empty"):
        encode_prompted(LengthEncoder(), [" "], "photo")


def test_labels_are_one_hot_in_their_order_whatever_the_prompts():
    encoder = LabelEncoder(["dog", "cat", "rain"])
    assert encoder.dim == 3
    expected = [[0, 0, 1], [1, 0, 0]]
    assert encoder.encode_texts(["rain", "dog"]).tolist() == expected
    assert encode_prompted(encoder, ["rain", "dog"], "photo").tolist() == expected
    assert encoder.encode_texts([]).shape == (0, 3)


def test_an_unknown_label_names_close_ones():
    encoder = LabelEncoder(["dog barking", "cat meowing", "rain"])
    with pytest.raises(UsageError, match=r'"dogs barking" .* ones are "dog barking"'):
        encoder.encode_texts(["rain", "dogs barking"])
    with pytest.raises(UsageError, match='3 labels; some of them are "dog barking"'):
        encoder.encode_texts(["xyz"])


def test_labels_take_no_images_and_no_duplicates():
    with pytest.raises(UsageError, match="image"):
        LabelEncoder(["dog"]).encode_images([])
    for labels in ([], ["dog", "dog"]):
        with pytest.raises(UsageError):
            LabelEncoder(labels)
