"""Prints how well the embedded encoder joins images and texts: evaluate.py CORPUS

It must only read: photos of the corpus and the encoder as it ships.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from photos import Score, mean_score, photo_paths, score
from PIL import Image
from safetensors import safe_open

from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.encoder import ClassTable
from clipsep.queries.embedded.files import CLASSES, FOLDER
from clipsep.queries.embedded.image import ImageClassifier

# Labels with fewer photos show the same ones in each split: their scores are of seen photos.
FEWEST = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with images/{train,val,test}/LABEL/*.jpg")
    corpus = parser.parse_args().corpus
    table = ClassTable.load()
    encoders = {
        "1000 classes": EmbeddedEncoder(table=table.without_extras()),
        "with extras": EmbeddedEncoder(table=table),
    }
    extra = extra_classes()
    classifier = ImageClassifier(threads=1)
    few = {label for label, paths in photo_paths(corpus, "train").items() if len(paths) < FEWEST}
    logits = {
        split: {
            label: classifier.classify([Image.open(path) for path in paths])[1]
            for label, paths in photo_paths(corpus, split).items()
        }
        for split in ("val", "test")
    }
    print_summary(encoders, logits, extra, few)
    print_labels(encoders, logits["test"], extra, few)


def extra_classes() -> set[str]:
    """Labels of the shipped extra classes."""
    with safe_open(FOLDER / CLASSES, "numpy") as file:
        return set(json.loads(file.metadata()["extra_classes"]))


def print_summary(
    encoders: dict[str, EmbeddedEncoder],
    logits: dict[str, dict[str, np.ndarray]],
    extra: set[str],
    few: set[str],
) -> None:
    print("| photos | labels | encoder | top-1 | top-5 | match | other | gap |")
    print("|---|---|---|---|---|---|---|---|")
    for split, by_label in logits.items():
        groups = {
            "all": set(by_label),
            "unseen photos": set(by_label) - few,
            "unseen, extra class": extra - few,
            "unseen, ImageNet": set(by_label) - extra - few,
        }
        for name, encoder in encoders.items():
            scores = score(encoder, by_label)
            for group, labels in groups.items():
                mean = mean_score([scores[label] for label in labels])
                gap = modality_gap(encoder, {label: by_label[label] for label in sorted(labels)})
                title = f"{group} ({len(labels)})"
                print(f"| {split} | {title} | {name} | {_columns(mean)} | {gap:.2f} |")


def print_labels(
    encoders: dict[str, EmbeddedEncoder],
    logits: dict[str, np.ndarray],
    extra: set[str],
    few: set[str],
) -> None:
    plain, full = (score(encoder, logits) for encoder in encoders.values())
    print("\n| label | photos | 1000 classes: top-1 | top-5 | match | other |", end="")
    print(" with extras: top-1 | top-5 | match | other |")
    print("|---" * 10 + "|")
    for label in logits:
        name = label + (" +" if label in extra else "") + (" *" if label in few else "")
        scores = f"{_columns(plain[label])} | {_columns(full[label])}"
        print(f"| {name} | {plain[label].photos} | {scores} |")


def modality_gap(encoder: EmbeddedEncoder, logits: dict[str, np.ndarray]) -> float:
    """Distance between the mean of the labels' mean image embeddings and the mean of the texts'.

    After Liang et al., 2022.
    """
    images = np.stack([encoder.embed_logits(rows).mean(0) for rows in logits.values()])
    texts = encoder.encode_texts(list(logits))
    return float(np.linalg.norm(images.mean(0) - texts.mean(0)))


def _columns(result: Score) -> str:
    return f"{result.top1:.2f} | {result.top5:.2f} | {result.match:.2f} | {result.other:.2f}"


if __name__ == "__main__":
    main()
