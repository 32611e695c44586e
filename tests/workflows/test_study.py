"""Laws of studies: every run once, the same whatever stops them, and statistics by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from clipsep.cli.app import main
from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.mixtures import Interferer, Mixture, write_mixture_list
from clipsep.workflows import study
from clipsep.workflows.study import Outcome, finished_runs, plan_runs, run_study
from clipsep.workflows.study_plan import StudyPlan, read_plan, run_name
from clipsep.workflows.study_table import OverSeeds, markdown, study_rows
from tests.helpers.audio import write
from tests.helpers.datasets import make_dataset
from tests.helpers.plugin import PLUGIN, forget_example, install_example

CONFIG = """
name: tiny
output: run
data: {train: train, val: train}
query_encoder: words:8
query: text
prompts: plain
model:
  network: {kind: patch_unet, widths: [4, 8]}
  feature_channels: 4
  query_activation: none
spectral: {segment_frames: 64}
mixing: {margin: 1.0}
optimizer: {learning_rate: 0.01, warmup_steps: 0}
steps: 2
batch_size: 2
validate_every: 2
validation_mixtures: 2
examples: 0
device: cpu
"""
STUDY = """
config: tiny.yaml
seeds: [1, 2]
list: list.csv
variants:
  plain:
  heads: {set: ["loss={kind: nit}", model.noise_heads=2], x: 2}
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A working folder with data, a config, a list and a study of two variants and two seeds."""
    install_example(tmp_path / "site", monkeypatch)
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "train")
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "study.yaml").write_text(STUDY)
    random = np.random.default_rng(0)
    files = {}
    for label in ("hum", "hiss"):
        sound = 0.1 * random.standard_normal((1, 16_000)).astype(np.float32)
        files[label] = write(tmp_path / f"{label}.wav", sound, 16_000)
    pairs = [("hum", "hiss"), ("hiss", "hum")]
    write_mixture_list(
        [
            Mixture(str(n), files[a], 0, (Interferer(files[b], 0, b),), 0.0, a, a)
            for n, (a, b) in enumerate(pairs)
        ],
        tmp_path / "list.csv",
    )
    yield tmp_path
    forget_example()


def runs(project, **changes):
    plan = read_plan(project / "study.yaml").model_copy(update=changes)
    return plan, plan_runs(plan, project / "runs")


def test_every_run_is_trained_once_and_scored(project, capsys, monkeypatch):
    assert main(["study", "study.yaml", "-o", "runs"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("finished") == 4
    rows = [line for line in printed.out.splitlines() if line.startswith(("| plain", "| heads"))]
    assert len(rows) == 2 and all("| text query | 2 |" in row for row in rows)
    assert " ± " in rows[1].split("|")[-2] and rows[0].split("|")[-2].strip() == "–"
    names = {path.name for path in (project / "runs").iterdir()}
    assert names == {
        *(run_name(variant, seed) for variant in ("plain", "heads") for seed in (1, 2)),
        *("study.md", "study.json"),
    }
    content = json.loads((project / "runs" / "study.json").read_text(), parse_constant=pytest.fail)
    assert [row["x"] for row in content["rows"]] == [None, 2.0]
    # Finished runs are neither trained nor scored again.
    monkeypatch.setattr(study, "evaluate", None)
    assert main(["study", "study.yaml", "-o", "runs"]) == 0
    assert "finished" not in capsys.readouterr().err
    # Only what a changed list or config concerns.
    _, planned = runs(project, checkpoint="last")
    assert not any(outcome.report for outcome in finished_runs(planned))


def test_a_study_says_what_the_command_line_changed(project, capsys):
    argv = ["study", "study.yaml", "steps=7", "batch_size=4", "-o", "runs", "--report"]
    assert main(argv) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "; seeds" in line]
    changes = line.partition("tiny.yaml ")[2].split()
    assert changes[-1] == "batch_size=4" and "steps=7" in changes
    assert len({change.partition("=")[0] for change in changes}) == len(changes)


def test_a_run_that_fails_is_named_and_the_others_finish(project, capsys):
    plan = yaml.safe_load(STUDY)
    plan["variants"] = {"plain": None, "diverging": {"set": ["optimizer.learning_rate=1.0e+20"]}}
    plan["seeds"] = [1]
    (project / "study.yaml").write_text(yaml.safe_dump(plan))
    assert main(["study", "study.yaml", "-o", "runs"]) == 1
    printed = capsys.readouterr()
    assert "plain-seed1: finished" in printed.err
    assert "diverging-seed1: The training diverged" in printed.out
    assert "| plain | text query | 1 |" in printed.out


def test_a_run_that_fails_for_an_unforeseen_reason_does_not_stop_the_others(project, monkeypatch):
    (_, planned), trained = runs(project, seeds=[1]), []

    def faulty(config, **options):
        trained.append(config.output)
        raise RuntimeError("a fault in a plugin")

    monkeypatch.setattr("clipsep.training.train.train", faulty)
    outcomes = run_study(planned)
    assert trained == [run.folder for run in planned] and len(trained) == 2
    assert all("RuntimeError: a fault in a plugin" in outcome.failure for outcome in outcomes)


@pytest.mark.parametrize("place", ["processes", "Ray"], indirect=True)
def test_the_scores_are_the_same_wherever_the_runs_are(project, place):
    """Paths of configs, and code in the working folder that they name, are found there, too."""
    code = (PLUGIN / "src/clipsep_example/words.py").read_text()
    (project / "own_words.py").write_text(code.replace("words:{", "own_words.WordEncoder:{"))
    (project / "tiny.yaml").write_text(CONFIG.replace("words:8", "own_words.WordEncoder:8"))
    _, planned = runs(project, seeds=[1])
    one = run_study(planned)
    moved = plan_runs(read_plan(project / "study.yaml"), project / "other")[:2]
    two = run_study(moved, **place)
    assert [outcome.failure for outcome in two] == [None, None]
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first.report["mixtures"], second.report["mixtures"], strict=True):
            assert a["scores"]["text query"]["sdr"] == pytest.approx(
                b["scores"]["text query"]["sdr"], abs=0.05
            )


def test_noise_heads_give_a_curve_with_their_activation(project):
    plan = yaml.safe_load(STUDY)
    plan |= {"noise_heads": True, "seeds": [1], "set": ["loss={kind: nit}", "model.noise_heads=2"]}
    plan["variants"] = {
        f"gamma {g}": {"set": [f"loss.noise_gamma={g}"], "x": g} for g in (0.1, 0.5)
    }
    (project / "gamma.yaml").write_text(yaml.safe_dump(plan))
    assert main(["study", "gamma.yaml"]) == 0
    folder = project / "runs" / "gamma"
    Image.open(folder / "study.png").verify()
    text = (folder / "study.md").read_text()
    assert "noise activation |" in text and "text query + noise" in text


def test_statistics_over_seeds_by_hand():
    plan = StudyPlan(config="c.yaml", list="l.csv", seeds=[1, 2, 3], variants={"a": {}, "b": {}})
    outcomes = []
    for variant, offset in (("a", 0.0), ("b", 1.0)):
        for seed in (1, 2, 3):
            metrics = dict.fromkeys(
                ("sdr", "sdr_improvement", "si_sdr", "si_sdr_improvement", "sir", "sar"),
                2.0 * seed + offset * seed,
            )
            mixture = {"label": "x", "scores": {"mixture": metrics, "text query": metrics}}
            run = type("Run", (), {"variant": variant, "seed": seed})()
            report = {"overall": {"mixture": {}, "text query": {}}, "mixtures": [mixture]}
            outcomes.append(Outcome(run, report))
    first, second = study_rows(plan, outcomes)
    assert first.metrics["sdr"] == OverSeeds(4.0, pytest.approx(2 / 3**0.5), 3)
    assert second.metrics["sdr"].mean == 6.0
    # With the same seeds, the difference varies less than the runs.
    assert second.difference == OverSeeds(2.0, pytest.approx(1 / 3**0.5), 3)
    assert first.difference.n == 0
    assert "| b | text query | 3 | 6.00 ± 1.73 |" in markdown(plan, [first, second], outcomes, "t")
    nothing = study_rows(plan.model_copy(update={"classes": ["y"]}), outcomes)
    assert nothing[0].metrics["sdr"] == OverSeeds(None, None, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 1]}, "seeds: every seed only once"),
        ({"variants": {}}, "variants: Dictionary should have at least 1 item"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"variants": {"a b": {}, "a-b": {}}}, "two variants have names of the same words"),
    ],
)
def test_wrong_studies_are_refused(project, change, message):
    (project / "study.yaml").write_text(yaml.safe_dump({**yaml.safe_load(STUDY), **change}))
    with pytest.raises(UsageError, match=message):
        read_plan(project / "study.yaml")


@pytest.mark.parametrize("name", ["gamma", "models"])
def test_the_shipped_studies_are_whole(project, name, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    plan = read_plan(Path("configs/studies") / f"{name}.yaml")
    for variant in plan.variants:
        config = plan.model_copy(update={"changes": ["steps=5"]}).run_config(
            variant, 1, project / "runs"
        )
        assert (config.seed, config.steps) == (1, 5)
        assert (config.query == "none") == (plan.query_of(variant) == "none")


def test_a_folder_is_a_path_and_not_yaml(project):
    plan = read_plan(project / "study.yaml")
    for name in ("runs #1", "a: b", "[", "2024-01-01"):
        outputs = [run.config.output for run in plan_runs(plan, Path(name))]
        assert outputs == [
            Path(name, run_name(variant, seed)) for seed in (1, 2) for variant in plan.variants
        ]


def test_a_study_that_is_not_plain_yaml_is_one_sentence(project):
    for content in ("config: 2024-99-99", "a: *b", "[" * 100, "a: [b"):
        (project / "study.yaml").write_text(content)
        with pytest.raises(UsageError, match="Cannot read the study"):
            read_plan(project / "study.yaml")


def test_wrong_configs_and_lists_stop_a_study_before_anything_is_trained(project):
    for change in (
        {"list": "none.csv"},
        {"set": ["steps=none"]},
        {"seeds": [2**32]},
        {"config": "none.yaml"},
    ):
        plan = StudyPlan.model_validate({**yaml.safe_load(STUDY), **change})
        with pytest.raises(ClipsepError):
            plan_runs(plan, project / "runs")
    assert not (project / "runs").exists()
