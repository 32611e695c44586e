"""How robust a model is: `python -m benchmarks.robustness CORPUS [--model mini]`.

Asks for the targets of CORPUS/pairs_test.csv by other words than their labels (wordings.csv), and mixes
them at other levels and with more sounds. Text queries only; prints Markdown tables. Scoring is
`clipsep evaluate`'s.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shlex
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

from benchmarks.speed import cpu_name
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.report.statistics import Report
from clipsep.evaluation.report.values import Statistic
from clipsep.evaluation.scoring.ideal_masks import BINARY
from clipsep.evaluation.scoring.score import MIXTURE

WORDINGS = Path(__file__).parent / "wordings.csv"
LABEL = "label"
LEVELS = (10, 5, 0, -5, -10)  # dB of the target over the interferer
SOURCES = (2, 3, 4)

Row = dict[str, str]  # of a list of mixtures
Score = Callable[[list[Row]], Report]


def read_wordings(path: Path) -> dict[str, dict[str, str]]:
    """Words by the way of saying it and the label; the first way is the label itself."""
    rows = read_rows(path)
    return {way: {row[LABEL]: row[way] for row in rows} for way in rows[0]}


def with_words(rows: list[Row], words: dict[str, str]) -> list[Row]:
    """Ask the same mixtures with ``words[label]`` as queries."""
    return [{**row, "query": words[row[LABEL]]} for row in rows]


def with_level(rows: list[Row], snr_db: float) -> list[Row]:
    """Mix the same sounds, the target ``snr_db`` over the interferer."""
    return [{**row, "snr_db": str(snr_db)} for row in rows]


def with_sources(rows: list[Row], count: int) -> list[Row]:
    """Mix the same targets, each with the targets of other rows: ``count`` classes, all equally loud.

    The list must have that many. The sounds of a larger count include those of a smaller.
    """
    return [{**row, **_interferers(row, rows, count - 1)} for row in rows]


def _interferers(row: Row, rows: list[Row], count: int) -> Row:
    """Cells of ``count`` interferers of other classes, drawn by the id of ``row``."""
    drawn = {row[LABEL]: row}
    for other in random.Random(row["id"]).sample(rows, len(rows)):
        drawn.setdefault(other[LABEL], other)
    others = list(drawn.values())[1 : count + 1]
    return {
        "interferer": ";".join(other["target"] for other in others),
        "interferer_start": ";".join(other["target_start"] for other in others),
        "interferer_label": ";".join(other[LABEL] for other in others),
        "snr_db": "0",
    }


def read_rows(path: Path) -> list[Row]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def score(rows: list[Row], corpus: Path, model: str, every: int, workers: int | None) -> Report:
    """Evaluate a model on a list of mixtures whose paths are relative to ``corpus``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixtures.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return evaluate(
            model, path, "text", root=corpus, device="cpu", workers=workers, every=every
        )


def print_wordings(rows: list[Row], score_rows: Score) -> None:
    """Write a line for each way of saying what is wanted, against the label."""
    wordings = read_wordings(WORDINGS)
    if missing := {row[LABEL] for row in rows} - wordings[LABEL].keys():
        raise SystemExit(f"'{WORDINGS}' has no row for '{min(missing)}'.")
    print("| wording | spelt as the label | SDR, dB | median | difference | lose most |")
    print("|---|--:|--:|--:|--:|---|")
    plain = None
    for way, words in wordings.items():
        report = score_rows(with_words(rows, words))
        plain = plain or report
        sdr = report.statistic(report.model_estimates[0], "sdr")
        cells = [way, f"{spelt_alike(words)} of {len(words)}", mean(sdr), f"{sdr.median:.2f}"]
        cells += ["", ""] if way == LABEL else compare(differences(report, plain))
        print(f"| {' | '.join(cells)} |", flush=True)


def spelt_alike(words: dict[str, str]) -> int:
    return sum(label.casefold() == word.casefold() for label, word in words.items())


def differences(report: Report, plain: Report) -> dict[str, float]:
    """Mean change in SDR against ``plain``, a report on the same mixtures, by class."""
    return {
        label: Statistic.of(
            mixture.scores[report.model_estimates[0]].sdr
            - reference.scores[plain.model_estimates[0]].sdr
            for mixture, reference in zip(mixtures, plain.by_class[label], strict=True)
        ).mean
        for label, mixtures in report.by_class.items()
    }


def compare(by_class: dict[str, float]) -> list[str]:
    """Cells: the mean difference with its error, and the three classes that lose most.

    The error is that over classes, not mixtures: a class has one wording, and its mixtures share it.
    """
    losers = [label for label in sorted(by_class, key=by_class.get)[:3] if by_class[label] < 0]
    worst = ", ".join(f"{label} ({by_class[label]:+.1f})" for label in losers)
    return [mean(Statistic.of(by_class.values()), "+.2f"), worst or "none"]


def print_levels(rows: list[Row], score_rows: Score) -> None:
    """Write a line for each level."""
    lists = {f"{level} dB": with_level(rows, level) for level in LEVELS}
    print_lists("target over interferer", lists, score_rows)


def print_sources(rows: list[Row], score_rows: Score) -> None:
    """Write a line for each number of sounds."""
    lists = {f"{count} sounds": with_sources(rows, count) for count in SOURCES}
    print_lists("mixture of", lists, score_rows)


def print_lists(heading: str, lists: dict[str, list[Row]], score_rows: Score) -> None:
    """Write a line for each list of mixtures."""
    print(f"| {heading} | mixture | text query | median | improvement | ideal binary mask |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, rows in lists.items():
        report = score_rows(rows)
        estimate = report.model_estimates[0]
        sdr = report.statistic(estimate, "sdr")
        cells = [
            name,
            mean(report.statistic(MIXTURE, "sdr")),
            mean(sdr),
            f"{sdr.median:.2f}",
            mean(report.statistic(estimate, "sdr_improvement")),
            mean(report.statistic(BINARY, "sdr")),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def mean(statistic: Statistic, digits: str = ".2f") -> str:
    """With its standard error, where there is one."""
    error = statistic.standard_error
    value = round(statistic.mean, 2) + 0.0  # no -0.00
    return f"{value:{digits}}" + ("" if error is None else f" ± {error:.2f}")


PARTS = {"wording": print_wordings, "level": print_levels, "sources": print_sources}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth mixture only")
    parser.add_argument("--workers", type=int, metavar="N", help="processes, by default one a core")
    parser.add_argument("--part", choices=PARTS, help="all by default")
    args = parser.parse_args()
    rows = read_rows(args.corpus / "pairs_test.csv")
    score_rows = partial(
        score, corpus=args.corpus, model=args.model, every=args.every, workers=args.workers
    )
    print(
        f"{cpu_name()}, {os.cpu_count()} cores, {date.today()}, model {args.model}, "
        f"{len(rows[:: args.every])} mixtures, SDR in dB: mean ± standard error\n\n"
        f"`python -m benchmarks.robustness {shlex.join(sys.argv[1:])}`"
    )
    for part in [args.part] if args.part else PARTS:
        print()
        PARTS[part](rows, score_rows)


if __name__ == "__main__":
    main()
