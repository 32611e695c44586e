"""Scores of one test mixture: everything that is estimated of it, measured against its sources.

It is the work of one process on one pair; lists and summaries are made elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsep.errors import ClipsepError
from clipsep.evaluation.ideal_masks import ideal_estimates
from clipsep.evaluation.mixtures import SAMPLE_RATE, Pair, load_sources
from clipsep.evaluation.separation import MixtureSeparator
from clipsep.metrics import bss_metrics, is_silent, sdr, si_sdr

MIXTURE = "mixture"
PUBLISHED_SAMPLES = 65_280  # what the published inverse STFT gives back of a mixture


class Scores(NamedTuple):
    """Metrics of one estimate in dB; ``sdr_improvement`` is over the mixture's own SDR."""

    sdr: float
    sdr_improvement: float
    si_sdr: float
    sir: float
    sar: float


@dataclass(frozen=True, eq=False)
class PairJob:
    """One pair to score.

    Attributes:
        queries: embeddings [D] by the name of the estimate; empty for a model without queries.
        absent_queries: by the same names, those of a sound that is not in the mixture; may be empty.
        absent: that sound's text.
        keep_sounds: for an example to listen to.
    """

    pair: Pair
    queries: dict[str, np.ndarray]
    absent_queries: dict[str, np.ndarray]
    absent: str | None = None
    keep_sounds: bool = False


@dataclass(frozen=True, eq=False)
class PairScores:
    """What was measured of one pair.

    Attributes:
        scores: by the estimate: the mixture itself, ideal masks, and the answers of the model.
        absent: text of a sound that is not in the mixture; None if it was not asked for one.
        let_through: energy of the answer to that sound's query over the mixture's, by the estimate.
        silent_reference: whether a source is silent as the published evaluation defines it.
        silent_estimates: which estimates are.
        sounds: of examples only: the target, the mixture and the model's answers, float32 [T].
    """

    pair: Pair
    scores: dict[str, Scores]
    absent: str | None
    let_through: dict[str, float]
    silent_reference: bool
    silent_estimates: tuple[str, ...]
    sounds: dict[str, np.ndarray] | None = None


class PairScorer:
    """Scores pairs with one model, which each process loads when it scores its first.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path, device: str, binary: bool):
        self.device = device
        self._folder, self._binary = folder, binary
        self._separator: MixtureSeparator | None = None

    def __call__(self, job: PairJob) -> PairScores:
        """Raises ClipsepError if a sound of the pair cannot be read."""
        sources = load_sources(job.pair)
        answers, absent_answers = self._answers(sources.sum(axis=0), job)
        sources = _scored_part(job.pair, sources)
        mixture = sources.sum(axis=0)
        if not job.queries:
            best = max(answers.values(), key=lambda answer: sdr(sources[0], answer))
            answers = {f"best of {len(answers)} masks": best}
        estimates = {MIXTURE: mixture, **ideal_estimates(sources), **answers}
        energy = _energy(mixture)
        return PairScores(
            pair=job.pair,
            scores=score_estimates(sources, estimates),
            absent=job.absent if absent_answers else None,
            let_through={
                name: _energy(answer) / energy if energy else float("nan")
                for name, answer in absent_answers.items()
            },
            silent_reference=bool(is_silent(sources).any()),
            silent_estimates=tuple(name for name, sound in estimates.items() if is_silent(sound)),
            sounds={MIXTURE: mixture, "target": sources[0], **answers} if job.keep_sounds else None,
        )

    def died(self, job: PairJob) -> PairScores:
        """Raises ClipsepError: a result without this pair would be another list's."""
        raise ClipsepError(
            f"Pair {job.pair.id} ends the process that scores it: check '{job.pair.target}', or run "
            "with fewer --workers if memory is short."
        )

    def _answers(
        self, mixture: np.ndarray, job: PairJob
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The model's estimates, and those for the absent sound, from one pass of the network."""
        if self._separator is None:
            self._separator = MixtureSeparator(self._folder, self.device, self._binary)
        embeddings = [*job.queries.values(), *job.absent_queries.values()]
        queries = np.stack(embeddings) if embeddings else None
        separated = self._separator.separate(mixture, SAMPLE_RATE, queries)
        separated = _scored_part(job.pair, separated)
        if queries is None:
            return {f"mask {number}": mask for number, mask in enumerate(separated)}, {}
        answers, absent_answers = np.split(separated, [len(job.queries)])
        return (
            dict(zip(job.queries, answers, strict=True)),
            dict(zip(job.absent_queries, absent_answers, strict=True)),
        )


def score_estimates(sources: np.ndarray, estimates: dict[str, np.ndarray]) -> dict[str, Scores]:
    """All metrics of estimates [T] of the first of ``sources`` [N, T]; they add up to the mixture."""
    stacked = np.stack(list(estimates.values()))
    bss = bss_metrics(sources, stacked)
    with np.errstate(invalid="ignore"):  # of a silent source, all are infinite
        improvement = bss.sdr - sdr(sources[0], sources.sum(axis=0))
    columns = (bss.sdr, improvement, si_sdr(sources[0], stacked), bss.sir, bss.sar)
    rows = np.stack(columns, axis=1).tolist()
    return {name: Scores(*row) for name, row in zip(estimates, rows, strict=True)}


def _scored_part(pair: Pair, sounds: np.ndarray) -> np.ndarray:
    """What is scored of sounds [..., T]: all, or of a published pair what the published code scores."""
    if pair.snr_db is not None:
        return sounds
    return np.clip(sounds[..., :PUBLISHED_SAMPLES], -1, 1)


def _energy(sound: np.ndarray) -> float:
    return float(np.sum(np.square(sound, dtype=np.float64)))
