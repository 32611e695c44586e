"""Score the demo against its parts: `python -m benchmarks.demo.score STEMS [--model mini]`.

STEMS is the folder that make_example.py wrote with --stems. Prints the SDR of speech and violin in the
mixture and as separated, over all channels and samples.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import numpy as np

from clipsep import Separator
from clipsep.media import read_audio

EXAMPLE = Path(__file__).parents[2] / "examples/speech-and-violin.flac"
QUERIES = {"speech": "person speaking", "violin": "violin"}


def sdr(target: np.ndarray, estimate: np.ndarray) -> float:
    """10 log10(|target|^2 / |target - estimate|^2), in dB."""
    return float(10 * np.log10(np.sum(target**2) / np.sum((target - estimate) ** 2)))


def main() -> None:
    """Separate, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stems", type=Path)
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    mixture, rate = read_audio(EXAMPLE)
    separator = Separator.from_pretrained(args.model, device="cpu")
    result = separator.separate(mixture, rate, list(QUERIES.values()))
    print(f"{EXAMPLE.name}, model {args.model}, {date.today()}\n")
    print("| part | query | SDR in the mixture, dB | SDR separated, dB |\n|---|---|---|---|")
    for stem, query in QUERIES.items():
        target, _ = read_audio(args.stems / f"{stem}.flac")
        before, after = sdr(target, mixture), sdr(target, result.targets[query])
        print(f"| {stem} | {query} | {before:.1f} | {after:.1f} |")


if __name__ == "__main__":
    main()
