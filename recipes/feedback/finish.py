"""Finish a trained checkpoint: `python -m recipes.feedback.finish CHECKPOINT CORPUS`.

Adds what is needed for feedback on queries and answers: the table of known sounds, from which
similarity on a query is known or near, how far queries are drawn towards known sounds, and the
calibration of the confidence. Everything is chosen on CORPUS/pairs_val_wide.csv and pairs_val.csv; the
tables that are printed belong to docs/results.md. Run it after the export.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.speed import cpu_name
from clipsep.checkpoint import find_checkpoint, load_config, save_config
from clipsep.evaluation.mixtures import Mixture, read_mixture_list
from clipsep.feedback import IMAGE, TEXT, ConfidenceSettings, Drawing, Kind, KnownSettings
from clipsep.queries import load_query_encoder
from clipsep.queries.known import KnownSounds, save_known_sounds
from clipsep.separation.masking.confidence import FEATURES
from recipes.feedback.corpus import TEST, Corpus, Embeddings
from recipes.feedback.known import known_table, thresholds
from recipes.feedback.probes import ABSENT, Probe, ask
from recipes.feedback.regression import auc, fit_logistic, out_of_fold, reliability

LISTS = ("pairs_val_wide.csv", "pairs_val.csv")
TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.1)
SHARES = (0.4, 0.6, 0.8, 1.0)
_DECIMALS = 5


@dataclass(frozen=True)
class _Query:
    """One query on a mixture: a text, or an image's path, and the source it asks for."""

    kind: str
    content: str
    source: int


def finish(
    folder: Path, corpus: Corpus, embeddings_file: Path, workers: int = 1, every: int = 1
) -> None:
    """Write feedback into a checkpoint folder and print how it was chosen.

    Args:
        folder: of a checkpoint; its known sounds are kept if it names some, else they are the labels
            of the corpus that may be learnt.
        embeddings_file: keeps embeddings for the next run.
        every: use every n-th mixture only, to try it out.
    """
    config = load_config(folder)
    encoder = load_query_encoder(config.query_encoder)
    embeddings = Embeddings(encoder, config.prompts, embeddings_file)
    mixtures = [m for name in LISTS for m in read_mixture_list(corpus.folder / name)[::every]]
    wide = mixtures[: len(read_mixture_list(corpus.folder / LISTS[0])[::every])]
    table = known_table(config.known_sounds or corpus.trained_labels(), corpus, embeddings)
    settings = KnownSettings(
        wordings=table.wordings, thresholds=thresholds(table, corpus, embeddings)
    )
    print(f"{len(table.labels)} known sounds, {len(table.vectors)} embeddings")
    print("\n| query | known from | near from |\n|---|--:|--:|")
    for kind, limits in settings.thresholds.items():
        print(f"| {kind} | {limits.known:.3f} | {limits.near:.3f} |")
    print()
    settings = _choose_drawing(folder, wide, corpus, embeddings, table.sounds, settings, workers)
    print()
    known = table.sounds(settings)
    confidence = _calibrate(folder, mixtures, corpus, embeddings, known, workers)
    embeddings.save()
    save_known_sounds(folder, table.vectors, table.owners, table.kinds)
    changes = {"known_sounds": table.labels, "known": settings, "confidence": confidence}
    save_config(folder, config.model_copy(update=changes))


def _choose_drawing(
    folder: Path,
    mixtures: list[Mixture],
    corpus: Corpus,
    embeddings: Embeddings,
    sounds,
    settings: KnownSettings,
    workers: int,
) -> KnownSettings:
    """Choose temperature and share, for texts and for images, by the sum of mean and median SDR.

    For texts, those of labels and of other words count alike. The mean alone is moved by the few sounds
    that are found at all only when drawn, and does not feel what many others lose.
    """
    drawings = [Drawing(), *(Drawing(temperature=t, share=s) for t in TEMPERATURES for s in SHARES)]
    chosen = {}
    for kind, names in ((TEXT, ("labels", "other words")), (IMAGE, ("images",))):
        tables = [
            sounds(settings.model_copy(update={"drawing": {kind: drawing}})) for drawing in drawings
        ]
        probes = []
        for mixture in mixtures:
            rows = _rows_of(mixture, kind, corpus, embeddings)
            if rows is not None:
                drawn = np.concatenate([table.draw(rows, kind) for table in tables])
                probes.append(Probe(mixture, drawn, [0] * len(drawn)))
        answers = ask(folder, probes, workers)
        # [mixtures, drawings, names]
        sdr = np.stack([one.sdr.reshape(len(drawings), len(names)) for one in answers])
        mean, median = sdr.mean(axis=0), np.median(sdr, axis=0)
        heads = " | ".join(f"{name}: mean, dB | median" for name in names)
        print(f"| temperature | share | {heads} |\n|--:|--:|{'--:|--:|' * len(names)}")
        for drawing, means, medians in zip(drawings, mean, median, strict=True):
            temperature = f"{drawing.temperature:g}" if drawing.share else "none"
            scores = " | ".join(f"{a:.2f} | {b:.2f}" for a, b in zip(means, medians, strict=True))
            print(f"| {temperature} | {drawing.share:g} | {scores} |")
        chosen[kind] = drawings[int((mean + median).mean(axis=1).argmax())]
        print(f"\n{kind}: {chosen[kind]}, {len(probes)} mixtures\n")
    return settings.model_copy(update={"drawing": chosen})


