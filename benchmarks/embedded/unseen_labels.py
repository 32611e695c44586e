"""What the extra classes cost labels that were never shown to them: unseen_labels.py CORPUS

It must learn the extra rows from photos of the extra labels alone, and write nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.embedded.build_assets import add_extra_classes
from benchmarks.embedded.evaluate import FEWEST, extra_classes
from benchmarks.embedded.photos import centre_features, mean_score, photo_paths, score
from clipsep.queries.embedded.encoder import ClassTable, EmbeddedEncoder
from clipsep.queries.embedded.image import PictureClassifier

SPLITS = ("train", "val", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with images/{train,val,test}/LABEL/*.jpg")
    corpus = parser.parse_args().corpus
    torch.set_num_threads(1)
    classifier, extra = PictureClassifier(), extra_classes()
    paths = {split: photo_paths(corpus, split) for split in SPLITS}
    seen = {label: files for label, files in paths["train"].items() if label in extra}
    plain = ClassTable.load().without_extras()
    blind = add_extra_classes(plain, classifier, seen, list(seen))

    features = {
        label: centre_features(
            classifier, [file for split in SPLITS for file in paths[split][label]]
        )
        for label in paths["train"]
    }
    unseen = [label for label in features if label not in extra]
    many = [label for label in unseen if len(paths["train"][label]) >= FEWEST]
    for name, table in (("1000 classes", plain), ("with extras, blind", blind)):
        scores = score(EmbeddedEncoder(table=table), features)
        for title, labels in (("all", unseen), (f"{FEWEST} photos or more", many)):
            mean = mean_score([scores[label] for label in labels])
            print(
                f"{name}: labels without an extra class, {title} ({len(labels)}): "
                f"top-1 {mean.top1:.3f}, top-5 {mean.top5:.3f}, match {mean.match:.2f}"
            )


if __name__ == "__main__":
    main()
