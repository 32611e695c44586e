"""Laws of the comparison with known sounds: what was learnt is known, drawing keeps what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipsep import ClipsepError
from clipsep.checkpoint import KNOWN_NAME, CheckpointConfig
from clipsep.feedback import IMAGE, TEXT, Drawing, KnownSettings, Thresholds
from clipsep.models.settings import ModelSettings
from clipsep.queries.known import KnownSounds, copy_known_sounds, save_known_sounds
from clipsep.spectral import SpectralSettings

LABELS = ["dog barking", "rain", "siren"]
DIM = 16
THRESHOLDS = {TEXT: Thresholds(known=0.8, near=0.4), IMAGE: Thresholds(known=0.9, near=0.6)}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels' texts, a wording of "siren", and the images of "dog barking"."""
    vectors = unit(np.random.default_rng(0).standard_normal((5, DIM)))
    return vectors, np.array([0, 1, 2, 2, 0]), np.array([0, 0, 0, 0, 1])


def known_sounds(share: float = 0.8, temperature: float = 0.05) -> KnownSounds:
    drawing = {kind: Drawing(temperature=temperature, share=share) for kind in (TEXT, IMAGE)}
    settings = KnownSettings(drawing=drawing, thresholds=THRESHOLDS)
    return KnownSounds(LABELS, *table(), settings)


def test_every_learnt_text_is_known_as_its_own_sound():
    vectors, owners, kinds = table()
    for vector, owner in zip(vectors[kinds == 0], owners[kinds == 0], strict=True):
        found = known_sounds().compare(3 * vector, TEXT)
        assert found.level == "known" and found.nearest[0] == LABELS[owner]
        assert found.similarity == pytest.approx(1)


@pytest.mark.parametrize(("cosine", "level"), [(0.81, "known"), (0.6, "near"), (0.3, "unknown")])
def test_levels_are_by_the_cosine_with_the_nearest(cosine: float, level: str):
    vectors, _, _ = table()
    aside = np.linalg.svd(vectors)[2][-1]  # at a right angle to all of them
    query = cosine * vectors[1] + np.sqrt(1 - cosine**2) * aside
    found = known_sounds().compare(query, TEXT)
    assert (found.level, found.nearest[0]) == (level, "rain")
    assert found.similarity == pytest.approx(cosine, abs=1e-6)
    assert found.score == pytest.approx(np.clip((cosine - 0.4) / 0.4, -1, 2), abs=1e-5)


def test_images_are_compared_with_images_where_there_are_some():
    vectors, _, _ = table()
    assert known_sounds().compare(vectors[4], IMAGE).nearest[0] == "dog barking"
    assert known_sounds().compare(vectors[4], IMAGE).level == "known"
    assert known_sounds().compare(vectors[4], TEXT).level != "known"
    # "rain" has no images, so its text stands for them.
    assert known_sounds().compare(vectors[1], IMAGE).nearest[0] == "rain"


def test_no_share_leaves_queries_bit_by_bit():
    queries = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)
    assert known_sounds(share=0).draw(queries, TEXT) is queries


def test_drawing_leads_to_the_label_and_keeps_the_length():
    vectors, _, _ = table()
    wording = (5 * vectors[3:4]).astype(np.float32)  # of "siren"
    drawn = known_sounds().draw(wording, TEXT)
    assert drawn.dtype == np.float32
    assert np.linalg.norm(drawn) == pytest.approx(5, rel=1e-5)
    assert unit(drawn)[0] @ vectors[2] > unit(wording)[0] @ vectors[2] + 0.3
    assert np.argmax(unit(drawn) @ vectors[:3].T) == 2


def test_drawing_is_its_formula():
    vectors, _, _ = table()
    query = unit(np.random.default_rng(2).standard_normal((1, DIM)))
    cosines = query[0] @ vectors.T
    nearest = np.array([cosines[0], cosines[1], max(cosines[2], cosines[3])])
    weights = np.exp(nearest / 0.1) / np.exp(nearest / 0.1).sum()
    expected = unit(0.6 * query[0] + 0.4 * weights @ vectors[:3])
    assert known_sounds(0.4, 0.1).draw(query, TEXT)[0] == pytest.approx(expected, abs=1e-6)


def test_a_query_is_drawn_by_itself():
    queries = np.random.default_rng(3).standard_normal((5, DIM)).astype(np.float32)
    together = known_sounds().draw(queries, TEXT)
    alone = np.concatenate([known_sounds().draw(query[None], TEXT) for query in queries])
    assert together == pytest.approx(alone, abs=1e-6)


def config(share: float = 0.0) -> CheckpointConfig:
    return CheckpointConfig(
        name="tiny",
        model=ModelSettings(query_dim=DIM),
        spectral=SpectralSettings(),
        query_encoder="hash",
        known_sounds=LABELS,
        known=KnownSettings(drawing={TEXT: Drawing(share=share)}, thresholds=THRESHOLDS),
    )


def test_a_saved_table_comes_back_in_half_precision(tmp_path: Path):
    vectors, owners, kinds = table()
    save_known_sounds(tmp_path, vectors, owners, kinds)
    loaded = KnownSounds.load(tmp_path, config(share=0.5))
    query = vectors[3:4].astype(np.float32)
    assert loaded.draw(query, TEXT) == pytest.approx(known_sounds(0.5).draw(query, TEXT), abs=1e-3)


def test_a_sound_is_added_behind_the_others(tmp_path: Path):
    save_known_sounds(tmp_path, *table())
    (tmp_path / "copy").mkdir()
    text, image = unit(np.random.default_rng(1).standard_normal((2, 1, DIM)))
    copy_known_sounds(tmp_path, tmp_path / "copy", text, image)
    named = config().model_copy(update={"known_sounds": [*LABELS, "my machine"]})
    loaded = KnownSounds.load(tmp_path / "copy", named)
    for kind, query in ((TEXT, text), (IMAGE, image)):
        assert loaded.compare(query[0], kind).nearest[0] == "my machine"
    for vector, owner in zip(table()[0][:4], (0, 1, 2, 2), strict=True):
        assert loaded.compare(vector, TEXT).nearest[0] == LABELS[owner]


def test_without_settings_there_is_no_table(tmp_path: Path):
    assert KnownSounds.load(tmp_path, config().model_copy(update={"known": None})) is None


def test_missing_damaged_and_foreign_tables_are_named(tmp_path: Path):
    with pytest.raises(ClipsepError, match=f"Cannot read .*{KNOWN_NAME}"):
        KnownSounds.load(tmp_path, config())
    (tmp_path / KNOWN_NAME).write_bytes(b"nonsense")
    with pytest.raises(ClipsepError, match="damaged"):
        KnownSounds.load(tmp_path, config())
    save_known_sounds(tmp_path, *table())
    other = config().model_copy(update={"known_sounds": [*LABELS, "wind", "harp", "gong"]})
    with pytest.raises(ClipsepError, match="another config"):
        KnownSounds.load(tmp_path, other)
