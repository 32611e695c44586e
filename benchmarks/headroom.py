"""Where the rest is lost: in what the network hears, or in what the query asks of it?

    python -m benchmarks.headroom CORPUS [--list pairs_val_wide.csv] [--model mini] [--count 60]

For each mixture, with the true sound known, gradient descent looks for what would have given the best SDR:
one number that is added to the logits of the mask, or the query's own weights of the network's features.
Nothing else changes. Beside the list, the same pairs of labels from recordings that the model has learnt.
Needs `clipsep[torch]`, and a model whose decoder no query steers.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.asking import excerpt
from benchmarks.corpus import spread_rows
from clipsep import Separator, load_checkpoint
from clipsep.models.transforms import apply_mask, log_magnitude, stft

_BATCH = 32
_STEPS = {"bias": (40, 0.15), "weights": (60, 0.05)}  # and their size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--list", default="pairs_val_wide.csv")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    corpus = arguments.corpus
    rows = spread_rows(corpus / arguments.list, arguments.count)
    separator = Separator.from_pretrained(arguments.model, device="cpu")
    model = load_checkpoint(arguments.model)
    print(
        "| recordings | mixtures | as it is | one number each | weights each |\n|---|--:|--:|--:|--:|"
    )
    for name, some in ((arguments.list, rows), ("learnt ones", list(learnt(corpus, rows)))):
        scores = [
            torch.cat(part) for part in zip(*measure(corpus, some, separator, model), strict=True)
        ]
        cells = (f"{score.mean():.2f} / {score.median():.2f}" for score in scores)
        print(f"| {name} | {len(some)} | {' | '.join(cells)} |", flush=True)


def learnt(corpus: Path, rows: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Repeat the rows with recordings of the same labels that shipped weights may learn from."""
    of_label: dict[str, list[str]] = {}
    with (corpus / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "audio" and row["split"] == "train" and row["use"] == "free":
                of_label.setdefault(row["label"], []).append(row["path"])
    chance = random.Random(0)
    for row in rows:
        labels = row["label"], row["interferer_label"]
        if all(label in of_label for label in labels):
            target, interferer = (chance.choice(of_label[label]) for label in labels)
            new = {"target": target, "interferer": interferer}
            yield {**row, **new, "target_start": "0", "interferer_start": "0"}


def measure(corpus, rows, separator, model) -> Iterator[tuple[torch.Tensor, ...]]:
    """SDR of batches of mixtures, in dB: as it is, with a bias for each, with query weights for each."""
    spectral, network = model.config.spectral, model.model.requires_grad_(False).network
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        target, other = (
            torch.from_numpy(
                np.stack([excerpt(corpus / row[of], int(row[f"{of}_start"])) for row in some])
            )
            for of in ("target", "interferer")
        )
        mixture = target + other
        query = torch.from_numpy(separator.encode([row["query"] for row in some]).embeddings)[
            :, None
        ]
        spectrum = stft(mixture, spectral.n_fft, spectral.hop_length)
        with torch.no_grad():
            # Decoded once, for a decoder that no query steers: mask_logits would do it in each step.
            features = network.decode(network(log_magnitude(spectrum, spectral)[:, None]))
            weights = model.model.query_weights(query)
        bias = model.model.bias.expand(len(some), 1, 1, 1)

        def score(
            weights, bias, features=features, spectrum=spectrum, mixture=mixture, target=target
        ) -> torch.Tensor:
            mask = (network.project(features, weights) + bias).sigmoid()
            estimate = apply_mask(spectrum[:, None], mask, spectral, mixture.shape[-1])[:, 0]
            ratio = target.square().sum(-1) / ((target - estimate).square().sum(-1) + 1e-8)
            return 10 * torch.log10(ratio)

        with torch.no_grad():
            as_it_is = score(weights, bias)
        yield (
            as_it_is,
            best(partial(score, weights), bias, *_STEPS["bias"]),
            best(partial(score, bias=bias), weights, *_STEPS["weights"]),
        )


def best(
    score: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, steps: int, size: float
) -> torch.Tensor:
    """Score each mixture after `steps` of Adam from ``start`` on."""
    free = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([free], lr=size)
    for _ in range(steps):
        optimizer.zero_grad()
        (-score(free).sum()).backward()
        optimizer.step()
    with torch.no_grad():
        return score(free)


if __name__ == "__main__":
    main()
