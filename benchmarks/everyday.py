"""What a model makes of everyday sounds: `python -m benchmarks.everyday CORPUS [--model mini]`.

For each list of mixtures: the query is the target's label, by other words that it was not trained with,
and by an image; and sounds that are not there. Waveforms are scored as `clipsep evaluate` scores them; all
queries on a mixture share one pass of the network. Prints Markdown; --json keeps every number.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.speed import cpu_name
from clipsep.checkpoint import find_checkpoint, load_config
from clipsep.devices import one_thread
from clipsep.errors import ClipsepError
from clipsep.evaluation.mixtures import Mixture, load_sources, read_mixture_list
from clipsep.evaluation.scoring.separation import MixtureSeparator
from clipsep.feedback import IMAGE, TEXT
from clipsep.metrics import sdr
from clipsep.parallel.run import run_many
from clipsep.queries import load_query_encoder
from clipsep.queries.known import Familiarity, KnownSounds
from recipes.feedback.corpus import TEST, TRAIN, Corpus, Embeddings
from recipes.feedback.regression import auc, reliability

LISTS = ("pairs_test_wide", "pairs_test")
LABEL, WORDS, PHOTO, ABSENT = "label", "other words", "image", "absent sound"
FEWEST_IMAGES = 10  # to learn from, for a class to be queried by image


@dataclass(frozen=True, eq=False)
class Question:
    """One query on a mixture, embedded and drawn."""

    way: str
    text: str
    embedding: np.ndarray
    familiarity: Familiarity | None


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        label: of the target.
        sdr: of the target, in dB; None for an absent sound.
        leakage: energy of the estimate over the mixture's.
    """

    mixture: str
    label: str
    way: str
    text: str
    sdr: float | None
    leakage: float
    level: str | None
    confidence: float | None


@dataclass(frozen=True, eq=False)
class Job:
    """A mixture and all that is asked of it."""

    mixture: Mixture
    questions: Sequence[Question]


class Answering:
    """Separates one mixture by all its queries; each process loads the model once."""

    device = "cpu"

    def __init__(self, folder: Path, sensitivity: float):
        self._arguments = folder, sensitivity
        self._separator: MixtureSeparator | None = None

    def __call__(self, job: Job) -> list[Answer]:
        if self._separator is None:
            folder, sensitivity = self._arguments
            self._separator = MixtureSeparator(folder, "cpu", False, sensitivity)
        sources = load_sources(job.mixture)
        mixture = sources.sum(axis=0)
        estimates, feedback = self._separator.answer(
            mixture,
            job.mixture.sample_rate,
            np.stack([question.embedding for question in job.questions]),
            [question.familiarity for question in job.questions],
        )
        energy = np.square(mixture, dtype=np.float64).sum()
        return [
            Answer(
                job.mixture.id,
                job.mixture.label,
                question.way,
                question.text,
                None if question.way == ABSENT else float(sdr(sources[0], estimate)),
                float(np.square(estimate, dtype=np.float64).sum() / energy),
                question.familiarity.level if question.familiarity else None,
                said.confidence,
            )
            for question, estimate, said in zip(job.questions, estimates, feedback, strict=True)
        ]

    def died(self, job: Job) -> list[Answer]:
        raise ClipsepError(f"Mixture {job.mixture.id} ends the process that separates it.")

    def __reduce__(self) -> tuple:
        return Answering, self._arguments


class Interviewer:
    """Thinks of what to ask about mixtures; the same in every run."""

    def __init__(self, corpus: Corpus, embeddings: Embeddings, known: KnownSounds | None):
        self._corpus, self._embeddings, self._known = corpus, embeddings, known

    def jobs(self, mixtures: Sequence[Mixture], split: str) -> list[Job]:
        """Questions on every mixture of a list, whose images are those of a split."""
        labels = sorted({mixture.label for mixture in mixtures})
        return [Job(mixture, self._questions(mixture, labels, split)) for mixture in mixtures]

    def _questions(self, mixture: Mixture, labels: list[str], split: str) -> list[Question]:
        corpus, label = self._corpus, mixture.label
        # The first wording for testing chose settings of the model (recipes/feedback).
        ways = [(LABEL, label), *((WORDS, text) for text in corpus.wordings(label, TEST)[1:])]
        ways += [(ABSENT, text) for text in corpus.absent_labels(mixture, labels, 2)]
        questions = [self._question(way, text) for way, text in ways]
        images = corpus.images(label, split)
        if images and len(corpus.images(label, TRAIN)) >= FEWEST_IMAGES:
            image = random.Random(mixture.id).choice(images)
            questions.append(self._question(PHOTO, str(image)))
        return questions

    def _question(self, way: str, content: str) -> Question:
        kind = IMAGE if way == PHOTO else TEXT
        read = self._embeddings.images if kind == IMAGE else self._embeddings.texts
        rows = read([content])
        if self._known is None:
            return Question(way, content, rows[0], None)
        drawn = self._known.draw(rows, kind)[0]
        return Question(way, content, drawn, self._known.compare(rows[0], kind))


