"""Where a pack's recordings come from: `python -m recipes.everyday.sources CORPUS` prints Markdown.

For the model card: minutes and labels of the training split's recordings whose licence lets weights be
shipped, by collection and licence, the longest first.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from recipes.everyday.pack import read_rows


def collection(source: str) -> str:
    """Name a collection: what stands before a recording's own name."""
    return source.replace(":", " ").replace("/", " ").split()[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    rows = [
        row
        for row in read_rows(parser.parse_args().corpus / "manifest.csv")
        if (row["kind"], row["split"], row["use"]) == ("audio", "train", "free")
    ]
    groups = defaultdict(list)
    for row in rows:
        groups[collection(row["source"]), row["license"]].append(row)
    minutes = {
        key: sum(float(row["seconds"]) for row in group) / 60 for key, group in groups.items()
    }
    print("| collection | recordings | minutes | labels | licence |\n|---|--:|--:|--:|---|")
    for key in sorted(groups, key=minutes.get, reverse=True):
        name, licence = key
        labels = len({row["label"] for row in groups[key]})
        print(f"| {name} | {len(groups[key])} | {minutes[key]:.1f} | {labels} | {licence} |")
    labels = len({row["label"] for row in rows})
    print(f"\n{len(rows)} recordings of {labels} labels, {sum(minutes.values()) / 60:.1f} hours")


if __name__ == "__main__":
    main()
