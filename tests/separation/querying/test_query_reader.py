"""Many queries are read in one call for each kind, and become what each of them becomes alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipsep.feedback import Drawing, KnownSettings, Thresholds
from clipsep.queries.cache import QueryCache
from clipsep.queries.known import KnownSounds
from clipsep.separation.options import SeparationOptions
from clipsep.separation.querying.asked import AskedQueries, EncodedQueries
from clipsep.separation.querying.query_reader import QueryReader
from tests.separation.test_separator import HashEncoder, checkpoint

QUERIES = ["dog", Image.new("RGB", (4, 4), "red"), "rain", Image.new("RGB", (4, 4), "blue"), "tuba"]


class CountingEncoder(HashEncoder):
    """Notes how many texts and images each call brings."""

    def __init__(self):
        self.calls: list[tuple[str, int]] = []

    def encode_texts(self, texts):
        self.calls.append(("texts", len(texts)))
        return super().encode_texts(texts).numpy()

    def encode_images(self, images):
        self.calls.append(("images", len(images)))
        return super().encode_images(images).numpy()


def known_sounds() -> KnownSounds:
    vectors = HashEncoder().encode_texts(["dog", "rain"]).numpy()
    limits = Thresholds(known=0.9, near=0.2)
    drawing = {"text": Drawing(share=0.5), "image": Drawing(share=0.3)}
    settings = KnownSettings(drawing=drawing, thresholds={"text": limits, "image": limits})
    return KnownSounds(["dog", "rain"], vectors, np.arange(2), np.zeros(2, int), settings)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> CountingEncoder:
    made = CountingEncoder()
    monkeypatch.setattr(
        "clipsep.separation.querying.query_reader.load_query_encoder",
        lambda name, threads=None: made,
    )
    return made


def read(queries: list) -> EncodedQueries:
    reader = QueryReader(checkpoint().config, known=known_sounds())
    return reader.read(AskedQueries(queries, SeparationOptions()))


def test_queries_of_a_kind_are_read_in_one_call_and_give_the_same(encoder, tmp_path, monkeypatch):
    together = read(QUERIES)
    assert encoder.calls == [("texts", 3), ("images", 2)]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing is remembered
    for number, query in enumerate(QUERIES):
        alone = read([query])
        assert alone.embeddings[0] == pytest.approx(together.embeddings[number], abs=1e-6)
        one, other = alone.familiarity[0], together.familiarity[number]
        assert (one.level, one.nearest) == (other.level, other.nearest)
        assert one.similarity == pytest.approx(other.similarity, abs=1e-6)


def test_only_what_is_new_is_encoded_and_the_cache_is_tidied_once(encoder, monkeypatch):
    tidied = []
    monkeypatch.setattr(QueryCache, "_tidy", lambda cache: tidied.append(cache))
    read(["dog", "tuba"])
    assert (encoder.calls, len(tidied)) == ([("texts", 2)], 1)
    before = read(["dog", "rain", "tuba", "siren"])
    assert (encoder.calls, len(tidied)) == ([("texts", 2), ("texts", 2)], 2)
    assert read(["rain"]).embeddings[0] == pytest.approx(before.embeddings[1], abs=1e-6)
    assert len(encoder.calls) == 2
