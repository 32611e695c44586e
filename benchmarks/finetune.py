"""What `clipsep finetune` gains for a new sound, and what it costs elsewhere.

    python -m benchmarks.finetune CORPUS --label harpsichord --label "sea lion barking"

The labels must not be among the sounds that the model knows. Each is taught from its recordings of the
training split, with recordings of known sounds as the others; one in four is held out for the gain. What is
forgotten is measured on every n-th mixture of CORPUS/pairs_test_wide.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from benchmarks.speed import cpu_name
from clipsep.checkpoint import find_checkpoint, load_config
from clipsep.workflows.finetune import Finetuning, finetune


def recordings(corpus: Path) -> dict[str, list[Path]]:
    """List the recordings of the training split by their labels."""
    found: dict[str, list[Path]] = {}
    with open(corpus / "manifest.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["kind"], row["split"]) == ("audio", "train"):
                found.setdefault(row["label"], []).append(corpus / row["path"])
    return found


def link(paths: list[Path], folder: Path) -> None:
    """Make a folder of links."""
    folder.mkdir(parents=True)
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--others", type=int, default=60, help="known sounds to mix with")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--every", type=int, default=5, help="of the wide test mixtures")
    options = parser.parse_args()
    known = load_config(find_checkpoint(options.model)).known_sounds
    found = recordings(options.corpus)
    rows = []
    for label in options.label:
        if label in known:
            raise SystemExit(f"'{label}' is a sound that {options.model} knows already.")
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            link(found[label], folder / "clips")
            others = [name for name in known if len(found.get(name, ())) >= 4]
            for name in others[:: max(1, len(others) // options.others)]:
                link(found[name][:4], folder / "others" / name.replace(" ", "_"))
            request = Finetuning(
                name=label,
                clips=folder / "clips",
                others=folder / "others",
                output=folder / "run",
                model=options.model,
                steps=options.steps,
                share=options.share,
                check=str(options.corpus / "pairs_test_wide.csv"),
                audio=options.corpus,
                every=options.every,
            )
            report = finetune(request, lambda sentence: print(sentence, file=sys.stderr))
        minutes = (time.monotonic() - started) / 60
        for score in report.scores:
            change = f"{score.after - score.before:+.2f} ± {score.difference_error or 0:.2f}"
            what = Path(score.what).name
            rows.append(
                f"| {label} ({len(found[label])}) | {what}, {score.mixtures} mixtures "
                f"| {score.before:.2f} | {score.after:.2f} | {change} | {minutes:.1f} |"
            )
    print(f"{cpu_name()}, {os.cpu_count()} cores, {date.today()}\n")
    print("| sound (recordings) | scored on | before, dB | after | change | minutes |")
    print("|---|---|--:|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
