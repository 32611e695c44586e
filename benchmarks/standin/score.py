"""Score a model on a fixed list of mixtures: `python benchmarks/standin/score.py CORPUS [--model mini]`.

A pair is as the corpus' README defines it; only the target is scored, over its whole length. Prints
mean and median SDR of the mixture, of the ideal binary mask, and with text and picture queries.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from datetime import date
from pathlib import Path

import numpy as np
import torch

from clipsep import Separator
from clipsep.media import read_audio
from clipsep.spectral import istft, stft

SAMPLES = 65535
RMS = 0.05


def load_segment(path: Path, start: int) -> np.ndarray:
    """``SAMPLES`` samples from ``start`` on, repeated if the clip is shorter, at an RMS of 0.05."""
    audio, rate = read_audio(path, mono=True)
    assert rate == 16000, path
    segment = np.take(audio, np.arange(start, start + SAMPLES), mode="wrap")
    return segment * (RMS / np.sqrt(np.mean(segment**2)))


def sdr(target: np.ndarray, estimate: np.ndarray) -> float:
    """10 log10(|target|^2 / |target - estimate|^2), in dB."""
    return float(10 * np.log10(np.sum(target**2) / np.sum((target - estimate) ** 2)))


def ideal_binary_mask(target: np.ndarray, interferer: np.ndarray) -> np.ndarray:
    """What a mask that knows the louder source of every STFT bin gives."""
    spectra = stft(torch.from_numpy(np.stack([target, interferer])), 1024, 256)
    mask = spectra[0].abs() > spectra[1].abs()
    return istft(spectra.sum(dim=0) * mask, 1024, 256, SAMPLES).numpy()


def score_pair(
    corpus: Path, row: dict[str, str], separator: Separator, queries: list[str]
) -> dict[str, float]:
    """SDR in dB of every kind of estimate of one pair."""
    target = load_segment(corpus / row["target"], int(row["target_start"]))
    interferer = load_segment(corpus / row["interferer"], int(row["interferer_start"]))
    interferer = (interferer * 10 ** (-float(row["snr_db"]) / 20)).astype(np.float32)
    target = target.astype(np.float32)
    mixture = target + interferer
    scores = {
        "mixture": sdr(target, mixture),
        "ideal binary mask": sdr(target, ideal_binary_mask(target, interferer)),
    }
    if "text" in queries:
        result = separator.separate(mixture, 16000, [row["query"]])
        scores["text query"] = sdr(target, result.targets[row["query"]])
    if "image" in queries:
        picture = random_picture(corpus, row)
        result = separator.separate(mixture, 16000, [picture])
        scores["picture query"] = sdr(target, result.targets[picture.name])
    return scores


def random_picture(corpus: Path, row: dict[str, str]) -> Path:
    """One photo of the target's class from the split of the list; the same in every run."""
    split = row["target"].split("/")[1]
    folder = corpus / "images" / split / row["label"].replace(" ", "_")
    return random.Random(row["id"]).choice(sorted(folder.glob("*.jpg")))


def print_summary(scores: list[dict[str, float]]) -> None:
    """A Markdown table of mean and median."""
    print("| SDR, dB | mean | median |\n|---|---|---|")
    for kind in scores[0]:
        values = [score[kind] for score in scores]
        print(f"| {kind} | {np.mean(values):.2f} | {np.median(values):.2f} |")


def print_classes(rows: list[dict[str, str]], scores: list[dict[str, float]]) -> None:
    """A Markdown table of the mean per class, best first by the first kind of query."""
    kinds = list(scores[0])[1:]
    by_class: dict[str, list[dict[str, float]]] = {}
    for row, score in zip(rows, scores, strict=True):
        by_class.setdefault(row["label"], []).append(score)
    means = {
        label: [float(np.mean([score[kind] for score in group])) for kind in kinds]
        for label, group in by_class.items()
    }
    print(f"\n| class | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for label, values in sorted(means.items(), key=lambda item: -item[1][1]):
        print(f"| {label} | {' | '.join(f'{value:.1f}' for value in values)} |")


def main() -> None:
    """Parse the command line, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--pairs", default="pairs_test.csv")
    parser.add_argument("--queries", nargs="+", default=["text", "image"])
    parser.add_argument("--prompts", help="another prompt set than the model's own")
    parser.add_argument("--every", type=int, default=1, help="score only every n-th pair")
    parser.add_argument("--classes", action="store_true", help="print a table by class as well")
    parser.add_argument("--json", type=Path, help="write the scores of every pair here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = Separator.from_pretrained(args.model, device="cpu")
    if args.prompts:
        separator.config = separator.config.model_copy(update={"prompts": args.prompts})
    with open(args.corpus / args.pairs, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:: args.every]
    scores = [score_pair(args.corpus, row, separator, args.queries) for row in rows]
    print(f"{args.pairs}, {len(rows)} pairs, model {args.model}, {date.today()}\n")
    print_summary(scores)
    if args.classes:
        print_classes(rows, scores)
    if args.json:
        records = [{"id": row["id"], **score} for row, score in zip(rows, scores, strict=True)]
        args.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
