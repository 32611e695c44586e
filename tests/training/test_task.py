"""Laws of a training step and a validation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipsep.models.registry import build_model
from clipsep.training.config import TrainingConfig
from clipsep.training.data.batches import collate
from clipsep.training.load import load_inputs
from clipsep.training.task import SeparationTask
from tests.helpers.datasets import make_dataset
from tests.training.run_tiny import TinyEncoder, tiny_config


class Recorder(torch.nn.Module):
    """Stands for a model, and stops at the first query."""

    def forward(self, log_magnitude: torch.Tensor, query: torch.Tensor) -> None:
        self.query = query
        raise StopIteration


@pytest.mark.parametrize("batch_number", [0, 1])
def test_the_best_hybrid_model_is_chosen_by_images_as_published(
    batch_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clipsep.training.load.load_query_encoder", lambda name: TinyEncoder())
    for name in ("train", "val"):
        make_dataset(tmp_path / name)
    config: TrainingConfig = tiny_config(tmp_path, query="hybrid")
    inputs = load_inputs(config)
    recorder = Recorder()
    task = SeparationTask(recorder, config, inputs.text_queries + 1)
    batch = collate([inputs.validation[0], inputs.validation[1]])
    with pytest.raises(StopIteration):
        task.validation_step(batch, batch_number)
    assert torch.equal(recorder.query, batch.clip_query)


def test_silent_targets_have_no_part_in_the_validation_sdr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clipsep.training.load.load_query_encoder", lambda name: TinyEncoder())
    for name in ("train", "val"):
        make_dataset(tmp_path / name)
    config: TrainingConfig = tiny_config(tmp_path)
    inputs = load_inputs(config)
    settings = config.model.model_copy(update={"query_dim": TinyEncoder.dim})
    model = build_model(settings, config.spectral.n_bands).eval()
    task = SeparationTask(model, config, inputs.text_queries)
    logged: dict[str, tuple[float, int]] = {}

    def log(name: str, value: torch.Tensor, batch_size: int, **_: object) -> None:
        logged[name] = float(value), batch_size

    monkeypatch.setattr(task, "log", log)
    items = [inputs.validation[number] for number in range(2)]
    with torch.no_grad():
        task.validation_step(collate(items[1:]), 0)
        alone = logged["val/sdr_image"]
        both = collate(items)
        both.sources[0, 0] = 0
        task.validation_step(both, 0)
    assert alone[1] == logged["val/sdr_image"][1] == 1
    assert logged["val/sdr_image"][0] == pytest.approx(alone[0], abs=1e-3)
