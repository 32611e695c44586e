"""Laws of reports: statistics by hand, and files that hold what was measured and nothing half."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image

from clipsep.errors import ClipsepError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.report.files import write_report
from clipsep.evaluation.report.listening import listening_page
from clipsep.evaluation.report.statistics import Report
from clipsep.evaluation.report.text import absent_sound_text, decibel_text, latex, notes
from clipsep.evaluation.report.values import Statistic
from tests.evaluation.conftest import LABELS

FILES = {"report.json", "mixtures.csv", "report.md", "report.tex", "classes.png", "histogram.png"}


@pytest.fixture
def report(model, mixtures, images) -> Report:
    return evaluate(model(), mixtures, "both", images=images, workers=1, examples=2)


def test_statistics_by_hand():
    values = [1.0, 2.0, 6.0]
    assert Statistic.of(values) == Statistic(3.0, pytest.approx(7**0.5 / 3**0.5), 2.0, 3, 0)
    assert Statistic.of([*values, np.inf, np.nan]).mean == 3.0
    assert Statistic.of([*values, np.inf, np.nan]).left_out == 2
    assert Statistic.of([5.0]) == Statistic(5.0, None, 5.0, 1, 0)
    assert Statistic.of([np.nan]) == Statistic(None, None, None, 0, 1)


def test_classes_and_all_are_of_the_same_pairs(report):
    assert list(report.by_class) == sorted(LABELS)
    for name in report.estimates:
        classes = [report.statistic(name, "sdr", label).mean for label in LABELS]
        assert np.mean(classes) == pytest.approx(report.statistic(name, "sdr").mean)


def test_all_files_are_there_and_agree(report, tmp_path):
    folder = tmp_path / "new" / "report"
    paths = write_report(report, folder)
    assert {path.name for path in paths} == FILES | {"examples.html"}
    assert sorted(folder.iterdir()) == sorted(paths)
    content = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert len(content["mixtures"]) == 4 and set(content["classes"]) == set(LABELS)
    mean = content["overall"]["text query"]["sir"]["mean"]
    with open(folder / "mixtures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["text_query_sir"]) for row in rows]) == pytest.approx(mean)
    assert [row["id"] for row in rows] == [scored.mixture.id for scored in report.mixtures]
    assert decibel_text(mean) in (folder / "report.md").read_text()
    assert report.model["sha256"] in (folder / "report.md").read_text()
    Image.open(folder / "classes.png").verify()


def test_a_report_takes_the_place_of_an_earlier_one(report, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "notes.txt").write_text("mine")
    write_report(report, tmp_path / "report")
    silent = replace(report, mixtures=[replace(scored, sounds=None) for scored in report.mixtures])
    write_report(silent, tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES | {"notes.txt"}


def test_a_report_that_cannot_be_written_is_named(report, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ClipsepError, match="file"):
        write_report(report, tmp_path / "file")


def test_what_is_undefined_has_no_number(model, mixtures, tmp_path):
    nothing = evaluate(model(bias=-1e4), mixtures, binary=True, workers=1)
    write_report(nothing, tmp_path / "report")
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["overall"]["text query"]["sir"]["mean"] is None
    assert content["mixtures"][0]["scores"]["text query"]["sir"] is None
    text = (tmp_path / "report" / "report.md").read_text()
    assert "'text query' has 4 silent estimates" in text
    assert "Without silent sources and estimates" in text
    assert "nan" not in text
    assert "digital silence, without a level in dB: 4 estimates;" in absent_sound_text(
        nothing, "text query"
    )


def test_a_quick_look_says_so(model, mixtures):
    assert not list(notes(evaluate(model(), mixtures, workers=1)))
    (note,) = notes(evaluate(model(), mixtures, workers=1, every=2))
    assert "only 2 of 4 mixtures" in note


def test_the_table_for_papers(report):
    renamed = replace(report, model={**report.model, "name": "a_b & 10%"})
    lines = latex(renamed).splitlines()
    assert r"a\_b \& 10\%" in lines[0]
    rows = [line for line in lines if line.startswith(tuple(report.estimates))]
    assert len(rows) == 5 and all(row.count(" & ") == 6 for row in rows)
    assert decibel_text(report.statistic("text query", "sdr").mean) in rows[-2]
    assert all(line.count("{") == line.count("}") for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1e-9, "0.00"), (-0.5, "-0.50"), (12.345, "12.35"), (None, "–"), (float("nan"), "–")],
)
def test_decibels_in_words(value, text):
    assert decibel_text(value) == text


def test_the_listening_page_needs_nothing_else(report):
    page = listening_page(report)
    assert page.count("<article>") == 2
    assert page.count("<audio ") == 2 * 5  # mixture, target, two estimates, what is left
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "://" not in page
    before, after = (
        decibel_text(report.mixtures[0].scores[name].sdr, digits=1)
        for name in ("mixture", "text query")
    )
    assert f"{before} → {after} dB" in page


def test_the_listening_page_sounds_as_the_model_does(report):
    encoded = re.findall(r"data:audio/mpeg;base64,([^\"]+)", listening_page(report))
    mixture, target = (
        soundfile.read(io.BytesIO(base64.b64decode(sound)))[0] for sound in encoded[:2]
    )
    sounds = report.mixtures[0].sounds
    for heard, meant in ((mixture, sounds["mixture"]), (target, sounds["target"])):
        assert len(heard) == len(meant)
        assert np.corrcoef(heard, meant)[0, 1] > 0.99
    gains = [np.std(mixture) / np.std(sounds["mixture"]), np.std(target) / np.std(sounds["target"])]
    assert gains[0] == pytest.approx(gains[1], rel=0.02)  # they can be compared by ear


def test_labels_are_no_markup(report):
    mixtures = [
        replace(scored, mixture=replace(scored.mixture, label="<script>a|b", query="<b>"))
        for scored in report.mixtures
    ]
    page = listening_page(replace(report, mixtures=mixtures))
    assert "<script>a|b" not in page and "&lt;script&gt;a|b" in page
