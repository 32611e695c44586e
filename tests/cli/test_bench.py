"""`clipsep bench`: a row for each engine, and the same as JSON."""

from __future__ import annotations

import json

from clipsep.cli import main
from clipsep.separation.speed import measure_speed


def test_every_engine_is_measured(model, capsys):
    assert main(["bench", "--model", str(model), "--seconds", "5", "--threads", "1", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["engine"] == "pytorch"  # the tiny model has no export
    assert all(times > 0 for times in result["times_real_time"].values())
    assert result["load_seconds"] > 0 and result["peak_megabytes"] > 10


def test_progress_counts_the_runs(model):
    counts: list[tuple[float, float | None]] = []
    measure_speed(
        model, threads=1, seconds=5, repeats=1, progress=lambda *count: counts.append(count)
    )
    assert counts == [(number, 6) for number in range(1, 7)]


def test_an_engine_that_cannot_run_the_model_is_named(model, refused):
    assert "clipsep export" in refused(1, "bench", "--model", model, "--engine", "onnx")
    assert "onnx, pytorch" in refused(2, "bench", "--model", model, "--engine", "jax")
    assert "auto, cpu, cuda or mps" in refused(2, "bench", "--model", model, "--device", "tpu")
