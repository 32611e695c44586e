"""What a training says: without a terminal a line every so many steps, and what it started from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clipsep.checkpoint import load_checkpoint
from clipsep.errors import UsageError
from clipsep.training.callbacks.progress import StepLines, _duration, describe_start
from clipsep.training.config import load_config
from clipsep.training.resume import initial_model

CONFIGS = Path(__file__).parents[3] / "configs"


def test_lines_without_a_terminal(capsys):
    trainer = SimpleNamespace(global_step=0, callback_metrics={})
    lines = StepLines(steps=5, every=2)
    lines.on_train_start(trainer, None)
    for step in (1, 2, 2, 3, 4, 5):  # twice 2: a batch in two passes
        trainer.global_step = step
        trainer.callback_metrics = {"train/loss": torch.tensor(0.25)}
        lines.on_train_batch_end(trainer)
    trainer.callback_metrics = {"val/sdr_text": torch.tensor(4.5)}
    lines.on_validation_end(trainer, None)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said[:3]] == [f"step {n} of 5" for n in (2, 4, 5)]
    assert all("loss 0.2500" in line and "steps/s" in line and "left" in line for line in said[:3])
    assert said[3] == "validated at step 5: val/sdr_text 4.500"


def test_on_a_terminal_one_line_is_kept_up_to_date(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    trainer = SimpleNamespace(global_step=40, callback_metrics={})
    lines = StepLines(steps=42, every=1000)
    lines.on_train_start(trainer, None)
    for step in (41, 42):
        trainer.global_step = step
        trainer.callback_metrics = {"train/loss": torch.tensor(0.25)}
        lines.on_train_batch_end(trainer)
    said = capsys.readouterr().err
    assert [text.split(":")[0].strip() for text in said.split("\r")[1:]] == [
        "Continuing from step 40 of 42.",
        "step 41 of 42",
        "step 42 of 42",
    ]
    assert said.count("\n") == 2, "the first and the last line stay"


def test_the_start_says_what_is_trained_with_what_and_where():
    model = torch.nn.Linear(1000, 500)
    said = describe_start(model, torch.device("cpu"), 36, Path("runs/mine"))
    assert said == "Training 0.5 million parameters on cpu, with 36 clips, in 'runs/mine'."


@pytest.mark.parametrize(("seconds", "text"), [(12, "12 s"), (200, "3 min"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_the_shipped_model_fits_the_config_for_fine_tuning_whole():
    data = ["data.train=a", "data.val=b"]
    start = load_checkpoint("mini")
    config = load_config(CONFIGS / "finetune.yaml", data)
    model, note = initial_model(start.config, start, config)
    assert "left out" not in note and "random" not in note
    weights = start.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    described = start.config.model.model_dump()
    asked = config.model.model_dump()
    sizes = {"query_dim", "n_labels"}
    assert {k: v for k, v in asked.items() if k not in sizes} == {
        k: v for k, v in described.items() if k not in sizes
    }
    bare = start.config.model_copy(
        update={"model": start.config.model.model_copy(update={"noise_heads": 2})}
    )
    with pytest.raises(UsageError, match="init_partial"):
        initial_model(bare, start, config)
