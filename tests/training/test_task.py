"""Laws of a training step and a validation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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
