"""Prints how well the embedded encoder joins images and texts: evaluate.py CORPUS

It must only read: photos of the corpus that no row was learnt from, and the encoder as it ships.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from class_table import Names
from learn_rows import FACES, ROWS
from photos import centre_logits, columns, mean_score, read_corpus, score

from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.image import IMAGENET_CLASSES

WORDINGS = Path(__file__).with_name("wordings.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with manifest.csv")
    labels, photos = read_corpus(parser.parse_args().corpus)
    photos = [photo for photo in photos if "train" not in photo.labels]
    _, logits = centre_logits(photos)
    encoders = {
        "1000 classes": EmbeddedEncoder(table=Names(labels).plain_table()),
        "as shipped": EmbeddedEncoder(),
    }
    shown = {
        "1000 classes": encoders["1000 classes"].embed_logits(logits[:, :IMAGENET_CLASSES]),
        "as shipped": encoders["as shipped"].embed_logits(logits),
    }
    print("| photos | labels | encoder | top-1 | top-5 | match | other |\n" + "|---" * 7 + "|")
    for split in ("val", "test"):
        for name, encoder in encoders.items():
            scores = score(shown[name], encoder.encode_texts(labels), labels, photos, (split,))
            usable = set(scores) - FACES
            groups = {
                "all": usable,
                "with a row": usable & set(ROWS),
                "without a row": usable - set(ROWS),
            }
            for title, group in groups.items():
                mean = mean_score([scores[label] for label in sorted(group)])
                print(f"| {split} | {title} ({len(group)}) | {name} | {columns(mean)} |")
    print(
        "\n| texts | nearest other label | wordings: top-1 | top-5 | match |\n" + "|---" * 5 + "|"
    )
    for name, encoder in encoders.items():
        print(f"| {name} | {_texts(encoder, labels)} |")


def _texts(encoder: EmbeddedEncoder, labels: list[str]) -> str:
    """How far the labels' texts lie apart, and how well other wordings find them."""
    lines = WORDINGS.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(": ", 1) for line in lines if not line.startswith("#")]
    own = np.array([labels.index(label) for label, _ in pairs])
    texts = encoder.encode_texts(labels)
    nearest = np.where(np.eye(len(labels), dtype=bool), -1, texts @ texts.T).max(1).mean()
    cosines = encoder.encode_texts([wording for _, wording in pairs]) @ texts.T
    match = cosines[np.arange(len(own)), own]
    rank = (cosines > match[:, None]).sum(1)
    return f"{nearest:.2f} | {(rank < 1).mean():.2f} | {(rank < 5).mean():.2f} | {match.mean():.2f}"


if __name__ == "__main__":
    main()
