"""Two reports of one list, item by item: mean differences with the uncertainty of the list's choice.

It reads report.json files; how they were made does not matter, as long as the items are the same.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.report.statistics import METRICS
from clipsep.evaluation.scoring.ideal_masks import BINARY, RATIO
from clipsep.evaluation.scoring.score import MIXTURE

_DRAWS = 10_000
_SEED = 0  # the interval of two reports is the same every time


@dataclass(frozen=True)
class Difference:
    """The second report minus the first in one metric, over the items where both are finite.

    Attributes:
        mean, median: of the differences, in dB.
        low, high: 95 % percentile bootstrap interval of the mean, over items.
        better: share of items in which the second is higher; ties count half.
        n: items.
        left_out: items where one of the two is infinite or undefined.
    """

    metric: str
    mean: float
    median: float
    low: float
    high: float
    better: float
    n: int
    left_out: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        names: those of the first and the second report's estimates.
        items: the mixtures that both reports have.
        missing: items that only one of them has.
    """

    names: tuple[str, str]
    differences: list[Difference]
    items: int
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is undefined is None."""
        content = asdict(self)
        for one in content["differences"]:
            one.update({key: None for key, value in one.items() if value != value})
        return content


def compare(first: str | Path, second: str | Path, estimate: str | None = None) -> Comparison:
    """Compare two reports of one list item by item.

    Pairing takes out what makes items hard or easy for everyone, so that differences far smaller than
    the spread of the scores can be told from chance.

    Args:
        first, second: report folders, or their report.json.
        estimate: which of the model's estimates; by default each report's first.

    Raises:
        UsageError: if a file does not exist, or the two have no item in common.
        ClipsepError: if a file is not a report.
    """
    try:
        return _compare(first, second, estimate)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ClipsepError(
            f"'{first}' or '{second}' is not the whole report of an evaluation ({error!r})."
        ) from error


def _compare(first: str | Path, second: str | Path, estimate: str | None) -> Comparison:
    paths = (first, second)
    reports = [_load(Path(path)) for path in paths]
    estimates = [
        _estimate_of(report, estimate, path) for report, path in zip(reports, paths, strict=True)
    ]
    scores = [
        {
            mixture["id"]: (mixture["query"], mixture["scores"][name])
            for mixture in report["mixtures"]
        }
        for report, name in zip(reports, estimates, strict=True)
    ]
    common = [key for key in scores[0] if key in scores[1]]
    if not common:
        raise UsageError(
            f"'{first}' and '{second}' have no item in common: they are of other lists."
        )
    if changed := [key for key in common if scores[0][key][0] != scores[1][key][0]]:
        raise UsageError(
            f"'{first}' and '{second}' ask for different sounds in item {changed[0]}: they are of "
            "other lists."
        )
    names = [
        f"{report['model']['name']}: {name}"
        for report, name in zip(reports, estimates, strict=True)
    ]
    return Comparison(
        (names[0], names[1]),
        [
            _difference(metric, *([side[key][1].get(metric) for key in common] for side in scores))
            for metric in METRICS
        ],
        len(common),
        len(scores[0].keys() ^ scores[1].keys()),
    )


def bootstrap_interval(values: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of ``values`` [n] (Efron, 1979), the same every time."""
    if len(values) < 2:
        return math.nan, math.nan
    random = np.random.default_rng(_SEED)
    # In blocks, so that long lists do not need gigabytes.
    block = max(1, 10**7 // len(values))
    means = np.concatenate(
        [
            values[
                random.integers(len(values), size=(min(block, _DRAWS - done), len(values)))
            ].mean(1)
            for done in range(0, _DRAWS, block)
        ]
    )
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _difference(metric: str, first: list[float | None], second: list[float | None]) -> Difference:
    gains = np.array(
        [math.nan if a is None or b is None else b - a for a, b in zip(first, second, strict=True)]
    )
    finite = gains[np.isfinite(gains)]
    if not len(finite):
        nan = math.nan
        return Difference(metric, nan, nan, nan, nan, nan, 0, len(gains))
    low, high = bootstrap_interval(finite)
    better = float((np.sign(finite) + 1).mean() / 2)
    return Difference(
        metric,
        float(finite.mean()),
        float(np.median(finite)),
        low,
        high,
        better,
        len(finite),
        len(gains) - len(finite),
    )


def _load(path: Path) -> dict[str, Any]:
    path = path / "report.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["mixtures"][0]["scores"], content["model"]["name"]
    except OSError as error:
        raise UsageError(f"Cannot read the report '{path}': {error.strerror or error}.") from error
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise ClipsepError(
            f"'{path}' is not the report of an evaluation, or is damaged."
        ) from error
    return content


def _estimate_of(report: dict[str, Any], wanted: str | None, path: str | Path) -> str:
    names = [
        name for name in report["mixtures"][0]["scores"] if name not in (MIXTURE, BINARY, RATIO)
    ]
    if wanted is None:
        return names[0]
    if wanted not in report["mixtures"][0]["scores"]:
        raise UsageError(f"'{path}' has no estimate '{wanted}': choose one of {', '.join(names)}.")
    return wanted
