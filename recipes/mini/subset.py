"""Part of a folder of stand-in videos, as links: `subset.py VIDEOS -o SUBSET --without 5`, `--share 0.25`.

For studies of what a model makes of classes that it never saw, or of less data. The choice depends on the
names alone.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path


def left_out(labels: set[str], count: int) -> list[str]:
    """So many classes, drawn once and for all."""
    return sorted(random.Random(0).sample(sorted(labels), count))


def shared(names: list[str], share: float) -> list[str]:
    """Choose a share of the videos; a smaller share is part of a larger one."""
    shuffled = random.Random(0).sample(sorted(names), len(names))
    return sorted(shuffled[: round(share * len(names))])


def main() -> None:
    """Choose and link."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--without", type=int, default=0, metavar="N", help="classes to leave out")
    parser.add_argument("--share", type=float, default=1.0, help="of the videos")
    args = parser.parse_args()
    if args.output.exists():
        parser.error(f"'{args.output}' is there already")
    if not 0 < args.share <= 1:
        parser.error("--share is a part of 1")
    with open(args.videos / "labels.csv", newline="", encoding="utf-8") as file:
        label_of = {row["path"]: row["label"] for row in csv.DictReader(file)}
    without = left_out(set(label_of.values()), args.without)
    names = [name for name, label in label_of.items() if label not in without]
    names = shared(names, args.share)
    for name in names:
        link = args.output / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((args.videos / name).resolve())
    with open(args.output / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows((name, label_of[name]) for name in names)
    print(f"{len(names)} of {len(label_of)} videos; left out: {', '.join(without) or 'no class'}")


if __name__ == "__main__":
    main()
