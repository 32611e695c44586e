"""Train variants of a model with several seeds and compare them: `study.py CORPUS STUDY.yaml --data DIR`.

A study names a config, changes for all runs, and changes (or a config) per variant; every run is scored
on the study's list of mixtures, or of them on those of some classes. Finished runs are kept and cut-off
ones go on; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import date
from pathlib import Path

import numpy as np
import torch
import yaml

from clipsep.evaluation.evaluate import evaluate
from clipsep.training.config import load_config
from clipsep.training.train import train

_ESTIMATES = {
    "text query": "SDR by text, dB",
    "image query": "SDR by image, dB",
    "best of 2 masks": "SDR of the better mask, dB",
}


def run_folder(runs: Path, study: str, variant: str, seed: int) -> Path:
    """Where a run lives: by the variant's first words."""
    slug = "-".join(re.findall(r"\w+", variant.split("(")[0]))
    return runs / study / f"{slug}-seed{seed}"


def train_and_score(
    folder: Path, study: dict, variant: dict, seed: int, data: Path, corpus: Path
) -> None:
    """One run from wherever it stands to its ``scores.json``."""
    settings = {**study, **variant}
    overrides = [*study["set"], *variant.get("change", []), f"seed={seed}", f"output={folder}"]
    config = load_config(
        Path(settings["config"]), [change.replace("{data}", str(data)) for change in overrides]
    )
    train(config, progress=False)
    kinds = settings.get("queries", ["text", "image"])  # none for PIT: the best of its masks
    report = evaluate(
        folder / "last",  # choosing among validations would look at labels
        corpus / study["mixtures"],
        "both" if len(kinds) == 2 else next(iter(kinds), None),
        images=corpus / "images" / Path(study["mixtures"]).stem.removeprefix("pairs_"),
        device="cpu",
        workers=1,
    )
    scores = [
        {
            "label": scored.mixture.label,
            **{name: scores.sdr for name, scores in scored.scores.items()},
        }
        for scored in report.mixtures
    ]
    finished = folder / "scores.json.part"
    finished.write_text(json.dumps(scores))
    finished.rename(folder / "scores.json")  # appears only when it is complete


def print_table(study: dict, runs: Path, name: str) -> None:
    """Mean over the list, then mean over seeds and the seeds' own standard deviation."""
    print(
        f"| variant | runs | {' | '.join(_ESTIMATES.values())} |\n|---|---|{'---|' * len(_ESTIMATES)}"
    )
    for variant in study["variants"]:
        files = [run_folder(runs, name, variant, seed) / "scores.json" for seed in study["seeds"]]
        scores = [read_scores(file, study.get("classes")) for file in files if file.is_file()]
        cells = [_spread(scores, estimate) for estimate in _ESTIMATES]
        print(f"| {variant} | {len(scores)} | {' | '.join(cells)} |")


def read_scores(file: Path, classes: list[str] | None) -> list[dict]:
    """Of the mixtures whose target is of one of the classes, or of all."""
    scores = json.loads(file.read_text())
    return [mixture for mixture in scores if classes is None or mixture["label"] in classes]


def _spread(runs: list[list[dict]], estimate: str) -> str:
    means = [
        np.mean([mixture[estimate] for mixture in run])
        for run in runs
        if run and estimate in run[0]
    ]
    if not means:
        return "-"
    spread = f" ± {np.std(means, ddof=1):.2f}" if len(means) > 1 else ""
    return f"{np.mean(means):.2f}{spread}"


def main() -> None:
    """Run what is missing, seed by seed, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the prepared data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="only print what is there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    study = yaml.safe_load(args.study.read_text(encoding="utf-8"))
    name = args.study.stem
    for seed in [] if args.report else study["seeds"]:
        for variant, settings in study["variants"].items():
            folder = run_folder(args.runs, name, variant, seed)
            if not (folder / "scores.json").is_file():
                train_and_score(folder, study, settings, seed, args.data, args.corpus)
                print(f"{folder} done", flush=True)
    print(f"{args.study.name}, {study['mixtures']}, seeds {study['seeds']}, {date.today()}\n")
    print_table(study, args.runs, name)


if __name__ == "__main__":
    main()
