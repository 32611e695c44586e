"""Reads labelled photos and scores the embedded encoder on them, for the scripts beside it.

It must not train anything or write files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from networks import ClassifierNetwork
from PIL import Image
from torch import Tensor

from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.image import IMAGENET_CLASSES, centre_crop


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


class Classified(NamedTuple):
    """Photos as the classifier sees them: features [n, 1280] and logits [n, classes]."""

    features: np.ndarray
    logits: np.ndarray

    def with_rows(self, weight: Tensor, bias: Tensor) -> np.ndarray:
        """Logits [n, 1000 + E] with other rows for the extra classes."""
        rows = self.features @ weight.numpy().T + bias.numpy()
        return np.concatenate([self.logits[:, :IMAGENET_CLASSES], rows], axis=1)


@torch.no_grad()
def classified(classifier: ClassifierNetwork, paths: list[Path]) -> Classified:
    """Features and logits of the photos' centre crops."""
    crops = [torch.from_numpy(centre_crop(Image.open(path)).copy()) for path in paths]
    rows = [classifier(pixels[None]) for pixels in crops]
    features, logits = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
    return Classified(features, logits)


def score(encoder: EmbeddedEncoder, logits: dict[str, np.ndarray]) -> dict[str, Score]:
    """Logits [n, classes] of each label's photos -> how well they find their label among all."""
    labels = list(logits)
    texts = encoder.encode_texts(labels)  # [L, D]
    return {
        label: _score_label(encoder.embed_logits(logits[label]) @ texts.T, index)
        for index, label in enumerate(labels)
    }


def _score_label(cosines: np.ndarray, label: int) -> Score:
    """Cosines [n,L] of one label's photos with every text -> its score."""
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
