"""A study as data: which variants are trained with which seeds, and how they are scored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clipsep.errors import UsageError
from clipsep.messages import first_problem
from clipsep.training.bounded_yaml import read_yaml
from clipsep.training.config import TrainingConfig, load_config

Query = Literal["text", "image", "both", "audio", "none"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Settings):
    """What one variant changes of the study.

    Attributes:
        config: another YAML file than the study's.
        set: ``key=value`` changes of the config.
        query: how this variant is scored, if not as the study says; ``none`` for models without queries.
        x: where it stands on the axis of the study's figure, if its variants are values of one quantity.
    """

    config: Path | None = None
    set: list[str] = []
    query: Query | None = None
    x: float | None = None


_Numbers = list[int]
_Texts = list[str]  # `list` is the name of a field below


class StudyPlan(_Settings):
    """A study; paths begin in the working folder, as those of configs do.

    Attributes:
        config: YAML file of the training.
        set: ``key=value`` changes of it in all runs.
        seeds: every variant is trained with each.
        list: test mixtures, a CSV file or KIND:FILE as of ``clipsep evaluate``.
        audio, images, query, prompts, noise_heads: see the options of ``clipsep evaluate``.
        checkpoint: which model of a run is scored, ``best`` or ``last``.
        classes: labels of the targets whose mixtures count; by default all.
        variants: what is compared, by name; the first is what the others are compared with.
        changes: ``key=value`` of all runs, which win over those of the variants: the command line's.
    """

    config: Path
    set: _Texts = []
    seeds: _Numbers = Field([1], min_length=1)
    list: str
    audio: Path | None = None
    images: Path | None = None
    query: Query = "text"
    prompts: str | None = None
    noise_heads: bool = False
    checkpoint: Literal["best", "last"] = "best"
    classes: _Texts | None = None
    variants: dict[str, Variant] = Field(min_length=1)
    changes: _Texts = []

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: _Numbers) -> _Numbers:
        if len(set(seeds)) < len(seeds):
            raise ValueError("every seed only once")
        return seeds

    @field_validator("variants", mode="before")
    @classmethod
    def _may_change_nothing(cls, variants: object) -> object:
        if not isinstance(variants, dict):
            return variants
        return {str(name): {} if value is None else value for name, value in variants.items()}

    def query_of(self, variant: str) -> Query:
        """How a variant is scored."""
        return self.variants[variant].query or self.query

    def common_changes(self) -> _Texts:
        """List what all runs change of the config, without what is changed again."""
        last = {change.partition("=")[0]: change for change in (*self.set, *self.changes)}
        return [*last.values()]

    def run_config(self, variant: str, seed: int, folder: Path) -> TrainingConfig:
        """Return the config of one run's training.

        Args:
            folder: where all runs of the study are.

        Raises:
            UsageError: if a config is missing or wrong.
        """
        chosen = self.variants[variant]
        overrides = [*self.set, *chosen.set, *self.changes, f"seed={seed}"]
        output = folder / run_name(variant, seed)
        return load_config(chosen.config or self.config, overrides, output)


def read_plan(path: str | Path) -> StudyPlan:
    """Read a study's YAML file.

    Raises:
        UsageError: naming the file and the key that is missing, unknown or wrong.
    """
    try:
        data = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"Cannot read the study '{path}': {reason}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"The study '{path}' is not a mapping of keys to values.")
    try:
        plan = StudyPlan.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"In the study '{path}', {first_problem(error, data)}.") from error
    names = [run_name(variant, 0) for variant in plan.variants]
    if len(set(names)) < len(names):
        raise UsageError(f"In the study '{path}', two variants have names of the same words.")
    return plan


def run_name(variant: str, seed: int) -> str:
    """Name of a run's folder: the variant's words and the seed."""
    return "-".join([*re.findall(r"[\w.]+", variant), f"seed{seed}"])
