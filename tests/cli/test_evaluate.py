"""`clipsep evaluate`: what it prints and writes, and what it refuses before it starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from clipsep.cli import main
from clipsep.evaluation.mixtures import Interferer, Mixture, write_mixture_list
from tests.helpers.audio import tones, write
from tests.helpers.encoders import FakeEncoder


@pytest.fixture(autouse=True)
def fake_query_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "clipsep.evaluation.evaluate.load_query_encoder",
        lambda name, device, threads=None: FakeEncoder(),
    )


@pytest.fixture
def mixtures(tmp_path: Path) -> Path:
    """Three mixtures of three sounds."""
    sounds = tones(16_000, 3)
    labels = ("dog", "rain", "tuba")
    files = [
        write(tmp_path / f"{label}.wav", sounds[n : n + 1], 16_000)
        for n, label in enumerate(labels)
    ]
    path = tmp_path / "mixtures.csv"
    rows = []
    for n, label in enumerate(labels):
        other = Interferer(files[n - 1], 0, labels[n - 1])
        rows.append(Mixture(str(n), files[n], 0, (other,), 0.0, label, label))
    write_mixture_list(rows, path)
    return path


def run(*argv: object) -> int:
    return main([str(argument) for argument in ("evaluate", *argv)])


def test_it_prints_a_table(model, mixtures, capsys):
    assert run(model, "--mixtures", mixtures, "--workers", 1) == 0
    out, err = capsys.readouterr()
    for row in ("mixture", "ideal binary mask", "ideal ratio mask", "text query"):
        assert row in out
    assert "text query of an absent sound: " in out and "-0.00" not in out
    assert err == ""


def test_it_writes_a_report(model, mixtures, tmp_path, capsys):
    folder = tmp_path / "report"
    assert run(model, "--mixtures", mixtures, "-o", folder, "--examples", 1, "--workers", 1) == 0
    names = {
        *("report.json", "mixtures.csv", "report.md", "report.tex"),
        *("classes.png", "histogram.png", "examples.html"),
    }
    assert {path.name for path in folder.iterdir()} == names
    assert str(folder / "report.md") in capsys.readouterr().out


def test_json_is_all_that_is_printed(model, mixtures, capsys):
    assert run(model, "--mixtures", mixtures, "--every", 2, "--workers", 1, "--json") == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["overall"]["text query"]["sdr"]["n"] == 2
    assert content["mixture_list"] | {"path": "", "sha256": ""} == {
        "path": "",
        "sha256": "",
        "mixtures": 3,
        "every": 2,
        "scored": 2,
    }
    assert err == ""


def test_wrong_requests_are_refused(refused, model, mixtures, tmp_path):
    evaluate = ("evaluate", model, "--mixtures", mixtures, "--workers", 1)
    refused(2, "evaluate", "none", "--mixtures", mixtures, names="none")
    refused(2, "evaluate", model, names="--mixtures")
    refused(2, "evaluate", model, "--mixtures", tmp_path / "gone.csv", names="gone.csv")
    refused(2, *evaluate, "--query", "smell", names="smell")
    refused(2, *evaluate, "--examples", 3, names="-o")
    refused(2, *evaluate, "--query", "image", "--images", tmp_path, names=tmp_path / "dog")
    refused(2, *evaluate, "--query", "image", names="--images")
    refused(2, *evaluate, "--prompts", "song", names="song")
    refused(2, *evaluate, "--device", "abacus", names="abacus")
    refused(1, *evaluate, "-o", mixtures / "report", names=mixtures)


def test_a_report_without_its_packages_is_refused_before_any_work(
    refused, model, mixtures, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("clipsep.evaluation.evaluate.evaluate", None)
    argv = ("evaluate", model, "--mixtures", mixtures, "--workers", 1, "-o", tmp_path / "report")
    refused(1, *argv, names="A report needs matplotlib, which is not installed: run pip install")


def test_a_missing_sound_is_named_with_its_line(refused, model, mixtures):
    mixtures.with_name("tuba.wav").unlink()
    refused(2, "evaluate", model, "--mixtures", mixtures, names="line 2: the sound")


@pytest.mark.slow
def test_the_way_of_anybody_s_separator(mixtures, tmp_path, capsys):
    """Mixtures as files, estimates of them scored, two reports compared."""
    folder = tmp_path / "files"
    assert main(["mixtures", str(mixtures), "-o", str(folder)]) == 0
    assert "evaluate --estimates" in capsys.readouterr().out
    reports = []
    for kind in ("mixture", "reference"):
        reports.append(str(tmp_path / f"report-{kind}"))
        estimates = ("--estimates", folder / kind, "--list", f"files:{folder / 'list.csv'}")
        assert run(*estimates, "--workers", 1, "-o", reports[-1]) == 0
    capsys.readouterr()
    assert main(["compare", *reports]) == 0
    out = capsys.readouterr().out
    assert "B - A in dB" in out and "SI-SDR improvement" in out
    assert main(["compare", reports[0], reports[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"][0]["mean"] == 0


def test_a_list_is_named_once(model, mixtures, capsys):
    assert run(model) == 2
    assert run(model, "--mixtures", mixtures, "--list", "audiosep:x.csv") == 2
    assert run("--mixtures", mixtures) == 2
    err = capsys.readouterr().err
    assert err.count("--list KIND:FILE") == 2 and "Give a model or a folder of estimates" in err
