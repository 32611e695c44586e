"""Reads the corpus' photos and scores an encoder on them, for the scripts beside it.

It must not train anything or write files.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from clipsep.queries.embedded.image import ImageClassifier


@dataclass
class Photo:
    """One photo. Labels may share it and, in the corpus, splits as well.

    Args:
        name: SHA-256 of the file.
        labels: split -> labels it stands for.
        free: its licence allows to learn shipped weights from it.
    """

    name: str
    path: Path
    free: bool
    labels: dict[str, set[str]] = field(default_factory=dict)

    def shows(self, label: str, splits: tuple[str, ...]) -> bool:
        return any(label in self.labels.get(split, ()) for split in splits)


def read_corpus(corpus: Path) -> tuple[list[str], list[Photo]]:
    """CORPUS/manifest.csv -> all labels, sorted, and the photos, each once, in order of their names."""
    with open(corpus / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    photos: dict[str, Photo] = {}
    for row in rows:
        if row["kind"] == "image":
            path = corpus / row["path"]
            name = hashlib.sha256(path.read_bytes()).hexdigest()
            photo = photos.setdefault(name, Photo(name, path, False))
            photo.free |= row["use"] == "free"
            photo.labels.setdefault(row["split"], set()).add(row["label"])
    return sorted({row["label"] for row in rows}), [photos[name] for name in sorted(photos)]


def centre_logits(photos: list[Photo]) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 1280] and logits [n, classes] of the photos by the shipped classifier."""
    classifier = ImageClassifier(threads=1)
    rows = [classifier.classify([Image.open(photo.path)]) for photo in photos]
    features, logits = (np.concatenate(column) for column in zip(*rows, strict=True))
    return features, logits


class Score(NamedTuple):
    """One label's retrieval of texts by photos; ``match`` and ``other`` are mean cosines."""

    photos: int
    top1: float
    top5: float
    match: float
    other: float


def score(
    images: np.ndarray,
    texts: np.ndarray,
    labels: list[str],
    photos: list[Photo],
    splits: tuple[str, ...],
    seen: bool = False,
) -> dict[str, Score]:
    """How well the photos of each label find its text among all.

    Args:
        images: [n, D] embeddings of ``photos``; ``texts``: [L, D] of ``labels``.
        seen: count photos that training showed, too.
    """
    cosines = images @ texts.T
    usable = np.array([seen or "train" not in photo.labels for photo in photos])
    scores = {}
    for index, label in enumerate(labels):
        chosen = usable & np.array([photo.shows(label, splits) for photo in photos])
        if chosen.any():
            scores[label] = _score_label(cosines[chosen], index)
    return scores


def _score_label(cosines: np.ndarray, label: int) -> Score:
    """Cosines [n, L] of one label's photos with every text -> its score."""
    others = np.arange(cosines.shape[1]) != label
    rank = (cosines > cosines[:, label : label + 1]).sum(1)
    return Score(
        len(cosines),
        float((rank < 1).mean()),
        float((rank < 5).mean()),
        float(cosines[:, label].mean()),
        float(cosines[:, others].mean()),
    )


def mean_score(scores: list[Score]) -> Score:
    """Mean over labels (each label counts once), with the number of photos summed."""
    columns = list(zip(*scores, strict=True))
    return Score(sum(columns[0]), *(sum(column) / len(scores) for column in columns[1:]))


def columns(result: Score) -> str:
    return f"{result.top1:.2f} | {result.top5:.2f} | {result.match:.2f} | {result.other:.2f}"
