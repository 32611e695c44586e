"""ESC-50 mixtures within one fold: `python -m benchmarks.esc50 CORPUS -o esc50-fold4.csv`.

Writes a list for `clipsep evaluate MODEL --list snr:esc50-fold4.csv --audio CORPUS`. With `--list
esc50_eval.csv`, AudioSep's own, it holds those of its 2,000 mixtures whose recordings are there; without,
each recording is mixed with one of another class. As AudioSep does, at 0 dB and 32 kHz, and the query is
ESC-50's own name of the class. CORPUS has a manifest.csv whose `source` names ESC-50's files.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from pathlib import Path
from typing import NamedTuple

_CLASSES = [
    "dog",
    "rooster",
    "pig",
    "cow",
    "frog",
    "cat",
    "hen",
    "insects",
    "sheep",
    "crow",
    "rain",
    "sea waves",
    "crackling fire",
    "crickets",
    "chirping birds",
    "water drops",
    "wind",
    "pouring water",
    "toilet flush",
    "thunderstorm",
    "crying baby",
    "sneezing",
    "clapping",
    "breathing",
    "coughing",
    "footsteps",
    "laughing",
    "brushing teeth",
    "snoring",
    "drinking sipping",
    "door wood knock",
    "mouse click",
    "keyboard typing",
    "door wood creaks",
    "can opening",
    "washing machine",
    "vacuum cleaner",
    "clock alarm",
    "clock tick",
    "glass breaking",
    "helicopter",
    "chainsaw",
    "siren",
    "car horn",
    "engine",
    "train",
    "church bells",
    "airplane",
    "fireworks",
    "hand saw",
]
# ESC-10's files have no class in their names; its labels in the corpus that differ from ESC-50's.
_RENAMED = {"dog barking": "dog", "rooster crowing": "rooster", "clock ticking": "clock tick"}
_SOURCE = re.compile(r"ESC-\d+ ((\d)-\d+-[A-Z])(?:-(\d+))?\.\w+")


class Recording(NamedTuple):
    """``name`` is ESC-50's, without class and ending."""

    name: str
    fold: int
    label: str
    path: str


def read_corpus(corpus: Path, split: str) -> list[Recording]:
    """ESC-50's recordings in one split of the corpus, sorted by name."""
    found = {}
    with open(corpus / "manifest.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            match = _SOURCE.fullmatch(row["source"])
            if match and row["split"] == split:
                name, fold, number = match.groups()
                label = (
                    _CLASSES[int(number)] if number else _RENAMED.get(row["label"], row["label"])
                )
                found[name] = Recording(name, int(fold), label, row["path"])
    return [found[name] for name in sorted(found)]


def published_pairs(path: Path, recordings: list[Recording]) -> list[tuple[Recording, Recording]]:
    """Read the rows of AudioSep's list whose recordings are both there."""
    by_name = {one.name: one for one in recordings}

    def find(name: str) -> Recording | None:
        return by_name.get(name.rpartition("-")[0])

    with open(path, newline="", encoding="utf-8") as file:
        rows = [(find(row["src_wav"]), find(row["noise_wav"])) for row in csv.DictReader(file)]
    return [(target, noise) for target, noise in rows if target and noise]


def drawn_pairs(recordings: list[Recording]) -> list[tuple[Recording, Recording]]:
    """Each recording with another class's, the same in every run."""
    draw = random.Random(0)
    return [
        (one, draw.choice([other for other in recordings if other.label != one.label]))
        for one in recordings
    ]


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("esc50-fold4.csv"))
    parser.add_argument("--list", type=Path, help="AudioSep's esc50_eval.csv")
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    recordings = [
        one for one in read_corpus(options.corpus, options.split) if one.fold == options.fold
    ]
    pairs = published_pairs(options.list, recordings) if options.list else drawn_pairs(recordings)
    with open(options.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            (
                "id",
                "target",
                "interferer",
                "snr_db",
                "query",
                "label",
                "interferer_label",
                "sample_rate",
            )
        )
        for number, (target, other) in enumerate(pairs):
            row = (target.path, other.path, 0, target.label, target.label, other.label, 32_000)
            writer.writerow((f"{number:04d}", *row))
    classes = len({target.label for target, _ in pairs})
    print(
        f"{options.output}: {len(pairs)} mixtures of {classes} classes, {len(recordings)} recordings"
    )


if __name__ == "__main__":
    main()
