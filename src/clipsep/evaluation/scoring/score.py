"""Scores of one test mixture: everything that is estimated of it, measured against its sources.

One process does this for one mixture.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.mixtures import Mixture, load_sources
from clipsep.evaluation.scoring.ideal_masks import ideal_estimates
from clipsep.evaluation.scoring.separation import MixtureSeparator
from clipsep.media import read_audio
from clipsep.metrics import bss_metrics, is_silent, sdr, si_sdr
from clipsep.separation.masking.query_masks import SENSITIVITY
from clipsep.separation.speed import peak_megabytes

if TYPE_CHECKING:
    from clipsep.evaluation.scoring.clap import ClapJudge
    from clipsep.evaluation.scoring.noise import NoiseSeparator

MIXTURE, ESTIMATE = "mixture", "estimate"
TARGET, QUERY = "target", "query"  # beside the estimates in `MixtureScores.embeddings`
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
_TOLERANCE = 0.02  # seconds that an estimate may be longer or shorter; some separators lose a frame
PUBLISHED_SAMPLES = 65_280  # what the published inverse STFT gives back of a mixture


class Scores(NamedTuple):
    """Metrics of one estimate in dB; improvements are over the mixture's own; no means are subtracted."""

    sdr: float
    sdr_improvement: float
    si_sdr: float
    si_sdr_improvement: float
    sir: float
    sar: float


@dataclass(frozen=True, eq=False)
class MixtureJob:
    """One mixture to score.

    Attributes:
        queries: embeddings [D] by the name of the estimate; empty for a model without queries.
        absent_queries: queries for a sound that is not in the mixture, by the same names; may be empty.
        absent: text of the sound that is absent.
        excluded: embeddings [M, D] of sounds that no estimate may contain; None for none.
        keep_sounds: whether the result keeps the waveforms, as an example to listen to.
        estimate: file of a finished estimate, which is scored in place of a model's.
    """

    mixture: Mixture
    queries: dict[str, np.ndarray]
    absent_queries: dict[str, np.ndarray]
    absent: str | None = None
    excluded: np.ndarray | None = None
    keep_sounds: bool = False
    estimate: Path | None = None


@dataclass(frozen=True, eq=False)
class MixtureScores:
    """What was measured of one mixture.

    Attributes:
        scores: those of the mixture itself, of ideal masks and of the model, by the estimate's name.
        absent: text of a sound that is not in the mixture; None without such a query.
        levels: energy of each of the model's estimates over the mixture's.
        target_level: energy of the target over the mixture's.
        noise_activation: mean over all bins of the sum of the noise masks, by the query's estimate.
        embeddings: a CLAP's, [D], of the query's text, the target, the mixture and the model's estimates.
        megabytes: the most memory that the scoring process had, all its mixtures together.
        leakage: energy of that sound's estimate over the mixture's, by the estimate.
        seconds: time that the model took for all queries together; 0 without one.
        sound_seconds: length of the mixture.
        silent_reference: whether a source is silent as the published evaluation defines it.
        silent_estimates: names of the estimates that are silent.
        sounds: waveforms of an example: the target, the mixture and the model's estimates, float32 [T].
    """

    mixture: Mixture
    scores: dict[str, Scores]
    absent: str | None
    leakage: dict[str, float]
    silent_reference: bool
    silent_estimates: tuple[str, ...]
    seconds: float = 0.0
    sound_seconds: float = 0.0
    levels: dict[str, float] = field(default_factory=dict)
    target_level: float = float("nan")
    noise_activation: dict[str, float] = field(default_factory=dict)
    megabytes: float | None = None
    embeddings: dict[str, np.ndarray] = field(default_factory=dict)
    sounds: dict[str, np.ndarray] | None = None


