"""The state of a run on disk is whole, or that of an earlier step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from clipsep.files import unfinished
from clipsep.training.resume import RESUME, SaveState
from tests.training.run_tiny import tiny_config


def trainer(step: int, save, rank: int = 0) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, is_global_zero=rank == 0, save_checkpoint=save)


def test_a_disk_that_fills_up_leaves_the_state_of_before(tmp_path: Path):
    """As Lightning does it: part of the file is there when the error comes."""

    def cut_off(path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    config = tiny_config(tmp_path, save_every=1)
    state = SaveState(config, validate=False)
    state.on_train_batch_end(trainer(1, lambda path: Path(path).write_bytes(b"whole")))
    with pytest.raises(OSError, match="No space"):
        state.on_train_batch_end(trainer(2, cut_off))
    assert [path.name for path in config.output.iterdir()] == [RESUME]
    assert (config.output / RESUME).read_bytes() == b"whole"


def test_what_a_kill_left_is_removed(tmp_path: Path):
    config = tiny_config(tmp_path)
    config.output.mkdir(parents=True)
    left = unfinished(config.output / RESUME)
    left.write_bytes(b"half")
    SaveState(config, validate=False).on_train_start(trainer(0, None), None)
    assert not left.exists()


def test_other_processes_take_part_and_write_nothing(tmp_path: Path):
    seen: list[Path] = []
    config = tiny_config(tmp_path, save_every=1)
    SaveState(config, validate=False).on_train_batch_end(trainer(1, seen.append, rank=1))
    assert seen == [config.output / RESUME] and not config.output.exists()
