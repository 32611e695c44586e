"""Anybody's finished estimates, and lists of other lengths and rates, through a whole evaluation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.evaluate import evaluate
from clipsep.evaluation.lists import read_any
from clipsep.evaluation.lists.export import write_mixtures
from clipsep.evaluation.mixtures import load_sources
from clipsep.evaluation.report.files import write_report
from clipsep.evaluation.scoring.score import find_estimates
from clipsep.metrics import sdr


@pytest.fixture
def finished(mixtures, tmp_path) -> Path:
    """Estimates with a tenth of the interferer left: 20 dB better than the mixture."""
    folder = tmp_path / "anyone"
    folder.mkdir()
    for mixture in read_any(mixtures):
        sources = load_sources(mixture)
        soundfile.write(
            folder / f"{mixture.id}.wav", sources[0] + 0.1 * sources[1], 16_000, "FLOAT"
        )
    return folder


def test_finished_estimates_are_scored_as_they_are(mixtures, finished, tmp_path):
    report = evaluate(None, mixtures, estimates=finished, workers=1, examples=1)
    assert report.model_estimates == ["estimate"] and report.model["name"] == "anyone"
    assert report.statistic("estimate", "sdr_improvement").mean == pytest.approx(20, abs=1e-3)
    assert report.statistic("estimate", "si_sdr_improvement").mean == pytest.approx(20, abs=0.5)
    assert report.share_worse("estimate") == 0 and report.share_worse("mixture") == 0
    assert report.speed() is None
    write_report(report, tmp_path / "report")
    assert "finished estimates" in (tmp_path / "report" / "report.md").read_text()


def test_a_louder_mixture_is_worse_than_the_mixture(mixtures, finished):
    first = read_any(mixtures)[0]
    mixture = load_sources(first).sum(axis=0)
    soundfile.write(finished / f"{first.id}.wav", -mixture, 16_000, "FLOAT")
    report = evaluate(None, mixtures, estimates=finished, workers=1)
    assert report.share_worse("estimate") == 0.25


def test_a_model_leaves_the_same_scores_as_its_files(model, mixtures, tmp_path):
    by_model = evaluate(model(), mixtures, workers=1, examples=4)
    for scored in by_model.mixtures:
        sound = scored.sounds["text query"]
        soundfile.write(tmp_path / f"{scored.mixture.id}.wav", sound, 16_000, "FLOAT")
    by_files = evaluate(None, mixtures, estimates=tmp_path, workers=1)
    for first, second in zip(by_model.mixtures, by_files.mixtures, strict=True):
        assert second.scores["estimate"] == pytest.approx(first.scores["text query"], abs=1e-9)


def test_a_folder_of_estimates_is_listed_once(mixtures, finished, monkeypatch):
    (finished / "b").mkdir()
    (finished / "0001.wav").rename(finished / "b" / "0001.FLAC")
    listed: list[Path] = []
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, *args: listed.append(path) or glob(path, *args))
    chosen = [replace(one, id="b/0001") if one.id == "0001" else one for one in read_any(mixtures)]
    found = find_estimates(finished, chosen)
    assert found["b/0001"] == finished / "b" / "0001.FLAC" and len(found) == len(chosen)
    assert sorted(listed) == [finished, finished / "b"]


def test_estimates_that_do_not_fit_are_named(model, mixtures, finished):
    soundfile.write(finished / "0001.wav", np.zeros(8000), 16_000)
    with pytest.raises(ClipsepError, match=r"0001\.wav' is 0\.50 s long, but the mixture 4\.10 s"):
        evaluate(None, mixtures, estimates=finished, workers=1)
    (finished / "0002.wav").unlink()
    with pytest.raises(UsageError, match=r"no file for mixture 0002: expected 0002\.wav"):
        evaluate(None, mixtures, estimates=finished, workers=1)
    with pytest.raises(UsageError, match="not both"):
        evaluate(model(), mixtures, estimates=finished)


def test_mixtures_of_any_length_and_rate(model, sounds, tmp_path):
    path = tmp_path / "own.csv"
    rows = ["target,interferer,snr_db,query,label,interferer_label,sample_rate,seconds"]
    rows += [f"dog.wav,rain.wav,{snr},dog,dog,rain,32000,0.8" for snr in (-5, 0, 5)]
    rows.append("tuba.wav,rain.wav;dog.wav,0,tuba,tuba,rain;dog,32000,0.8")
    path.write_text("\n".join(rows) + "\n")
    report = evaluate(model(), f"snr:{path}", workers=1, examples=1)
    assert report.mixtures[0].sounds["text query"].shape == (25_600,)
    assert list(report.by_snr) == [-5, 0, 5] and list(report.by_n_sounds) == [2, 3]
    for snr, group in report.by_snr.items():
        assert group[0].scores["mixture"].sdr == pytest.approx(snr, abs=1e-3)
    assert report.speed()["real_time_factor"] > 0
    sources = load_sources(report.mixtures[0].mixture)
    expected = float(sdr(sources[0], report.mixtures[0].sounds["text query"]))
    assert report.mixtures[0].scores["text query"].sdr == pytest.approx(expected)
    write_report(report, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## By SNR of the list in dB" in text and "## By sounds in the mixture" in text


def test_mixtures_written_as_files_are_the_list_s(mixtures, finished, tmp_path):
    """Scores of the same estimates against the files and against the list itself."""
    path = write_mixtures(mixtures, tmp_path / "files")
    by_files = evaluate(None, f"files:{path}", estimates=finished, workers=1)
    by_list = evaluate(None, mixtures, estimates=finished, workers=1)
    for first, second in zip(by_files.mixtures, by_list.mixtures, strict=True):
        assert first.mixture.id == second.mixture.id and first.mixture.query == second.mixture.query
        assert first.scores["estimate"].sdr == pytest.approx(
            second.scores["estimate"].sdr, abs=1e-4
        )


WITHOUT_TORCH = """
import sys
from pathlib import Path

sys.modules["torch"] = sys.modules["transformers"] = None  # importing them fails
from clipsep.evaluation.evaluate import evaluate
import clipsep.serving.app

mixtures, model, estimates = sys.argv[1:]
for name, folder in ((model, None), (None, Path(estimates))):
    report = evaluate(name, Path(mixtures), device="cpu", estimates=folder, workers=1)
    assert len(report.mixtures) > 1
"""


def test_neither_scoring_nor_separating_nor_serving_imports_torch(mixtures, finished):
    code = [sys.executable, "-c", WITHOUT_TORCH, str(mixtures), "mini", str(finished)]
    run = subprocess.run(code, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
