"""Laws of a training run: it learns, it resumes exactly, it refuses unfit data before it starts."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import safetensors.torch
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clipsep.checkpoint import load_checkpoint
from clipsep.errors import ClipsepError, UsageError
from clipsep.metrics import sdr
from clipsep.training.callbacks.validation import ExportModel
from clipsep.training.data.batches import collate
from clipsep.training.load import load_inputs
from clipsep.training.task import SeparationTask
from clipsep.training.train import _validation_loader, train
from tests.helpers.datasets import make_dataset
from tests.training.run_tiny import TinyEncoder, tiny_config, train_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_dataset(tmp_path / "train")
    make_dataset(tmp_path / "val", clips=4)
    return tmp_path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_a_run_ends_with_checkpoints_and_a_log(root: Path):
    best = train_tiny(root)
    config = load_checkpoint(best).config
    assert config.query_encoder == "tiny" and config.model.query_dim == 4
    assert {"val/sdr_image", "val/sdr_text", "step"} <= set(config.training)
    assert (root / "run/last/config.json").is_file()
    with open(root / "run/log/version_0/metrics.csv", newline="") as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    logged = {"train/loss", "train/learning_rate", "train/noise_activation", "val/loss"}
    assert logged <= columns and {"val/sdr_image", "val/sdr_text"} <= columns


def test_a_validation_in_which_no_target_is_heard_is_no_divergence(root: Path, monkeypatch):
    monkeypatch.setattr("clipsep.training.task._SILENT_POWER", float("inf"))
    scores = load_checkpoint(train_tiny(root, best="sdr")).config.training
    assert "val/loss" in scores and "val/sdr_text" not in scores


def test_a_validation_with_fewer_mixtures_than_devices_is_refused(root: Path):
    with mock.patch("clipsep.training.load.load_query_encoder", lambda name: TinyEncoder()):
        config = tiny_config(root, validation_mixtures=1)
        inputs = load_inputs(config)
    trainer = mock.Mock(world_size=2)
    with pytest.raises(UsageError, match="1 mixture, too few for 2 devices"):
        _validation_loader(config, inputs, trainer)
    trainer.world_size = 1
    assert _validation_loader(config, inputs, trainer) is not None


def command(root: Path, **changes) -> list[str]:
    """The same training in a process of its own."""
    return [sys.executable, "-m", "tests.training.run_tiny", str(root), json.dumps(changes)]


def assert_equal(one: Path, other: Path) -> None:
    """Bit for bit."""
    expected = weights(other)
    assert weights(one).keys() == expected.keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(root: Path):
    """SIGKILL after the first save; the same command again goes on, bit for bit."""
    tiny = command(root, accumulate=2)
    process = subprocess.Popen(tiny, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    resume = root / "run/resume.ckpt"
    deadline = time.monotonic() + 120
    while not resume.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    step = torch.load(resume, weights_only=False)["global_step"]
    assert 0 < step < 12
    subprocess.run(tiny, check=True)
    (root / "run").rename(root / "resumed")
    subprocess.run(tiny, check=True)
    assert_equal(root / "resumed/last", root / "run/last")


def test_a_kill_during_a_validation_loses_nothing(root: Path, monkeypatch):
    """The validation is made again: last and best are those of an unbroken run, to the byte."""
    tried, finished = [], []
    validated = ExportModel.on_validation_epoch_end

    def finish(export, trainer, task):
        finished.append(trainer.global_step)
        validated(export, trainer, task)

    def killed(task, batch, batch_idx):
        tried.append(task.global_step)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SeparationTask, "validation_step", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_tiny(root, steps=8, save_every=2)
    assert tried == [4]
    monkeypatch.setattr(ExportModel, "on_validation_epoch_end", finish)
    train_tiny(root, steps=8, save_every=2)
    assert finished == [4, 8]
    kept = contents(root / "run")
    shutil.rmtree(root / "run")
    train_tiny(root, steps=8, save_every=2)
    assert kept == contents(root / "run")


def test_a_finished_run_is_left_as_it_is(root: Path):
    """Averaged weights and scores included; the models are made again if they are missing."""
    best = train_tiny(root, steps=5)
    kept = contents(root / "run")
    assert kept["last/config.json"] != kept["best/config.json"]
    assert train_tiny(root, steps=5) == best
    assert contents(root / "run") == kept
    shutil.rmtree(root / "run/last")
    train_tiny(root, steps=5)
    assert contents(root / "run") == kept


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_state_is_executed(root: Path, monkeypatch):
    monkeypatch.chdir(root)
    (root / "run").mkdir()
    torch.save({"state_dict": {}, "callbacks": Hostile()}, root / "run/resume.ckpt")
    with pytest.raises(ClipsepError, match="damaged"):
        train_tiny(root)
    assert not (root / "executed").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """The models of a run."""
    models = [*folder.glob("last/*"), *folder.glob("best/*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in models}


def test_a_full_disk_costs_no_more_than_the_steps_since_the_last_save(root: Path):
    """The state does not fit any more; what was saved stays, and the run goes on from it later."""
    train_tiny(root, steps=3)
    kept = (root / "run/resume.ckpt").read_bytes()
    limited = f"ulimit -f {len(kept) // 2048}; exec {shlex.join(command(root))}"
    # A tracer of coverage would want to write its own file.
    untraced = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    process = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, env=untraced)
    assert process.returncode != 0
    assert "ClipsepError: Cannot write to" in process.stderr.splitlines()[-1]
    assert (root / "run/resume.ckpt").read_bytes() == kept
    assert {path.name for path in (root / "run").iterdir()} <= {
        *("best", "last", "log", "tensorboard", "resume.ckpt")
    }
    train_tiny(root)
    (root / "run").rename(root / "resumed")
    train_tiny(root)
    assert_equal(root / "resumed/last", root / "run/last")


def first_loss(root: Path) -> float:
    """The loss that was logged for the first step."""
    with open(root / "run/log/version_0/metrics.csv", newline="") as file:
        return next(float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"])


@pytest.mark.parametrize("split", [{"devices": 2}, {"accumulate": 2}], ids=str)
def test_a_step_is_the_same_however_its_batch_is_split(root: Path, split: dict):
    """Two processes (gloo), or two passes, of half the batch: the gradient of the whole batch, and
    every mixture of an epoch once.
    """
    settings = {"record": True, "batch_size": 4, "steps": 3, "data": {"train": str(root / "train")}}
    subprocess.run(command(root, **settings), check=True)
    expected = safetensors.torch.load_file(root / "gradient.safetensors")
    loss = first_loss(root)
    (root / "gradient.safetensors").unlink()
    shutil.rmtree(root / "run")
    subprocess.run(command(root, **settings, **split), check=True)
    assert first_loss(root) == pytest.approx(loss, rel=1e-4)  # logged once, the mean of all parts
    gradient = safetensors.torch.load_file(root / "gradient.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(gradient[name], tensor, rtol=1e-3, atol=1e-6)
    seen = [
        json.loads((root / f"seen-{n}.json").read_text()) for n in range(split.get("devices", 1))
    ]
    assert sorted(index for part in seen for index in part) == list(range(12))


def test_devices_that_do_not_divide_the_batch_are_refused(root: Path):
    with pytest.raises(ValueError, match="multiple of devices"):
        tiny_config(root, devices=2, batch_size=3)


def test_listenable_examples_are_written_for_tensorboard(root: Path):
    train_tiny(root, steps=4, examples=1)
    events = EventAccumulator(str(root / "run/tensorboard"))
    events.Reload()
    kinds = ("mixture", "target", "estimate (image)", "estimate (text)")
    assert set(events.Tags()["audio"]) == {f"example 1/{kind}" for kind in kinds}
    (sound,) = events.Audio("example 1/mixture")
    assert sound.step == 4 and sound.sample_rate == 16000
    masks = {"ideal mask", "mask (text)", "mask (image)", "noise mask 1", "noise mask 2"}
    shown = {"mixture", *masks}
    assert set(events.Tags()["images"]) == {f"example 1/{kind}" for kind in shown}
    assert {"train/loss", "val/loss", "val/sdr_text"} <= set(events.Tags()["scalars"])


def test_half_precision_without_a_gpu_is_refused(root: Path):
    with pytest.raises(UsageError, match="bf16"):
        train_tiny(root, precision="16")


def test_one_clip_only_is_refused(root: Path):
    make_dataset(root / "one", clips=1)
    with pytest.raises(ClipsepError, match="has 1 clip: mixing 2 needs"):
        train_tiny(root, data={"train": root / "one"})


def test_training_learns_to_follow_the_query(root: Path):
    """The right query finds its source, the other source's query does not.

    A model that ignores its query answers both alike, and so does one that has learnt nothing.
    """
    changes = {
        "steps": 120,
        "validate_every": 20,
        "best": "sdr",
        "batch_size": 6,
        "mixing": {
            "margin": 1.0,
            "jitter": 0.5,
            "target_rms": 0.1,
            "validation_partner": "other_label",
        },
        "optimizer": {"learning_rate": 0.02, "warmup_steps": 5, "ema_decay": 0.9},
        "loss": {"kind": "nit", "union": "either", "sdr_weight": 0.3, "absent_query_prob": 0.2},
    }
    checkpoint = load_checkpoint(train_tiny(root, **changes))
    with mock.patch("clipsep.training.load.load_query_encoder", return_value=TinyEncoder()):
        inputs = load_inputs(tiny_config(root, **changes))
    batch = collate([inputs.validation[number] for number in range(4)])
    task = SeparationTask(
        checkpoint.model.eval(), tiny_config(root, **changes), inputs.text_queries
    )
    for query in task.validation_queries(batch).values():
        with torch.no_grad():
            _, right = task.estimate(batch.sources, query)
            _, wrong = task.estimate(batch.sources, query.flip(1))
        right, wrong = (
            float(sdr(batch.sources.numpy(), one.numpy()).mean()) for one in (right, wrong)
        )
        # The untrained masks are flat and score 3 dB on two equally loud sources.
        assert right > 5
        assert right > wrong + 6


def test_a_run_can_start_from_the_weights_of_another(root: Path):
    first = train_tiny(root, steps=4).rename(root / "first")
    still = {"learning_rate": 1e-12, "warmup_steps": 0}
    train_tiny(root, init=str(first), output=root / "second", steps=1, optimizer=still)
    origin, described = (load_checkpoint(root / name).config for name in ("first", "second/last"))
    known = {"name": "tiny", "sha256": origin.sha256}
    assert described.training["config"]["init"] == known and origin.sha256
    assert str(root) not in (root / "second/last/config.json").read_text()
    start, end = weights(first), weights(root / "second/last")
    for name, tensor in start.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(end[name], tensor)
    network = {"kind": "patch_unet", "widths": [4, 8], "film_decoder": True}
    film = {"network": network, "feature_channels": 4, "query_activation": "none"}
    changes = {"model": film, "loss": {"kind": "mask"}, "optimizer": still, "steps": 1}
    with pytest.raises(UsageError, match=r"another shape.*init_partial=true"):
        train_tiny(root, init=str(first), output=root / "third", **changes)
    changes["init_partial"] = True
    train_tiny(root, init=str(first), output=root / "third", **changes)  # without noise heads
    end = weights(root / "third/last")
    torch.testing.assert_close(end["network.stem.weight"], start["network.stem.weight"])
    wider = {"network": {"kind": "patch_unet", "widths": [8, 8]}, "noise_heads": 2}
    with pytest.raises(UsageError, match="another shape"):
        model = {**wider, "query_activation": "none"}
        train_tiny(root, init=str(first), output=root / "fourth", model=model)


def test_missing_embeddings_are_refused_before_training(root: Path):
    shutil.rmtree(root / "train/embeddings")
    with pytest.raises(ClipsepError, match="clipsep embed"):
        train_tiny(root)
    assert not (root / "run").exists()


def test_a_state_that_cannot_be_resumed_is_named_and_the_models_stay(root: Path):
    train_tiny(root, steps=4)
    kept = weights(root / "run/best")
    wider = {"network": {"kind": "patch_unet", "widths": [8, 8]}, "noise_heads": 2}
    with pytest.raises(UsageError, match=r"another run, which differs in model\.network\.widths: "):
        train_tiny(root, steps=8, model=wider)
    resume = root / "run/resume.ckpt"
    resume.write_bytes(resume.read_bytes()[:1000])
    with pytest.raises(ClipsepError, match="damaged"):
        train_tiny(root, steps=8)
    assert all(
        torch.equal(kept[name], tensor) for name, tensor in weights(root / "run/best").items()
    )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"name": "other"}, "name"),
        ({"mixing": {"margin": 1.0, "jitter": 0.4, "target_rms": 0.1}}, r"mixing\.jitter"),
        ({"optimizer": {"learning_rate": 0.02}}, r"optimizer\.learning_rate"),
        ({"batch_size": 4}, "batch_size"),
        ({"data": {"train": "{}/more", "val": "{}/val"}}, r"the number of clips in data\.train"),
        ({"data": {"train": "{}/train"}}, r"the number of clips in data\.val"),
    ],
    ids=str,
)
def test_an_output_is_not_continued_by_another_run(root: Path, change: dict, key: str):
    make_dataset(root / "more", clips=8)
    train_tiny(root, steps=4)
    kept = weights(root / "run/last")
    if "data" in change:
        change = {"data": {name: path.format(root) for name, path in change["data"].items()}}
    with pytest.raises(UsageError, match=f"differs in {key}: choose another output, or delete"):
        train_tiny(root, steps=4, **change)
    assert all(
        torch.equal(kept[name], tensor) for name, tensor in weights(root / "run/last").items()
    )


def test_a_run_goes_on_where_its_data_moved_and_with_other_ways_to_get_there(root: Path):
    train_tiny(root, steps=4)
    (root / "train").rename(root / "moved")
    data = {"train": str(root / "moved"), "val": str(root / "val")}
    free = {"examples": 0, "log_every": 2, "save_every": 1, "validate_every": 2, "accumulate": 2}
    best = train_tiny(root, steps=6, data=data, validation_mixtures=2, **free)
    assert load_checkpoint(root / "run/last").config.training["step"] == 6
    assert best == root / "run/best"


def test_a_state_of_an_older_version_has_no_record_and_goes_on(root: Path):
    train_tiny(root, steps=4)
    resume = root / "run/resume.ckpt"
    state = torch.load(resume, weights_only=False)
    del state["callbacks"]["RunRecord"]
    torch.save(state, resume)
    train_tiny(root, steps=8)
    assert load_checkpoint(root / "run/last").config.training["step"] == 8
    wider = {"network": {"kind": "patch_unet", "widths": [8, 8]}, "noise_heads": 2}
    torch.save(state, resume)
    with pytest.raises(UsageError, match="another shape"):
        train_tiny(root, steps=8, model=wider)


def test_the_best_model_of_an_earlier_run_is_not_this_run_s(root: Path):
    train_tiny(root, steps=4)
    (root / "run/resume.ckpt").unlink()
    assert train_tiny(root, steps=4, data={"train": str(root / "train")}) == root / "run/last"


def test_a_training_that_diverges_stops_and_exports_nothing(root: Path):
    optimizer = {"learning_rate": 1e30, "warmup_steps": 0}
    with pytest.raises(ClipsepError, match=r"diverged: at step \d+ .*optimizer\.learning_rate"):
        train_tiny(root, optimizer=optimizer)
    assert not list((root / "run").glob("*/model.safetensors"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"spectral": {"segment_frames": 64, "level": "relative"}}, r"spectral\.level"),
        ({"model": {"query_activation": "sigmoid"}}, r"model\.query_activation"),
        ({"model": {"normalize_query": True}}, r"model\.normalize_query"),
    ],
    ids=str,
)
def test_weights_that_mean_something_else_are_no_start(root: Path, change: dict, key: str):
    first = train_tiny(root, steps=1).rename(root / "first")
    if "model" in change:
        change = {"model": {**tiny_config(root).model_dump()["model"], **change["model"]}}
    with pytest.raises(UsageError, match=f"another {key} than"):
        train_tiny(root, init=str(first), output=root / "second", **change)


def test_another_table_of_labels_is_no_start(root: Path):
    table = {
        "query_encoder": "labels",
        "query": "text",
        "loss": {"kind": "mask"},
        "model": {**tiny_config(root).model_dump()["model"], "kind": "labelsep", "noise_heads": 0},
        "steps": 1,
        "save_every": 1,
    }
    first = train_tiny(root, **table)
    for name in ("train2", "val2"):
        make_dataset(root / name, clips=6 if "train" in name else 4, labels=("hum", "buzz"))
    data = {"train": str(root / "train2"), "val": str(root / "val2")}
    with pytest.raises(UsageError, match="another list of labels than"):
        train_tiny(root, init=str(first), output=root / "second", data=data, **table)
    with pytest.raises(UsageError, match="differs in labels"):
        train_tiny(root, data=data, **table)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named(root: Path):
    with pytest.raises(UsageError, match="no CUDA device"):
        train_tiny(root, device="cuda")


def test_callbacks_and_loggers_of_ones_own_take_part(root: Path):
    class Counting(Callback):
        steps = 0

        def on_train_batch_end(self, *_: object) -> None:
            self.steps += 1

    counting, data = Counting(), {"train": str(root / "train")}
    config = tiny_config(root, steps=3, data=data)
    with mock.patch("clipsep.training.load.load_query_encoder", lambda name, **_: TinyEncoder()):
        train(config, progress=False, callbacks=[counting], logger=CSVLogger(root / "mine"))
    assert counting.steps == 3
    assert list((root / "mine").rglob("metrics.csv"))
    assert list((root / "run/log").rglob("metrics.csv"))
