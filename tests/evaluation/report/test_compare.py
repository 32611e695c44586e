"""Laws of the comparison: pairing, intervals that hold what they say, reports that do not match."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.report.compare import bootstrap_interval, compare
from clipsep.evaluation.report.statistics import METRICS


def report(path: Path, sdrs: list[float | None], query: str = "dog") -> Path:
    """Only what a comparison reads."""
    path.mkdir()
    mixtures = [
        {
            "id": str(number),
            "query": query,
            "scores": {
                name: dict.fromkeys(METRICS, value)
                for name, value in (("mixture", 0.0), ("text query", sdr))
            },
        }
        for number, sdr in enumerate(sdrs)
    ]
    content = {"model": {"name": path.name}, "mixtures": mixtures}
    (path / "report.json").write_text(json.dumps(content))
    return path


def test_what_all_items_share_does_not_blur_the_difference(tmp_path):
    random = np.random.default_rng(0)
    hard = 10 * random.standard_normal(200)
    gain = 0.3 + 0.5 * random.standard_normal(200)
    first = report(tmp_path / "a", hard.tolist())
    second = report(tmp_path / "b", (hard + gain).tolist())
    sdr = compare(first, second).differences[0]
    assert sdr.mean == pytest.approx(gain.mean()) and sdr.is_clear
    assert sdr.low < gain.mean() < sdr.high and sdr.high - sdr.low < 0.2
    assert sdr.better == pytest.approx((gain > 0).mean())
    back = compare(second, first).differences[0]
    assert (back.mean, back.better) == pytest.approx((-sdr.mean, 1 - sdr.better))


def test_a_report_equals_itself(tmp_path):
    same = report(tmp_path / "a", [1.0, 2.0, 5.0])
    difference = compare(same, same / "report.json").differences[0]
    assert (difference.mean, difference.low, difference.high, difference.better) == (0, 0, 0, 0.5)


def test_what_is_undefined_is_null_in_json(tmp_path):
    first, second = report(tmp_path / "a", [None]), report(tmp_path / "b", [1.0])
    text = json.dumps(compare(first, second).to_dict(), allow_nan=False)
    assert json.loads(text)["differences"][0]["mean"] is None


def test_undefined_scores_are_left_out(tmp_path):
    first = report(tmp_path / "a", [1.0, None, 3.0, 4.0])
    second = report(tmp_path / "b", [2.0, 2.0, 4.0])
    comparison = compare(first, second)
    sdr = comparison.differences[0]
    assert (sdr.n, sdr.left_out, sdr.mean) == (2, 1, 1.0)
    assert (comparison.items, comparison.missing) == (3, 1)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        low, high = bootstrap_interval(random.standard_normal(60))
        held += low < 0 < high
    assert 88 <= held <= 99


def test_reports_that_do_not_match_are_refused(tmp_path):
    first = report(tmp_path / "a", [1.0])
    with pytest.raises(UsageError, match="different sounds in item 0"):
        compare(first, report(tmp_path / "b", [1.0], query="cat"))
    with pytest.raises(UsageError, match="choose one of text query"):
        compare(first, first, "smell")
    with pytest.raises(UsageError, match="Cannot read the report"):
        compare(first, tmp_path / "none")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "report.json").write_text('{"mixtures": []}')
    with pytest.raises(ClipsepError, match="not the report of an evaluation"):
        compare(first, tmp_path / "c")
