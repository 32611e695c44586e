"""Reads labelled photos and scores the embedded encoder on them, for the scripts beside it.

It must not train anything or write files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from clipsep.queries.embedded.encoder import EmbeddedEncoder
from clipsep.queries.embedded.image import PictureClassifier, centre_crop


class Score(NamedTuple):
    """One label's retrieval of texts by photos; ``match`` and ``other`` are mean cosines."""

    photos: int
    top1: float
    top5: float
    match: float
    other: float


def photo_paths(corpus: Path, split: str) -> dict[str, list[Path]]:
    """CORPUS/images/SPLIT/LABEL/*.jpg -> {label in words: sorted photos}."""
    folders = sorted(path for path in (corpus / "images" / split).iterdir() if path.is_dir())
    return {path.name.replace("_", " "): sorted(path.glob("*.jpg")) for path in folders}


def centre_features(classifier: PictureClassifier, paths: list[Path]) -> Tensor:
    """Photos -> classifier features [n,1280] of their centre crops."""
    return torch.cat([classifier.features(centre_crop(Image.open(p))[None]) for p in paths])


def score(encoder: EmbeddedEncoder, features: dict[str, Tensor]) -> dict[str, Score]:
    """Features [n,1280] of each label's photos -> how well they find their label among all."""
    labels = list(features)
    texts = encoder.encode_texts(labels)  # [L,D]
    return {
        label: _score_label(encoder.embed_features(features[label]) @ texts.T, index)
        for index, label in enumerate(labels)
    }


def _score_label(cosines: Tensor, label: int) -> Score:
    """Cosines [n,L] of one label's photos with every text -> its score."""
    others = torch.arange(cosines.shape[1]) != label
    rank = (cosines > cosines[:, label : label + 1]).sum(1)
    return Score(
        len(cosines),
        (rank < 1).float().mean().item(),
        (rank < 5).float().mean().item(),
        cosines[:, label].mean().item(),
        cosines[:, others].mean().item(),
    )


def mean_score(scores: list[Score]) -> Score:
    """Mean over labels (each label counts once), with the number of photos summed."""
    columns = list(zip(*scores, strict=True))
    return Score(sum(columns[0]), *(sum(column) / len(scores) for column in columns[1:]))
