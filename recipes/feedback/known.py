"""The table of known sounds of a model, and from which similarity on a query is known or near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipsep.feedback import IMAGE, TEXT, Kind, KnownSettings, Thresholds
from clipsep.queries.known import KnownSounds
from recipes.feedback.corpus import NAMES, TEST, TRAIN, Corpus, Embeddings
from recipes.feedback.regression import fit_logistic

IMAGES_PER_LABEL = 12
_MISTAKEN = 0.05  # of the queries for sounds that were never learnt count as known
_ANY = KnownSettings(thresholds={kind: Thresholds(known=0, near=0) for kind in (TEXT, IMAGE)})


@dataclass(frozen=True, eq=False)
class KnownTable:
    """See `KnownSounds`."""

    labels: list[str]
    vectors: np.ndarray
    owners: np.ndarray
    kinds: np.ndarray
    wordings: dict[str, list[str]]

    def sounds(self, settings: KnownSettings) -> KnownSounds:
        return KnownSounds(self.labels, self.vectors, self.owners, self.kinds, settings)


def known_table(labels: list[str], corpus: Corpus, embeddings: Embeddings) -> KnownTable:
    """Texts of the labels, other words and names for them, and the mean of each label's images."""
    wordings = {
        label: [*corpus.wordings(label, TRAIN), *corpus.wordings(label, NAMES)] for label in labels
    }
    texts = [*labels, *(text for label in labels for text in wordings[label])]
    owners = [*range(len(labels)), *(n for n, label in enumerate(labels) for _ in wordings[label])]
    vectors = [embeddings.texts(texts)]
    kinds = [0] * len(texts)
    for number, label in enumerate(labels):
        if paths := corpus.some_images(label, TRAIN, IMAGES_PER_LABEL):
            vectors.append(embeddings.images(paths).mean(axis=0, keepdims=True))
            owners.append(number)
            kinds.append(1)
    wordings = {label: others for label, others in wordings.items() if others}
    return KnownTable(labels, np.concatenate(vectors), np.array(owners), np.array(kinds), wordings)


def thresholds(table: KnownTable, corpus: Corpus, embeddings: Embeddings) -> dict[Kind, Thresholds]:
    """From which similarity on texts and images are known, or near to what is known."""
    labels = sorted({*table.labels, *corpus.labels})
    texts, images = (
        [(label, text) for label in labels for text in [label, *corpus.wordings(label, TEST)[:1]]],
        [(label, path) for label in labels for path in corpus.some_images(label, "val", 3)],
    )
    return {
        TEXT: _thresholds(table, corpus, embeddings.texts, texts, TEXT),
        IMAGE: _thresholds(table, corpus, embeddings.images, images, IMAGE),
    }


def _thresholds(
    table: KnownTable,
    corpus: Corpus,
    embed: Callable[[list], np.ndarray],
    asked: list[tuple[str, Any]],
    kind: Kind,
) -> Thresholds:
    """By queries that were not learnt, each with the label that it means.

    Every query also stands for one of a sound that was never learnt: then the rows of its label are
    left out.
    """
    wanted = [label for label, _ in asked]
    queries = embed([query for _, query in asked])
    sounds = table.sounds(_ANY)
    cosines = sounds.similarities(queries, kind)
    own = np.array([[label == one for label in table.labels] for one in wanted])
    alike = np.array([[corpus.alike(label, one) for label in table.labels] for one in wanted])
    strange, far = _nearest(np.where(own, -1, cosines), alike)
    new = own.any(axis=1) & np.array([query not in table.labels for _, query in asked])
    similarity, close = _nearest(cosines[new], alike[new])
    known = float(np.quantile(strange, 1 - _MISTAKEN))
    # As many of the ones as of the others.
    near = _half_alike(
        np.concatenate([similarity, strange]),
        np.concatenate([close, far]),
        np.repeat([1 / len(similarity), 1 / len(strange)], [len(similarity), len(strange)]),
    )
    return Thresholds(known=round(known, 3), near=round(min(near, known), 3))


def _nearest(cosines: np.ndarray, alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of the nearest known sound to each query, and whether it is alike to what is meant."""
    nearest = cosines.argmax(axis=1)
    rows = np.arange(len(cosines))
    return cosines[rows, nearest], alike[rows, nearest]


def _half_alike(similarity: np.ndarray, alike: np.ndarray, counts: np.ndarray) -> float:
    """Where a logistic regression gives a half."""
    offset, (slope,) = fit_logistic(similarity[:, None], alike, counts)
    return float(np.clip(-offset / slope, -1, 1)) if slope > 0 else 1.0
