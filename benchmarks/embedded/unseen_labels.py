"""What the extra classes cost labels that were never shown to them: unseen_labels.py CORPUS

It must learn the extra rows from photos of the extra labels alone, and write nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from build_assets import learn_rows, with_extras
from evaluate import FEWEST, extra_classes
from networks import ClassifierNetwork
from photos import classified, mean_score, photo_paths, score

from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.encoder import ClassTable
from clipsep.queries.embedded.image import FEATURES

SPLITS = ("train", "val", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with images/{train,val,test}/LABEL/*.jpg")
    corpus = parser.parse_args().corpus
    torch.set_num_threads(1)
    classifier = ClassifierNetwork(torch.zeros(0, FEATURES), torch.zeros(0))
    extra = extra_classes()
    paths = {split: photo_paths(corpus, split) for split in SPLITS}
    seen = {label: files for label, files in paths["train"].items() if label in extra}
    plain = ClassTable.load().without_extras()
    blind = with_extras(plain, list(seen))
    rows = learn_rows(classifier, seen, list(seen))

    photos = {
        label: classified(classifier, [file for split in SPLITS for file in paths[split][label]])
        for label in paths["train"]
    }
    logits = {label: part.with_rows(*rows) for label, part in photos.items()}
    unseen = [label for label in photos if label not in extra]
    many = [label for label in unseen if len(paths["train"][label]) >= FEWEST]
    for name, table in (("1000 classes", plain), ("with extras, blind", blind)):
        scores = score(EmbeddedEncoder(table=table), logits)
        for title, labels in (("all", unseen), (f"{FEWEST} photos or more", many)):
            mean = mean_score([scores[label] for label in labels])
            print(
                f"{name}: labels without an extra class, {title} ({len(labels)}): "
                f"top-1 {mean.top1:.3f}, top-5 {mean.top5:.3f}, match {mean.match:.2f}"
            )


if __name__ == "__main__":
    main()