class MixtureScorer:
    """Scores mixtures with one model, which each process loads when it scores its first.

    Args:
        folder: where the model is; None if all mixtures have finished estimates.
        sensitivity: see `clipsep.Separator.separate`.
        clap: folder of a CLAP that judges the estimates.
        noise_heads: score estimates by query masks joined with noise masks, too.
    """

    def __init__(
        self,
        folder: Path | None,
        device: str,
        binary: bool,
        sensitivity: float = SENSITIVITY,
        noise_heads: bool = False,
        clap: Path | None = None,
    ):
        self._clap_folder = clap
        self._clap: ClapJudge | None = None
        self._with_noise = noise_heads
        self._noise: NoiseSeparator | None = None
        self.device, self._sensitivity = device, sensitivity
        self._folder, self._binary = folder, binary
        self._seconds = 0.0
        self._separator: MixtureSeparator | None = None

    def __call__(self, job: MixtureJob) -> MixtureScores:
        """Score a mixture; ClipsepError if one of its sounds cannot be read."""
        sources = load_sources(job.mixture)
        if job.estimate is not None:
            finished = read_estimate(job.estimate, job.mixture, sources.shape[1])
            estimates = {ESTIMATE: _scored_part(job.mixture, finished)}
            absent_estimates: dict[str, np.ndarray] = {}
        else:
            estimates, absent_estimates = self._separate(sources.sum(axis=0), job)
        sounds = dict(estimates)
        activation: dict[str, float] = {}
        if self._with_noise:
            joined, noise, activation = self._separate_noise(sources.sum(axis=0), job)
            estimates |= joined
            sounds |= joined | noise
        sources = _scored_part(job.mixture, sources)
        mixture = sources.sum(axis=0)
        if not job.queries and job.estimate is None:
            best = max(estimates.values(), key=lambda estimate: sdr(sources[0], estimate))
            sounds = estimates = {f"best of {len(estimates)} masks": best}
        scored = {MIXTURE: mixture, **ideal_estimates(sources), **estimates}
        energy = _energy(mixture)
        return MixtureScores(
            mixture=job.mixture,
            scores=score_estimates(sources, scored),
            absent=job.absent if absent_estimates else None,
            leakage=_levels(absent_estimates, energy),
            levels=_levels(estimates, energy),
            target_level=_levels({"": sources[0]}, energy)[""],
            noise_activation=activation,
            embeddings=self._judge(job, {MIXTURE: mixture, TARGET: sources[0], **estimates}),
            megabytes=None if job.estimate is not None else peak_megabytes(),
            seconds=self._seconds,
            sound_seconds=mixture.shape[-1] / job.mixture.sample_rate,
            silent_reference=bool(is_silent(sources).any()),
            silent_estimates=tuple(name for name, sound in scored.items() if is_silent(sound)),
            sounds={MIXTURE: mixture, "target": sources[0], **sounds} if job.keep_sounds else None,
        )

    def died(self, job: MixtureJob) -> MixtureScores:
        """Raise ClipsepError, because a result without this mixture would be that of another list."""
        raise ClipsepError(
            f"Mixture {job.mixture.id} ends the process that scores it: check '{job.mixture.target}', or "
            "run with fewer --workers if memory is short."
        )

    def _separate(
        self, mixture: np.ndarray, job: MixtureJob
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Estimate the target and the absent sound, in one pass of the network."""
        if self._separator is None:
            assert self._folder is not None
            self._separator = MixtureSeparator(
                self._folder, self.device, self._binary, self._sensitivity
            )
        embeddings = [*job.queries.values(), *job.absent_queries.values()]
        queries = np.stack(embeddings) if embeddings else None
        began = time.perf_counter()
        separated = self._separator.separate(
            mixture, job.mixture.sample_rate, queries, job.excluded
        )
        self._seconds = time.perf_counter() - began
        separated = _scored_part(job.mixture, separated)
        if queries is None:
            return {f"mask {number}": mask for number, mask in enumerate(separated)}, {}
        estimates, absent_estimates = np.split(separated, [len(job.queries)])
        return (
            dict(zip(job.queries, estimates, strict=True)),
            dict(zip(job.absent_queries, absent_estimates, strict=True)),
        )

    def _judge(self, job: MixtureJob, sounds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Embeddings of sounds and of the query's text, if there is a CLAP."""
        if self._clap_folder is None:
            return {}
        if self._clap is None:
            from clipsep.evaluation.scoring.clap import (
                ClapJudge,  # PyTorch, which others do without
            )

            self._clap = ClapJudge(self._clap_folder)
        rate = job.mixture.sample_rate
        heard = {name: self._clap.audio(sound, rate) for name, sound in sounds.items()}
        return {QUERY: self._clap.text(job.mixture.query), **heard}

    def _separate_noise(
        self, mixture: np.ndarray, job: MixtureJob
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]:
        """Estimates with the first noise head, those of the heads themselves, and the activation."""
        if self._noise is None:
            from clipsep.evaluation.scoring.noise import (
                NoiseSeparator,  # PyTorch, which others do without
            )

            assert self._folder is not None
            self._noise = NoiseSeparator(self._folder, self.device)
        queries = np.stack(list(job.queries.values()))
        found = self._noise.separate(mixture, job.mixture.sample_rate, queries)
        joined, noise = {}, {}
        for number, name in enumerate(job.queries):
            joined[f"{name} + noise"] = _scored_part(job.mixture, found.joined[number])
            for head, sound in enumerate(found.noise[number], start=1):
                noise[f"noise {head} of {name}"] = _scored_part(job.mixture, sound)
        activation = dict(zip(job.queries, found.activation.tolist(), strict=True))
        return joined, noise, activation


def find_estimates(folder: Path, mixtures: Iterable[Mixture]) -> dict[str, Path]:
    """Find the file of each mixture's estimate: its id, "/" for folders, and any ending of audio files.

    Raises:
        UsageError: if one has none, or more than one.
    """
    files: dict[Path, dict[str, list[Path]]] = {}  # of each folder, listed once, by the stem
    estimates: dict[str, Path] = {}
    for mixture in mixtures:
        path = folder / mixture.id
        if path.parent not in files:
            files[path.parent] = _audio_files(path.parent)
        found = files[path.parent].get(path.name, [])
        if len(found) != 1:
            several = f"{len(found)} files, {found[0].name} among them," if found else "no file"
            raise UsageError(
                f"'{folder}' has {several} for mixture {mixture.id}: expected {path.name}.wav."
            )
        estimates[mixture.id] = found[0]
    return estimates


def _audio_files(folder: Path) -> dict[str, list[Path]]:
    """List the audio files of a folder by their stems."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            files.setdefault(path.stem, []).append(path)
    return files


def read_estimate(path: Path, mixture: Mixture, samples: int) -> np.ndarray:
    """Read the estimate of a mixture, at the mixture's rate, float32 [samples]; channels are averaged.

    Up to 20 ms more or fewer than the mixture has are cut, or padded with zeros.

    Raises:
        ClipsepError: if it is not as long as the mixture.
    """
    sound, _ = read_audio(path, mixture.sample_rate, mono=True)
    difference = abs(len(sound) - samples) / mixture.sample_rate
    if difference > _TOLERANCE:
        raise ClipsepError(
            f"'{path}' is {len(sound) / mixture.sample_rate:.2f} s long, but the mixture "
            f"{samples / mixture.sample_rate:.2f} s."
        )
    return np.pad(sound[:samples], (0, max(0, samples - len(sound))))


def score_estimates(sources: np.ndarray, estimates: dict[str, np.ndarray]) -> dict[str, Scores]:
    """All metrics of estimates [T] of the first of ``sources`` [N, T]; they add up to the mixture."""
    stacked, mixture = np.stack(list(estimates.values())), sources.sum(axis=0)
    bss = bss_metrics(sources, stacked)
    with np.errstate(invalid="ignore"):  # of a silent source, all are infinite
        improvement = bss.sdr - sdr(sources[0], mixture)
        si_sdrs = si_sdr(sources[0], stacked)
        si_improvement = si_sdrs - si_sdr(sources[0], mixture)
    columns = (bss.sdr, improvement, si_sdrs, si_improvement, bss.sir, bss.sar)
    rows = np.stack(columns, axis=1).tolist()
    return {name: Scores(*row) for name, row in zip(estimates, rows, strict=True)}


def _scored_part(mixture: Mixture, sounds: np.ndarray) -> np.ndarray:
    """Cut sounds [..., T] to what is scored: all, or what the published code scores."""
    if not mixture.is_published:
        return sounds
    return np.clip(sounds[..., :PUBLISHED_SAMPLES], -1, 1)


def _levels(sounds: dict[str, np.ndarray], energy: float) -> dict[str, float]:
    """Energies over that of the mixture; NaN if it is silent."""
    return {
        name: _energy(sound) / energy if energy else float("nan") for name, sound in sounds.items()
    }


def _energy(sound: np.ndarray) -> float:
    return float(np.sum(np.square(sound, dtype=np.float64)))
