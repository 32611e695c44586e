"""Draw what the model makes of real recordings: docs/images/real_recordings.png.

    python -m benchmarks.demo.real_recordings CORPUS [--model mini] [-o FILE]

All mixtures of pairs_test_wide.csv whose two recordings are CC0, CC BY, MIT or Philharmonia's are
separated by the target's label; drawn are those at fixed ranks of the score, so that nobody picks.
Prints their scores and sources as Markdown.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shlex
import sys
from datetime import date
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.speed import cpu_name
from clipsep import Separator
from clipsep.evaluation.mixtures import Mixture, load_sources, read_mixture_list
from clipsep.metrics import sdr
from clipsep.separation.files.figure import PooledSpectrogram, paint

LICENCES = ("CC0", "CC-BY", "CC BY", "MIT", "Philharmonia")
SHARE_ALIKE = ("SA", "per folder", "per file")  # pictures of these would need the same licence
SHARES = (0.95, 0.7, 0.5, 0.3, 0.05)  # of the mixtures that score no better
OUT = Path(__file__).parents[2] / "docs/images/real_recordings.png"
COLOURS = 128  # a third of the bytes, and no difference that one sees
SILENCE = 1e-12


def main() -> None:
    """Separate, choose, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--model", default="mini")
    parser.add_argument("-o", "--out", type=Path, default=OUT, metavar="FILE")
    args = parser.parse_args()
    with open(args.corpus / "manifest.csv", newline="") as file:
        rows = {args.corpus / row["path"]: row for row in csv.DictReader(file)}
    mixtures = [
        mixture
        for mixture in read_mixture_list(args.corpus / "pairs_test_wide.csv")
        if all(_may_be_drawn(rows[path]["license"]) for path in _recordings(mixture))
    ]
    separator = Separator.from_pretrained(args.model, device="cpu")
    scores = [_score(separator, mixture) for mixture in mixtures]
    order = np.argsort(scores)
    chosen = [int(order[round(share * (len(order) - 1))]) for share in SHARES]
    _draw([(mixtures[index], scores[index]) for index in chosen], separator, args.out)

    print(
        f"`python -m benchmarks.demo.real_recordings {shlex.join(sys.argv[1:])}`: "
        f"{len(mixtures)} mixtures, {cpu_name()}, {os.cpu_count()} cores, {date.today()}\n"
    )
    print("| better than | query | other sound | SDR, dB | recordings |\n|--:|---|---|--:|---|")
    for share, index in zip(SHARES, chosen, strict=True):
        mixture = mixtures[index]
        sources = "; ".join(
            f"{rows[path]['source']} ({rows[path]['license']})" for path in _recordings(mixture)
        )
        other = mixture.interferers[0].label
        print(f"| {share:.0%} | {mixture.query} | {other} | {scores[index]:.1f} | {sources} |")


def _may_be_drawn(licence: str) -> bool:
    return licence.startswith(LICENCES) and not any(word in licence for word in SHARE_ALIKE)


def _recordings(mixture: Mixture) -> list[Path]:
    return [mixture.target, *(interferer.path for interferer in mixture.interferers)]


def _separate(separator: Separator, mixture: Mixture) -> tuple[np.ndarray, ...]:
    """Return the mixture, its target and what was found: [n] each."""
    sources = load_sources(mixture)
    mixed = sources.sum(axis=0)
    result = separator.separate(mixed, mixture.sample_rate, [mixture.query])
    return mixed, sources[0], result.targets[mixture.query]


def _score(separator: Separator, mixture: Mixture) -> float:
    _, target, estimate = _separate(separator, mixture)
    return float(sdr(target, estimate))


def _draw(chosen: list[tuple[Mixture, float]], separator: Separator, path: Path) -> None:
    """One line for each mixture: itself, what is sought, what was found."""
    figure = Figure(figsize=(10, 1.7 * len(chosen)), dpi=100, layout="constrained")
    for axes, (mixture, score) in zip(figure.subplots(len(chosen), 3), chosen, strict=True):
        sounds = _separate(separator, mixture)
        levels = [_levels(sound, mixture.sample_rate) for sound in sounds]
        titles = (
            f"{mixture.query} + {mixture.interferers[0].label}",
            f"{mixture.query}, as recorded",
            f'-q "{mixture.query}": {score:.1f} dB',
        )
        for axis, level, title in zip(axes, levels, titles, strict=True):
            _show(axis, level, levels[0].max(), title)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def _levels(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Spectrogram [rows, columns] in dB."""
    pooled = PooledSpectrogram(sample_rate, len(sound))
    pooled.push(sound)
    return 10 * np.log10(pooled.finish() + SILENCE)


def _show(axis: Axes, levels: np.ndarray, top: float, title: str) -> None:
    axis.imshow(paint(levels, top), aspect="auto")
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_axis_off()


if __name__ == "__main__":
    main()
