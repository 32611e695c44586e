"""Query encoders of other packages, by the example in examples/plugin."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from clipsep.errors import UsageError
from clipsep.queries import ENTRY_POINTS, load_query_encoder
from clipsep.queries.prompts import encode_prompted

PLUGIN = Path(__file__).parents[2] / "examples/plugin"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were installed: its code on the path, and its entry point as it says."""
    monkeypatch.syspath_prepend(str(PLUGIN / "src"))
    (line,) = [
        line
        for line in (PLUGIN / "pyproject.toml").read_text().splitlines()
        if line.startswith("words = ")
    ]
    point = EntryPoint("words", line.partition(" = ")[2].strip('"'), ENTRY_POINTS)
    monkeypatch.setattr("clipsep.queries.entry_points", lambda group: EntryPoints([point]))
    yield
    sys.modules.pop("clipsep_words", None)


def test_an_installed_encoder_is_found_by_its_name(installed):
    encoder = load_query_encoder("words")
    assert (encoder.id, encoder.dim) == ("words:64", 64)
    again = load_query_encoder(encoder.id)  # as a checkpoint names it
    first, second = (one.encode_texts(["a dog", "rain"]) for one in (encoder, again))
    assert np.array_equal(first, second) and first.shape == (2, 64)
    assert load_query_encoder("words:16").dim == 16
    assert np.shape(encode_prompted(encoder, ["dog"], "ensemble")) == (1, 64)
    with pytest.raises(UsageError, match="words:x"):
        load_query_encoder("words:x")


def test_unknown_encoders_are_refused_with_those_that_there_are(installed):
    with pytest.raises(UsageError, match='"efficientnet", "words", "clip"'):
        load_query_encoder("word")
    with pytest.raises(UsageError, match="Unknown query encoder"):
        load_query_encoder("clipsep_words:WordEncoder")  # a name, never a path of code
