"""The studies behind the results: their configs are valid, fits find laws, subsets fit."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from torch.testing import assert_close

from clipsep.workflows.study_plan import read_plan

ROOT = Path(__file__).parents[2]
STANDIN = ROOT / "recipes" / "mini"
STUDIES = sorted((STANDIN / "studies").glob("*.yaml"))
VARIANTS = [
    pytest.param(path, variant, id=f"{path.stem}, {variant}")
    for path in STUDIES
    for variant in yaml.safe_load(path.read_text(encoding="utf-8"))["variants"]
]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """Scripts import each other by name from their folder, in which studies do not run."""
    monkeypatch.syspath_prepend(str(STANDIN))
    monkeypatch.chdir(ROOT)

    def load(name: str) -> ModuleType:
        return import_module(name)

    return load


@pytest.mark.parametrize(("path", "variant"), VARIANTS)
def test_every_variant_is_a_valid_run(monkeypatch, tmp_path, path: Path, variant: str):
    monkeypatch.chdir(ROOT)
    plan = read_plan(path)
    config = plan.run_config(variant, plan.seeds[0], tmp_path)
    assert (config.output.parent, config.seed) == (tmp_path, plan.seeds[0])
    assert config.data.train.startswith("data/train-")
    assert Path(plan.list).stem == f"pairs_{plan.images.name}"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_no_two_variants_are_the_same(monkeypatch, tmp_path, path: Path):
    monkeypatch.chdir(ROOT)
    plan = read_plan(path)
    configs = {
        plan.run_config(variant, 1, tmp_path).model_dump_json(exclude={"output"})
        for variant in plan.variants
    }
    assert len(configs) == len(plan.variants)


def test_a_fit_reads_what_a_study_wrote(script, monkeypatch, tmp_path, capsys):
    law = script("fit").PowerLaw(12.0, 30.0, 0.5)
    rows = [
        {"variant": f"{x} steps", "x": x, "estimate": estimate, "metrics": {"sdr": {"mean": mean}}}
        for x in (75, 150, 300, 600)
        for estimate, mean in (("text query", float(law(x))), ("image query", 0.0))
    ]
    (tmp_path / "study.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr("sys.argv", ["fit.py", str(tmp_path / "study.json")])
    script("fit").main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SDR = 12.00 - 30.00 x^-0.50 dB (text query, 4 variants)"
    assert lines[-1] == f"| 6000 | | {float(law(6000)):.2f} |"


@pytest.mark.parametrize("law", [(12.0, 30.0, 0.5), (8.0, 5.0, 1.0), (20.0, 15.0, 0.1)])
def test_a_fit_finds_the_power_law_that_made_the_points(script, law: tuple[float, float, float]):
    fit = script("fit")
    x = np.array([75.0, 150, 300, 600, 1200])
    sdr = fit.PowerLaw(*law)(x)
    assert sdr[0] == pytest.approx(law[0] - law[1] * 75 ** -law[2])
    found = fit.fit(x, sdr)
    assert found == pytest.approx(law, rel=1e-6)
    assert found(12_000) == pytest.approx(fit.PowerLaw(*law)(12_000), rel=1e-6)


LABELS = ("bell", "cat", "dog", "owl")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    rows = [(f"{label}/{number}.mp4", label) for label in LABELS for number in range(10)]
    for name, _ in rows:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return folder


def subset_of(script, monkeypatch, videos: Path, output: Path, *options: str) -> dict[str, str]:
    """Labels of the videos of a subset, by their names; all are there."""
    subset = script("subset")
    monkeypatch.setattr("sys.argv", ["subset.py", str(videos), "-o", str(output), *options])
    subset.main()
    with open(output / "labels.csv", newline="", encoding="utf-8") as file:
        label_of = {row["path"]: row["label"] for row in csv.DictReader(file)}
    files = {path.relative_to(output).as_posix() for path in output.rglob("*.mp4")}
    assert files == set(label_of)
    assert all((output / name).read_text() == name for name in files)
    return label_of


def test_a_subset_leaves_out_exactly_the_classes_that_it_names(
    script, monkeypatch, videos, tmp_path, capsys
):
    chosen = subset_of(script, monkeypatch, videos, tmp_path / "part", "--without", "2")
    without = script("subset").left_out(set(LABELS), 2)
    assert len(without) == 2 and without == script("subset").left_out({*LABELS[::-1]}, 2)
    assert set(chosen.values()) == set(LABELS) - set(without)
    assert len(chosen) == 20
    assert f"20 of 40 videos; left out: {', '.join(without)}" in capsys.readouterr().out


def test_a_smaller_share_is_part_of_a_larger_one(script, monkeypatch, videos, tmp_path):
    quarter, half = (
        subset_of(script, monkeypatch, videos, tmp_path / share, "--share", share)
        for share in ("0.25", "0.5")
    )
    assert len(quarter) == 10 and len(half) == 20
    assert quarter.items() <= half.items()


def test_an_average_lies_between_the_model_and_what_was_trained_on_from_it(script):
    average = script("average").average
    start = {"kernel": torch.tensor([1.0, -2.0]), "count": torch.tensor(3), "head": torch.ones(1)}
    end = {
        "kernel": torch.tensor([3.0, 0.0]),
        "count": torch.tensor(9),
        "steering": torch.tensor([4.0]),
    }
    assert_close(average(start, end, 1.0), end)
    halfway = {"kernel": [2.0, -1.0], "count": 9, "steering": [2.0]}
    assert_close(
        average(start, end, 0.5), {name: torch.tensor(value) for name, value in halfway.items()}
    )
