"""What the rows and the sounds of classes cost labels that they never saw: unseen_labels.py CORPUS

Four times, 20 labels are left out of everything: rows, photos, sounds of classes, names. It writes nothing.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from class_table import Names
from learn_rows import FACES, ROWS, free_features, learn_rows
from photos import Score, centre_logits, columns, mean_score, read_corpus, score

from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.image import IMAGENET_CLASSES, ImageClassifier

ROUNDS, LEFT_OUT = 4, 20
SPLITS = ("train", "val", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with manifest.csv")
    labels, photos = read_corpus(parser.parse_args().corpus)
    torch.set_num_threads(1)
    classifier = ImageClassifier(threads=1)
    samples = free_features(photos, lambda pixels: classifier(pixels)[0])
    features, logits = centre_logits(photos)
    plain = logits[:, :IMAGENET_CLASSES]
    names = Names(labels)
    shown = {label for photo in photos for group in photo.labels.values() for label in group}
    order = sorted(shown - FACES)
    random.Random(1).shuffle(order)
    found: dict[str, list[Score]] = defaultdict(list)
    for start in range(0, ROUNDS * LEFT_OUT, LEFT_OUT):
        unseen = order[start : start + LEFT_OUT]
        rows = [label for label in ROWS if label not in unseen]
        weight, bias = learn_rows(samples, rows, unseen)
        more = features @ weight.numpy().T + bias.numpy()
        table = names.table(rows, unseen)
        for title, encoder, seen in (
            ("1000 classes", EmbeddedEncoder(table=names.plain_table()), plain),
            ("with sounds", EmbeddedEncoder(table=table), plain),
            ("with sounds and rows", EmbeddedEncoder(table=table), np.hstack([plain, more])),
        ):
            images, texts = encoder.embed_logits(seen), encoder.encode_texts(labels)
            scores = score(images, texts, labels, photos, SPLITS, seen=True)
            found[title] += [scores[label] for label in unseen]
    print("| labels left out | top-1 | top-5 | match | other |\n" + "|---" * 5 + "|")
    for title, scores in found.items():
        print(f"| {title} | {columns(mean_score(scores))} |")


if __name__ == "__main__":
    main()
