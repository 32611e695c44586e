"""The table of known sounds of a model, and from which similarity on a query is known or near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsep.feedback import IMAGE, TEXT, Kind, KnownSettings, Thresholds
from clipsep.queries.known import KnownSounds
from recipes.feedback.corpus import TEST, TRAIN, Corpus, Embeddings
from recipes.feedback.regression import fit_logistic

IMAGES_PER_LABEL = 12
_RIGHT = 0.9  # of the queries that count as known are nearest to their own sound
_FEWEST = 10  # queries by which that is judged


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
    """Texts of the labels, their wordings for training, and the mean of each label's images."""
    wordings = {label: corpus.wordings(label, TRAIN) for label in labels}
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


def thresholds(
    table: KnownTable, corpus: Corpus, embeddings: Embeddings
) -> dict[Kind, Thresholds]:
    """Of texts by the first wording for testing of each label, of images by those for validation.

    Sounds that were never learnt are the labels themselves, each with its own rows left out.
    """
    return {
        TEXT: _thresholds(table, corpus, *_new_texts(table, corpus, embeddings), kind=0),
        IMAGE: _thresholds(table, corpus, *_new_images(table, corpus, embeddings), kind=1),
    }


def _new_texts(
    table: KnownTable, corpus: Corpus, embeddings: Embeddings
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of wordings that were not learnt, and whose they are."""
    asked = {n: corpus.wordings(label, TEST)[:1] for n, label in enumerate(table.labels)}
    texts = [text for texts in asked.values() for text in texts]
    owners = [number for number, texts in asked.items() for _ in texts]
    return embeddings.texts(texts), np.array(owners)


def _new_images(
    table: KnownTable, corpus: Corpus, embeddings: Embeddings
) -> tuple[np.ndarray, np.ndarray]:
    shown = {n: corpus.some_images(label, "val", 3) for n, label in enumerate(table.labels)}
    paths = [path for paths in shown.values() for path in paths]
    owners = [number for number, paths in shown.items() for _ in paths]
    return embeddings.images(paths), np.array(owners)


def _thresholds(
    table: KnownTable, corpus: Corpus, queries: np.ndarray, owners: np.ndarray, kind: int
) -> Thresholds:
    labels = table.labels
    alike = np.array([[corpus.alike(one, other) for other in labels] for one in labels])
    kinds = table.kinds.copy()
    if kind:  # the text stands for a label without images
        without = ~np.isin(np.arange(len(labels)), table.owners[kinds == 1])
        kinds[: len(labels)][without] = 1
    rows = np.flatnonzero(kinds == kind)
    keys, own = table.vectors[rows], table.owners[rows]
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    cosines = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ keys.T
    similarity, nearest = cosines.max(axis=1), own[cosines.argmax(axis=1)]
    others = np.where(own == owners[:, None], -1, cosines)  # as if the sound were not known
    far, far_nearest = others.max(axis=1), own[others.argmax(axis=1)]
    near = _half_alike(
        np.concatenate([similarity, far]),
        np.concatenate([alike[owners, nearest], alike[owners, far_nearest]]),
    )
    known = _mostly_right(similarity, nearest == owners)
    return Thresholds(known=round(known, 3), near=round(min(near, known), 3))


def _mostly_right(similarity: np.ndarray, right: np.ndarray) -> float:
    """The lowest similarity from which on `_RIGHT` of the queries are right."""
    order = np.argsort(-similarity)
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((share >= _RIGHT) & (np.arange(len(order)) >= _FEWEST - 1))
    return float(similarity[order[enough[-1] if len(enough) else 0]])


def _half_alike(similarity: np.ndarray, alike: np.ndarray) -> float:
    """Where a logistic regression gives a half."""
    offset, (slope,) = fit_logistic(similarity[:, None], alike)
    return float(np.clip(-offset / slope, -1, 1)) if slope > 0 else 1.0
