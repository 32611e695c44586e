"""`clipsep study`: train variants of a model with several seeds and score them, resumable and in parallel.

study_table.py turns the scores into means and errors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.lists import read_any
from clipsep.files import atomic_write
from clipsep.messages import unexpected
from clipsep.parallel.run import run_many
from clipsep.parallel.task import require_shared_folder
from clipsep.training.config import TrainingConfig
from clipsep.workflows.study_plan import StudyPlan

SCORES = "scores.json"  # in the folder of a run, whole or not there


@dataclass(frozen=True)
class StudyRun:
    """One training and its evaluation.

    Attributes:
        evaluation: arguments of `clipsep.evaluation.evaluate.evaluate`, as text.
        checkpoint: ``best`` or ``last``.
    """

    variant: str
    seed: int
    config: TrainingConfig
    evaluation: dict[str, Any]
    checkpoint: str

    @property
    def folder(self) -> Path:
        return self.config.output

    def described(self) -> dict[str, Any]:
        """Collect what the scores of a run depend on, for JSON."""
        return {
            "config": self.config.model_dump(mode="json", exclude={"output"}),
            "evaluation": self.evaluation,
            "checkpoint": self.checkpoint,
        }

    def scores(self) -> dict[str, Any] | None:
        """Read the report of a finished run; None if it is not finished, or of another study."""
        try:
            content = json.loads((self.folder / SCORES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content["report"] if content.get("run") == self.described() else None


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its report, or why there is none."""

    run: StudyRun
    report: dict[str, Any] | None
    failure: str | None = None


def plan_runs(plan: StudyPlan, folder: str | Path) -> list[StudyRun]:
    """All runs of a study, seed by seed, checked as far as that is possible before the first is trained.

    Raises:
        UsageError: for a wrong config or list.
    """
    read_any(plan.list, plan.audio)
    return [
        StudyRun(
            variant=variant,
            seed=seed,
            config=plan.run_config(variant, seed, Path(folder)),
            evaluation=_evaluation(plan, variant),
            checkpoint=plan.checkpoint,
        )
        for seed in plan.seeds
        for variant in plan.variants
    ]


def run_study(
    runs: list[StudyRun],
    workers: int = 1,
    ray: str | None = None,
    progress: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Train and score what is not finished yet; a run that fails does not stop the others.

    Args:
        workers, ray: runs at a time, see `clipsep.parallel.run.run_many`.
        progress: called with the outcome of each run that was worked on.

    Returns:
        the outcomes in the order of ``runs``.
    """
    outcomes = {
        number: Outcome(run, report)
        for number, run in enumerate(runs)
        if (report := run.scores()) is not None
    }
    waiting = [number for number in range(len(runs)) if number not in outcomes]
    device = "cpu" if all(run.config.device == "cpu" for run in runs) else "auto"
    chosen = [runs[number] for number in waiting]
    task = _TrainAndScore(device if ray else "cpu", chosen, Path.cwd())
    with closing(run_many(task, range(len(waiting)), workers, ray)) as finished:
        for place, failure in finished:
            run = runs[waiting[place]]
            outcome = Outcome(run, None if failure else run.scores(), failure)
            outcomes[waiting[place]] = outcome
            if progress:
                progress(outcome)
    return [outcomes[number] for number in range(len(runs))]


def finished_runs(runs: list[StudyRun]) -> list[Outcome]:
    """Collect the outcomes of the runs so far; nothing is trained or scored."""
    found = [(run, run.scores()) for run in runs]
    return [Outcome(run, report, None if report else "not finished") for run, report in found]


@dataclass(frozen=True)
class _TrainAndScore:
    """Takes a run by its number to its scores; the result is why that failed, or None.

    Attributes:
        folder: where the paths of runs begin.
    """

    device: str
    runs: list[StudyRun]
    folder: Path

    def __call__(self, number: int) -> str | None:
        from clipsep.training.train import train

        run = self.runs[number]
        try:
            # Workers of a cluster have a working folder and an environment of their own.
            require_shared_folder(self.folder)
            os.chdir(self.folder)
            run.config.trust_parts()
            best = train(run.config, progress=False)
            folder = best if run.checkpoint == "best" else run.folder / "last"
            report = evaluate(folder, device=run.config.device, workers=1, **run.evaluation)
            _write(run, report.to_dict())
        except ClipsepError as error:
            return str(error)
        except Exception as error:  # such as that of a plugin: it must not cost the other runs
            return unexpected(run.folder, error)
        return None

    def died(self, number: int) -> str:
        return "its process was killed (too little memory?)"


def _write(run: StudyRun, report: dict[str, Any]) -> None:
    path = run.folder / SCORES
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"run": run.described(), "report": report}))
    except OSError as error:
        raise ClipsepError(f"Cannot write '{path}': {error.strerror or error}.") from error


def _evaluation(plan: StudyPlan, variant: str) -> dict[str, Any]:
    query = plan.query_of(variant)
    if query in ("image", "both") and plan.images is None and ":" in plan.list:
        raise UsageError(
            "query 'image' needs 'images', a folder of images with one for each label."
        )
    settings = {
        "mixtures": plan.list,
        "query": None if query == "none" else query,
        "root": plan.audio and str(plan.audio),
        "images": plan.images and str(plan.images) if query in ("image", "both") else None,
        "prompts": plan.prompts,
    }
    return settings | ({"noise_heads": True} if plan.noise_heads else {})