def _rows_of(
    mixture: Mixture, kind: Kind, corpus: Corpus, embeddings: Embeddings
) -> np.ndarray | None:
    """Embed a mixture's label and another wording of it, or one image; None if there is none."""
    if kind == IMAGE:
        paths = corpus.some_images(mixture.label, "val", 1)
        return embeddings.images([str(path) for path in paths]) if paths else None
    wordings = corpus.wordings(mixture.label, TEST)
    return embeddings.texts([mixture.label, wordings[0]]) if wordings else None


def _queries(mixture: Mixture, labels: list[str], corpus: Corpus) -> list[_Query]:
    """As many queries for sounds that are there as for others, alike in kind."""
    present = [mixture.label, mixture.interferers[0].label]
    absent = corpus.absent_labels(mixture, labels, 3)
    queries = [_Query(TEXT, label, source) for source, label in enumerate(present)]
    queries += [_Query(TEXT, label, ABSENT) for label in absent[:2]]
    for label, source in ((present[0], 0), *((label, ABSENT) for label in absent[-1:])):
        for wording in corpus.wordings(label, TEST)[:1]:
            queries.append(_Query(TEXT, wording, source))
        for path in corpus.some_images(label, "val", 1):
            queries.append(_Query(IMAGE, str(path), source))
    return queries


def _calibrate(
    folder: Path,
    mixtures: list[Mixture],
    corpus: Corpus,
    embeddings: Embeddings,
    known: KnownSounds,
    workers: int,
) -> ConfidenceSettings:
    """Fit the confidence, print its reliability on mixtures that it was not fitted to."""
    labels = sorted({mixture.label for mixture in mixtures})
    asked = [_queries(mixture, labels, corpus) for mixture in mixtures]
    probes, scores = [], []
    for mixture, queries in zip(mixtures, asked, strict=True):
        rows = []
        for query in queries:
            read = embeddings.texts if query.kind == TEXT else embeddings.images
            row = read([query.content])
            rows.append(known.draw(row, query.kind))
            scores.append(known.compare(row[0], query.kind).score)
        probes.append(Probe(mixture, np.concatenate(rows), [query.source for query in queries]))
    answers = ask(folder, probes, workers)
    features = np.column_stack([np.concatenate([one.features for one in answers]), scores])
    kinds = np.array([query.kind for queries in asked for query in queries])
    outcome = np.array([query.source != ABSENT for queries in asked for query in queries])
    groups = np.repeat(np.arange(len(asked)), [len(queries) for queries in asked])
    offset, weights = fit_logistic(features, outcome)
    fair = out_of_fold(features, outcome, groups)
    _print_reliability(fair, features, outcome, kinds, groups)
    return ConfidenceSettings(
        offset=round(offset, _DECIMALS),
        weights=dict(zip(FEATURES, np.round(weights, _DECIMALS).tolist(), strict=True)),
    )


def _print_reliability(fair, features, outcome, kinds, groups) -> None:
    error, rows = reliability(fair, outcome)
    print(
        f"{len(outcome)} queries on {groups[-1] + 1} mixtures, {100 * outcome.mean():.0f} % of them for "
        f"sounds that are there; each judged by a fit to the other four fifths of the mixtures. Expected "
        f"calibration error {100 * error:.1f} %, area under the curve {auc(fair, outcome):.3f}.\n"
    )
    print("| confidence | queries | mean confidence | present |\n|---|--:|--:|--:|")
    for name, count, confidence, share in rows:
        print(f"| {name} | {count} | {100 * confidence:.0f} % | {100 * share:.0f} % |")
    print("\n| queries | count | calibration error | area under the curve |\n|---|--:|--:|--:|")
    for kind in (TEXT, IMAGE):
        own = kinds == kind
        if own.any() and 0 < outcome[own].mean() < 1:
            error = reliability(fair[own], outcome[own])[0]
            print(
                f"| {kind} | {own.sum()} | {100 * error:.1f} % | {auc(fair[own], outcome[own]):.3f} |"
            )
    print("\n| without the feature | area under the curve |\n|---|--:|")
    for place, name in enumerate(FEATURES):
        rest = np.delete(features, place, axis=1)
        print(f"| {name} | {auc(out_of_fold(rest, outcome, groups), outcome):.3f} |")


def main() -> None:
    """Parse the command line and finish a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("checkpoint", help="folder, or the name of a shipped model")
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument(
        "--wordings", type=Path, default=Path("recipes/everyday/wordings.csv"), metavar="CSV"
    )
    parser.add_argument(
        "--embeddings", type=Path, default=Path("data/feedback-embeddings.npz"), metavar="FILE"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every n-th mixture only")
    args = parser.parse_args()
    print(f"{cpu_name()}, {args.workers} core(s), {date.today()}, model {args.checkpoint}\n")
    began = time.perf_counter()
    corpus = Corpus(args.corpus, args.wordings)
    finish(find_checkpoint(args.checkpoint), corpus, args.embeddings, args.workers, args.every)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
