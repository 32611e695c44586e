"""What a report of an evaluation or a public list says is what was measured and written."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsep.evaluation.lists import READERS
from clipsep.evaluation.mixtures import Interferer, Mixture
from clipsep.evaluation.recipes import AtSnr, GivenMixture
from clipsep.evaluation.report.compare import compare
from clipsep.evaluation.report.files import _mixtures_csv
from clipsep.evaluation.report.statistics import METRICS, Report
from clipsep.evaluation.scoring.score import MixtureScores, Scores
from clipsep.messages import spreadsheet_text

pytestmark = pytest.mark.slow

LAW = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20)
files = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="/;"),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in (".", ".."))
decibels = st.floats(-300, 300) | st.sampled_from([math.nan, math.inf, -math.inf])
scores = st.builds(Scores, *[decibels] * len(METRICS))


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """A report of a few mixtures, and nothing but what is measured of each."""

    def scored(mixture_id: str) -> MixtureScores:
        other = Interferer(Path("b"), 0, draw(st.none() | texts))
        return MixtureScores(
            mixture=Mixture(
                mixture_id, Path("a"), 0, (other,), draw(st.none() | st.floats(-200, 200)),
                draw(texts), draw(st.none() | texts),
            ),
            scores={"mixture": draw(scores), "text query": draw(scores)},
            absent=draw(st.none() | texts),
            leakage={"text query": draw(st.floats(0, 1))},
            silent_reference=draw(st.booleans()),
            silent_estimates=draw(st.sampled_from([(), ("text query",)])),
        )  # fmt: skip

    ids = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    return Report({"name": draw(texts)}, {}, {}, {}, [scored(one) for one in ids])


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


@LAW
@given(reports())
def test_report_json_has_every_score_as_it_was_measured(report):
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert len(content["mixtures"]) == len(report.mixtures)
    for found, scored in zip(content["mixtures"], report.mixtures, strict=True):
        mixture = scored.mixture
        told = (found["id"], found["query"], found["label"], found["snr_db"], found["absent"])
        assert told == (mixture.id, mixture.query, mixture.label, mixture.snr_db, scored.absent)
        assert found["interferer_labels"] == [other.label for other in mixture.interferers]
        for name, values in scored.scores.items():
            assert found["scores"][name] == {
                metric: _or_none(value) for metric, value in values._asdict().items()
            }
        assert found["leakage"] == scored.leakage
        assert found["silent_reference"] is scored.silent_reference
        assert found["silent_estimates"] == list(scored.silent_estimates)


@LAW
@given(reports())
def test_a_report_that_is_read_again_differs_in_nothing_from_itself(report):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        path.write_text(json.dumps(report.to_dict()), "utf-8")
        found = compare(path, path)
    assert (found.items, found.missing) == (len(report.mixtures), 0)
    for metric, difference in zip(METRICS, found.differences, strict=True):
        finite = [
            math.isfinite(getattr(one.scores["text query"], metric)) for one in report.mixtures
        ]
        assert (difference.metric, difference.n) == (metric, sum(finite))
        assert not any(finite) or difference.mean == difference.median == 0
        assert sum(finite) < 2 or difference.low == difference.high == 0


@LAW
@given(reports())
def test_mixtures_csv_has_a_row_for_each_mixture(report):
    rows = list(csv.DictReader(_mixtures_csv(report).splitlines(keepends=True)))
    assert len(rows) == len(report.mixtures)
    for row, scored in zip(rows, report.mixtures, strict=True):
        assert row["query"] == spreadsheet_text(scored.mixture.query)
        value = scored.scores["text query"].sdr
        found = float(row["text_query_sdr"] or "nan")
        assert math.isclose(found, value, abs_tol=1e-3) or not math.isfinite(value)


def _read(kind: str, rows: list[dict]) -> list[Mixture]:
    """Write a list as people do, with the csv module, and read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return READERS[kind](path, Path("sounds"))


rates = st.integers(1_000, 768_000)


@LAW
@given(
    st.lists(
        st.fixed_dictionaries(
            {"mixture": files, "reference": files, "query": names, "id": names, "label": names}
            | {"sample_rate": rates}
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_list_of_finished_mixtures(rows):
    for row, mixture in zip(rows, _read("files", rows), strict=True):
        assert (mixture.id, mixture.query, mixture.label) == (row["id"], row["query"], row["label"])
        assert mixture.target == Path("sounds", row["reference"])
        assert mixture.recipe == GivenMixture(Path("sounds", row["mixture"]), row["sample_rate"])


@LAW
@given(
    st.lists(
        st.fixed_dictionaries(
            {"target": files, "interferer": st.lists(files, min_size=1, max_size=3)}
            | {"snr_db": st.floats(-200, 200), "query": names, "id": names}
            | {"sample_rate": rates, "seconds": st.floats(0.1, 3_600)}
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_list_of_sounds_to_be_mixed(rows):
    written = [row | {"interferer": ";".join(row["interferer"])} for row in rows]
    for row, mixture in zip(rows, _read("snr", written), strict=True):
        assert (mixture.id, mixture.query, mixture.snr_db) == (
            row["id"],
            row["query"],
            row["snr_db"],
        )
        assert mixture.target == Path("sounds", row["target"])
        paths = [other.path for other in mixture.interferers]
        assert paths == [Path("sounds", name) for name in row["interferer"]]
        assert mixture.recipe == AtSnr(row["sample_rate"], row["snr_db"], row["seconds"])