def print_scores(answers: Sequence[Answer]) -> None:
    """Write a line for each way of asking; differences are to the label, on the same mixtures."""
    plain = {one.mixture: one.sdr for one in answers if one.way == LABEL}
    print("| query | queries | SDR, dB: mean | median | worse than the mixture | to the label |")
    print("|---|--:|--:|--:|--:|--:|")
    for way in (LABEL, WORDS, PHOTO):
        own = [one for one in answers if one.way == way]
        if not own:
            continue
        scores = np.array([one.sdr for one in own])
        label = np.array([plain[one.mixture] for one in own])
        difference = "" if way == LABEL else f"{(scores - label).mean():+.2f}"
        print(
            f"| {way} | {len(own)} | {scores.mean():.2f} | {np.median(scores):.2f} | "
            f"{100 * (scores < 0).mean():.0f} % | {difference} |"
        )
    leakage = [one.leakage for one in answers if one.way == ABSENT]
    print(
        f"\nAbsent sounds ({len(leakage)}): {100 * np.mean(leakage):.1f} % of the energy (leakage), "
        f"median {100 * np.median(leakage):.1f} %."
    )


def print_parts(answers: Sequence[Answer], parts: dict[str, set[str]]) -> None:
    """Write the same by groups of labels."""
    print("\n| labels | mixtures | label: mean, dB | median | other words | image |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, labels in parts.items():
        cells = []
        for way in (LABEL, WORDS, PHOTO):
            scores = [one.sdr for one in answers if one.way == way and one.label in labels]
            cells.append(f"{np.mean(scores):.2f}" if scores else "")
            if way == LABEL:
                count = len(scores)
                cells.append(f"{np.median(scores):.2f}" if scores else "")
        print(f"| {name} | {count} | {' | '.join(cells)} |")


def print_feedback(answers: Sequence[Answer]) -> None:
    """How often queries are known, near or unknown, and whether the confidence can be believed."""
    if answers[0].level is not None:
        levels = ("known", "near", "unknown")
        print("\n| query | known | near | unknown | SDR, dB: known | near | unknown |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for way in (LABEL, WORDS, PHOTO):
            own = {
                level: [one.sdr for one in answers if one.way == way and one.level == level]
                for level in levels
            }
            total = max(sum(map(len, own.values())), 1)
            shares = [f"{100 * len(own[level]) / total:.0f} %" for level in levels]
            means = [f"{np.mean(own[level]):.2f}" if own[level] else "" for level in levels]
            print(f"| {way} | {' | '.join(shares + means)} |")
    if answers[0].confidence is None:
        return
    # As many for sounds that are there as for others.
    asked = [one for one in answers if one.way in (LABEL, WORDS, ABSENT)]
    there = np.array([one.way != ABSENT for one in asked])
    confidence = np.array([one.confidence for one in asked])
    error, rows = reliability(confidence, there)
    print(
        f"\nConfidence: calibration error {100 * error:.1f} % with {100 * there.mean():.0f} % of the "
        f"queries for present sounds, area under the curve {auc(confidence, there):.3f}.\n"
    )
    print("| confidence | queries | mean confidence | present |\n|---|--:|--:|--:|")
    for name, count, mean, share in rows:
        print(f"| {name} | {count} | {100 * mean:.0f} % | {100 * share:.0f} % |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--lists", nargs="+", default=LISTS, metavar="NAME", help="of the corpus")
    parser.add_argument("--wordings", type=Path, default=Path("recipes/everyday/wordings.csv"))
    parser.add_argument("--embeddings", type=Path, default=Path("data/feedback-embeddings.npz"))
    parser.add_argument("--sensitivity", type=float, default=0.5)
    parser.add_argument("--plain", action="store_true", help="do not draw queries")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every n-th mixture only")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    print(
        f"{cpu_name()}, {os.cpu_count()} cores, {date.today()}\n\n"
        f"`python -m benchmarks.everyday {shlex.join(sys.argv[1:])}`"
    )
    folder = find_checkpoint(args.model)
    config = load_config(folder)
    corpus = Corpus(args.corpus, args.wordings)
    encoder = load_query_encoder(config.query_encoder)
    embeddings = Embeddings(encoder, config.prompts, args.embeddings)
    known = None if args.plain else KnownSounds.load(folder, config)
    interviewer = Interviewer(corpus, embeddings, known)
    first = {one.label for one in read_mixture_list(args.corpus / "pairs_test.csv")}
    parts = {
        "the first 41 kinds": first,
        "other kinds": set(corpus.labels) - first,
    }
    if known:
        parts["kinds that were never taught"] = set(corpus.labels) - set(known.labels)
    results = {}
    for name in args.lists:
        began = time.perf_counter()
        mixtures = read_mixture_list(args.corpus / f"{name}.csv")[:: args.every]
        jobs = interviewer.jobs(mixtures, "val" if "val" in name else TEST)
        embeddings.save()
        with one_thread():
            done = run_many(Answering(folder, args.sensitivity), jobs, args.workers)
            answers = [answer for _, found in done for answer in found]
        print(f"\n**{name}**, {len(mixtures)} mixtures\n")
        print_scores(answers)
        print_parts(answers, parts)
        print_feedback(answers)
        print(f"\n{time.perf_counter() - began:.0f} s", flush=True)
        results[name] = [asdict(answer) for answer in answers]
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
