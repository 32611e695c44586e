"""What an evaluation found: scores of every mixture, and their statistics overall and by class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from clipsep.evaluation.queries import class_of
from clipsep.evaluation.report.values import Detection, Statistic
from clipsep.evaluation.scoring.ideal_masks import BINARY, RATIO
from clipsep.evaluation.scoring.score import MIXTURE, QUERY, TARGET, MixtureScores, Scores
from clipsep.metrics import decibels
from clipsep.metrics.reference_free import embedding_score, frechet_distance

METRICS = Scores._fields
HEARD_DB = -20.0  # an estimate with less than 1 % of the mixture's energy is taken for silence
THRESHOLDS_DB = (-10.0, -20.0, -30.0)


@dataclass(frozen=True)
class Report:
    """The result of `clipsep.evaluation.evaluate`.

    Attributes:
        model: name, kind, SHA-256 of the weights, query encoder.
        mixture_list: path and SHA-256 of the list of mixtures, how many it has, how many were
            scored, and n where only every n-th was.
        settings: how it was evaluated.
        environment: versions, and when it was done.
        mixtures: scores of each mixture, in the order of the list.
        images: image queries of the examples, by the mixture's id.
    """

    model: dict[str, Any]
    mixture_list: dict[str, Any]
    settings: dict[str, Any]
    environment: dict[str, Any]
    mixtures: list[MixtureScores]
    images: dict[str, Image.Image] = field(default_factory=dict)

    @cached_property
    def estimates(self) -> list[str]:
        """Names of what was scored: the mixture, ideal masks, then `model_estimates`."""
        return list(self.mixtures[0].scores)

    @cached_property
    def model_estimates(self) -> list[str]:
        """Names of the model's own estimates."""
        return [name for name in self.estimates if name not in (MIXTURE, BINARY, RATIO)]

    @cached_property
    def by_class(self) -> dict[str, list[MixtureScores]]:
        """The mixtures of every class, sorted by name."""
        classes: dict[str, list[MixtureScores]] = {}
        for scored in self.mixtures:
            classes.setdefault(class_of(scored.mixture), []).append(scored)
        return dict(sorted(classes.items()))

    @cached_property
    def by_snr(self) -> dict[float, list[MixtureScores]]:
        """The mixtures by the level difference that their list states, rising."""
        return self._grouped(lambda scored: scored.mixture.snr_db)

    @cached_property
    def by_n_sounds(self) -> dict[float, list[MixtureScores]]:
        """The mixtures by how many sounds they hold, where the list says so."""
        return self._grouped(
            lambda scored: (
                len(scored.mixture.interferers) + 1 if scored.mixture.interferers else None
            )
        )

    def _grouped(
        self, key: Callable[[MixtureScores], float | None]
    ) -> dict[float, list[MixtureScores]]:
        groups: dict[float, list[MixtureScores]] = {}
        for scored in self.mixtures:
            if (value := key(scored)) is not None:
                groups.setdefault(float(value), []).append(scored)
        return dict(sorted(groups.items()))

    def share_worse(self, estimate: str) -> float | None:
        """Share of mixtures whose estimate has a lower SDR than the mixture; None if no SDR is finite."""
        gains = np.array([scored.scores[estimate].sdr_improvement for scored in self.mixtures])
        gains = gains[np.isfinite(gains)]
        return float((gains < 0).mean()) if len(gains) else None

    def speed(self) -> dict[str, float | None] | None:
        """Seconds of one process per second of sound, all queries at once, and its most memory.

        None without a model.
        """
        timed = [scored for scored in self.mixtures if scored.seconds]
        if not timed:
            return None
        seconds = sum(scored.seconds for scored in timed)
        sound = sum(scored.sound_seconds for scored in timed)
        memory = [scored.megabytes for scored in timed if scored.megabytes is not None]
        return {
            "mixtures": len(timed),
            "real_time_factor": seconds / sound,
            "peak_megabytes": max(memory, default=None),
        }

    @cached_property
    def silent_references(self) -> int:
        """Mixtures with a source that is silent by the published rule."""
        return sum(mixture.silent_reference for mixture in self.mixtures)

    @cached_property
    def silent_estimates(self) -> dict[str, int]:
        """How many estimates are silent by the published rule, where some are."""
        counts = {
            name: sum(name in mixture.silent_estimates for mixture in self.mixtures)
            for name in self.estimates
        }
        return {name: count for name, count in counts.items() if count}

    def statistic(
        self, estimate: str, metric: str, label: str | None = None, skip_silent: bool = False
    ) -> Statistic:
        """One metric of one estimate.

        Args:
            metric: one of ``sdr``, ``sdr_improvement``, ``si_sdr``, ``sir`` and ``sar``, in dB.
            label: the class that counts; by default all.
            skip_silent: leave out what the published evaluation leaves out: mixtures with a silent source
                or estimate.
        """
        mixtures = self.mixtures if label is None else self.by_class[label]
        return Statistic.of(
            getattr(mixture.scores[estimate], metric)
            for mixture in mixtures
            if not (
                skip_silent and (mixture.silent_reference or estimate in mixture.silent_estimates)
            )
        )

    def leakage(self, estimate: str, in_decibels: bool = False) -> Statistic:
        """Energy of the estimates for absent sounds over the mixture's: a share, or in dB."""
        shares = [
            mixture.leakage[estimate]
            for mixture in self.mixtures
            if mixture.leakage.get(estimate) is not None
        ]
        return Statistic.of(decibels(shares, 1.0).tolist() if in_decibels else shares)

    def noise_activation(self, estimate: str) -> Statistic:
        """Mean over bins of the sum of the noise masks, over mixtures; n is 0 where none was measured."""
        return Statistic.of(
            scored.noise_activation[estimate]
            for scored in self.mixtures
            if estimate in scored.noise_activation
        )

    def detection(self, estimate: str, threshold_db: float = HEARD_DB) -> Detection | None:
        """How well the level of an estimate tells sounds that are there from absent ones.

        An estimate is heard if its energy is at least ``threshold_db`` over the mixture's. Over the
        mixtures with a query for an absent sound, too; None if there are none.
        """
        limit = 10 ** (threshold_db / 10)
        asked = [s for s in self.mixtures if estimate in s.leakage and estimate in s.levels]
        asked = [s for s in asked if math.isfinite(s.leakage[estimate])]
        if not asked:
            return None
        invented = np.array([s.leakage[estimate] >= limit for s in asked])
        found = np.array([s.levels[estimate] >= limit for s in asked])
        there = np.array([s.target_level >= limit for s in asked])
        gains = np.array([s.scores[estimate].sdr_improvement for s in asked])
        gains = np.where(found, gains, 0.0)
        return Detection(
            threshold_db=threshold_db,
            false_alarm_rate=float(invented.mean()),
            miss_rate=float((~found[there]).mean()) if there.any() else None,
            class_aware_sdr_improvement=Statistic.of(gains / (1 + invented)),
            mixtures=len(asked),
        )

    def clap_scores(self, estimate: str) -> dict[str, Any] | None:
        """CLAPScore (query and estimate), CLAPScore_A (target and estimate), and Frechet distance.

        The distance is to the targets, and None for fewer than two mixtures. None if no CLAP judged.
        """
        judged = [scored.embeddings for scored in self.mixtures if estimate in scored.embeddings]
        if not judged:
            return None
        query, target, heard = (
            np.stack([embeddings[name] for embeddings in judged])
            for name in (QUERY, TARGET, estimate)
        )
        return {
            "clap_score": asdict(Statistic.of(embedding_score(query, heard))),
            "clap_score_a": asdict(Statistic.of(embedding_score(target, heard))),
            "frechet_distance": frechet_distance(target, heard) if len(judged) > 1 else None,
        }

    def summary(self) -> dict[str, Any]:
        """Everything but single classes and mixtures, for JSON."""
        return {
            "model": self.model,
            "mixture_list": self.mixture_list,
            "settings": self.settings,
            "environment": self.environment | {"speed": self.speed()},
            "overall": {name: self._metrics(name) for name in self.estimates},
            "worse_than_mixture": {name: self.share_worse(name) for name in self.model_estimates},
            "absent_sounds": {
                name: {
                    "share_of_energy": asdict(self.leakage(name)),
                    "decibels": asdict(self.leakage(name, in_decibels=True)),
                    "detection": [
                        asdict(found)
                        for limit in THRESHOLDS_DB
                        if (found := self.detection(name, limit)) is not None
                    ],
                }
                for name in self.model_estimates
                if self.leakage(name).n
            },
            "clap": {
                name: scores
                for name in (MIXTURE, *self.model_estimates)
                if (scores := self.clap_scores(name)) is not None
            },
            "noise_activation": {
                name: asdict(self.noise_activation(name))
                for name in self.model_estimates
                if self.noise_activation(name).n
            },
            "silent": {
                "mixtures_with_a_silent_source": self.silent_references,
                "estimates": self.silent_estimates,
                "overall_without": {
                    name: self._metrics(name, skip_silent=True)
                    for name in self.estimates
                    if self.silent_references or name in self.silent_estimates
                },
            },
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but sounds, for JSON; numbers that are not finite are None."""
        return {
            **self.summary(),
            "classes": {
                label: {name: self._metrics(name, label) for name in self.estimates}
                for label in self.by_class
            },
            "curves": {
                "snr_db": self._curve(self.by_snr),
                "sounds": self._curve(self.by_n_sounds),
            },
            "mixtures": [_mixture_as_dict(mixture) for mixture in self.mixtures],
        }

    def _curve(self, groups: dict[float, list[MixtureScores]]) -> list[dict[str, Any]]:
        return [
            {
                "at": value,
                "mixtures": len(mixtures),
                "sdr_improvement": {
                    name: asdict(
                        Statistic.of(mixture.scores[name].sdr_improvement for mixture in mixtures)
                    )
                    for name in self.model_estimates
                },
            }
            for value, mixtures in groups.items()
        ]

    def _metrics(
        self, estimate: str, label: str | None = None, skip_silent: bool = False
    ) -> dict[str, Any]:
        return {
            metric: asdict(self.statistic(estimate, metric, label, skip_silent))
            for metric in METRICS
        }


def _mixture_as_dict(scored: MixtureScores) -> dict[str, Any]:
    mixture = scored.mixture
    return {
        "id": mixture.id,
        "query": mixture.query,
        "label": mixture.label,
        "snr_db": mixture.snr_db,
        "interferer_labels": [interferer.label for interferer in mixture.interferers],
        "scores": {
            name: {metric: _finite(value) for metric, value in scores._asdict().items()}
            for name, scores in scored.scores.items()
        },
        "absent": scored.absent,
        "leakage": {name: _finite(share) for name, share in scored.leakage.items()},
        "level": {name: _finite(share) for name, share in scored.levels.items()},
        "target_level": _finite(scored.target_level),
        "noise_activation": next(iter(scored.noise_activation.values()), None),
        "silent_reference": scored.silent_reference,
        "silent_estimates": list(scored.silent_estimates),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
