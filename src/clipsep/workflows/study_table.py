"""What a study found: means over its list, then mean and standard error over its seeds."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import ClipsepError
from clipsep.evaluation.report.statistics import METRICS
from clipsep.evaluation.report.text import TITLES, decibel_text
from clipsep.evaluation.scoring.ideal_masks import BINARY, RATIO
from clipsep.evaluation.scoring.score import MIXTURE
from clipsep.workflows.study import Outcome
from clipsep.workflows.study_plan import StudyPlan

ACTIVATION = "noise_activation"
_COLUMNS = ("sdr", "sdr_improvement", "si_sdr", "sir", "sar")


@dataclass(frozen=True)
class OverSeeds:
    """Mean over seeds and its standard error; None where there are too few."""

    mean: float | None
    standard_error: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> OverSeeds:
        finite = np.array([v for v in values if v is not None and math.isfinite(v)], np.float64)
        n = len(finite)
        error = float(finite.std(ddof=1)) / math.sqrt(n) if n > 1 else None
        return cls(float(finite.mean()) if n else None, error, n)

    def text(self) -> str:
        """As "5.12 ± 0.08", or a dash."""
        error = "" if self.standard_error is None else f" ± {decibel_text(self.standard_error)}"
        return decibel_text(self.mean) + error


@dataclass(frozen=True)
class Row:
    """One variant scored in one way.

    Attributes:
        estimate: name of what was scored, such as "text query".
        metrics: values by the metrics' names, in dB; the noise heads' mean activation where they were
            looked at.
        difference: SDR minus that of the study's first variant with the same seed, in dB.
    """

    variant: str
    x: float | None
    estimate: str
    metrics: dict[str, OverSeeds]
    difference: OverSeeds


def study_rows(plan: StudyPlan, outcomes: Sequence[Outcome]) -> list[Row]:
    """Make a row for every variant and kind of estimate, in the order of the plan."""
    means: dict[tuple[str, str], dict[int, dict[str, float | None]]] = {}
    for outcome in outcomes:
        if outcome.report is not None:
            for name, metrics in _means(outcome.report, plan.classes):
                means.setdefault((outcome.run.variant, name), {})[outcome.run.seed] = metrics
    first = next(iter(plan.variants))
    rows = []
    for variant in plan.variants:
        for (owner, name), by_seed in means.items():
            if owner != variant:
                continue
            base = means.get((first, name), {})
            rows.append(
                Row(
                    variant,
                    plan.variants[variant].x,
                    name,
                    {
                        metric: OverSeeds.of(metrics.get(metric) for metrics in by_seed.values())
                        for metric in next(iter(by_seed.values()))
                    },
                    OverSeeds.of(
                        _minus(metrics["sdr"], base[seed]["sdr"])
                        for seed, metrics in by_seed.items()
                        if seed in base and variant != first
                    ),
                )
            )
    return rows


def markdown(plan: StudyPlan, rows: list[Row], outcomes: Sequence[Outcome], title: str) -> str:
    """Write the study as Markdown."""
    return "\n".join(_lines(plan, rows, outcomes, title)) + "\n"


def write_study(
    plan: StudyPlan, outcomes: Sequence[Outcome], folder: Path, title: str
) -> list[Path]:
    """Write study.md, study.json and, where the variants are values of one quantity, study.png.

    Raises:
        ClipsepError: if they cannot be written.
    """
    rows = study_rows(plan, outcomes)
    content = {
        "title": title,
        "plan": plan.model_dump(mode="json"),
        "rows": [asdict(row) for row in rows],
        "failures": {outcome.run.folder.name: outcome.failure for outcome in _failed(outcomes)},
    }
    files = {
        "study.md": markdown(plan, rows, outcomes, title).encode(),
        "study.json": (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(),
    }
    if len([row for row in rows if row.x is not None]) > 1:
        files["study.png"] = draw_curve(rows, title)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise ClipsepError(
            f"The study cannot be written to '{folder}': {error.strerror or error}."
        ) from error
    return [folder / name for name in files]


def draw_curve(rows: list[Row], title: str) -> bytes:
    """Draw a PNG: SDR over the variants' ``x``, and the noise activation where it was measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    axis = figure.subplots()
    placed = sorted((row for row in rows if row.x is not None), key=lambda row: row.x or 0.0)
    for name in dict.fromkeys(row.estimate for row in placed):
        _draw_line(axis, [row for row in placed if row.estimate == name], "sdr", name)
    axis.set(xlabel="x", ylabel="SDR in dB")
    axis.grid(color="#dddddd", linewidth=0.6)
    measured = [row for row in placed if ACTIVATION in row.metrics]
    if measured:
        other = axis.twinx()
        other.set_ylabel("mean noise activation")
        one = [row for row in measured if row.estimate == measured[0].estimate]
        _draw_line(other, one, ACTIVATION, "noise activation", color="#999999", linestyle="--")
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_line(axis: Any, rows: list[Row], metric: str, label: str, **style: Any) -> None:
    points = [(row.x, row.metrics[metric]) for row in rows if row.metrics[metric].mean is not None]
    axis.errorbar(
        [x for x, _ in points],
        [value.mean for _, value in points],
        [value.standard_error or 0.0 for _, value in points],
        marker="o",
        capsize=3,
        label=label,
        **style,
    )


def _means(
    report: dict[str, Any], classes: list[str] | None
) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Means over the list, or over its mixtures of some classes, by the model's estimates."""
    mixtures = [one for one in report["mixtures"] if classes is None or one["label"] in classes]
    names = [name for name in report["overall"] if name not in (MIXTURE, BINARY, RATIO)]
    for name in names:
        metrics = {
            metric: OverSeeds.of(one["scores"][name][metric] for one in mixtures).mean
            for metric in METRICS
        }
        if (activations := [one.get(ACTIVATION) for one in mixtures]) and activations[
            0
        ] is not None:
            metrics[ACTIVATION] = OverSeeds.of(activations).mean
        yield name, metrics


def _lines(
    plan: StudyPlan, rows: list[Row], outcomes: Sequence[Outcome], title: str
) -> Iterator[str]:
    yield f"# {title}\n"
    chosen = f", classes {', '.join(plan.classes)}" if plan.classes else ""
    seeds = ", ".join(map(str, plan.seeds))
    config = " ".join([str(plan.config), *plan.common_changes()])
    yield f"{plan.list}{chosen}; seeds {seeds}; {config}\n"
    yield (
        "Mean over the list in dB, then mean ± standard error over seeds. Δ: SDR minus that of "
        f"'{next(iter(plan.variants))}' with the same seed.\n"
    )
    activation = any(ACTIVATION in row.metrics for row in rows)
    titles = [TITLES[metric] for metric in _COLUMNS] + ["noise activation"] * activation
    yield f"| variant | scored | seeds | {' | '.join(titles)} | Δ SDR |"
    yield f"|---|---|---:|{'---:|' * len(titles)}---:|"
    for row in rows:
        metrics = [*_COLUMNS, *[ACTIVATION] * activation]
        cells = [row.metrics[m].text() if m in row.metrics else "–" for m in metrics]
        name, n = row.variant.replace("|", "\\|"), row.metrics["sdr"].n
        yield f"| {name} | {row.estimate} | {n} | {' | '.join(cells)} | {row.difference.text()} |"
    for outcome in _failed(outcomes):
        yield f"\n- {outcome.run.folder.name}: {outcome.failure}"


def _failed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.failure]


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
