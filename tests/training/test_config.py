"""The shipped configs are valid and train; a wrong key is named."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from clipsep.checkpoint import load_checkpoint
from clipsep.errors import ClipsepError, UsageError
from clipsep.training.config import TrainingConfig, load_config
from tests.helpers.datasets import make_dataset
from tests.training.run_tiny import train_tiny

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def small(path: Path) -> dict:
    """What makes the config a model of its own, without its size, length and encoder."""
    config = load_config(path).model_dump(mode="json")
    model = {**config["model"], "feature_channels": 4}
    model["network"] = {"kind": "patch_unet", "widths": [4, 8]}
    kept = {key: config[key] for key in ("name", "query", "prompts", "loss")}
    if config["query_encoder"] == "labels":
        kept["query_encoder"] = "labels"
    return {**kept, "model": model, "steps": 2, "validate_every": 2}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_trains(path: Path, tmp_path: Path):
    assert load_config(path).name == path.stem
    make_dataset(tmp_path / "train")
    make_dataset(tmp_path / "val", clips=4)
    folder = train_tiny(tmp_path, **small(path))
    checkpoint = load_checkpoint(folder)
    assert any(key.startswith("val/sdr") for key in checkpoint.config.training)
    assert checkpoint.config.labels == (["hiss", "hum"] if "labelsep" in path.stem else [])


def test_published_defaults():
    config = TrainingConfig(name="x", output="x", data={"train": "x"})
    assert (config.optimizer.learning_rate, config.batch_size, config.steps) == (1e-3, 32, 200_000)
    assert (config.optimizer.warmup_steps, config.optimizer.decay_until) == (5000, 100_000)
    assert config.model.network.num_downs == 7 and config.spectral.segment_samples == 65535


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer.learning_rat=1", "optimizer.learning_rat: Extra"),
        ("batch_size=0", "batch_size: Input should be greater"),
        ("loss.kind=nit", "noise_heads go together"),
        ("prompts=phto", "prompts must be one of plain"),
        ("spectral.sample_rate=8000", "spectral.sample_rate must be 16000"),
        ("optimizer.learning_rate=.inf", "optimizer.learning_rate: Input should be a finite"),
        ("spectral.log_floor=.inf", r"spectral\.log_floor: Input should be"),
        ("mixing.gain_range=[1.5, 0.5]", r"mixing\.gain_range: must be two numbers"),
        ("mixing.gain_range=[0, 0]", r"mixing\.gain_range: must be two numbers"),
        ("mixing.gain_range=[-1, 0.5]", r"mixing\.gain_range: must be two numbers"),
        ("mixing.target_rms=.nan", r"mixing\.target_rms: Input should be"),
        (
            "model.network={kind: patch_unet, widths: [0, 10]}",
            r", model\.network\.widths\.0: Input",
        ),
        (
            "model.network={kind: patch_unet, widths: 3}",
            r", model\.network\.widths: Input should be",
        ),
        ("model.network={kind: unet, blocks: 1}", r", model\.network\.blocks: Extra inputs"),
        ("model.network={widths: [1]}", r", model\.network: Unable to extract tag"),
        ("devices=many", r", devices: Input should be"),
        ("data={val: x}", r", data\.train: Field required"),
        ("mixing.gain_range=[1]", r", mixing\.gain_range\.1: Field required"),
        ("model.network={kind: patch_unet, widths: [-4]}", r"widths\.0: Input should be"),
        ("model.network={kind: patch_unet, patch: 3}", "of 24, which.*patch and widths"),
        ("model.network={kind: unet, num_downs: 10}", "of 1024, which.*num_downs"),
        ("spectral.n_bands=200", r"spectral\.n_bands must be a multiple of 128"),
        ("spectral.segment_frames=200", r"spectral\.segment_frames must be a multiple of 128"),
        ("steps", "write key=value"),
        ("steps=[1", "the value is not valid YAML"),
        ("steps.more=1", "has no keys below it"),
    ],
)
def test_wrong_keys_and_values_are_named(override: str, sentence: str):
    path = next(path for path in CONFIGS if path.stem == "clipsep")
    overrides = ["steps=5", override]
    with pytest.raises(UsageError, match=sentence):
        load_config(path, overrides)


@pytest.mark.parametrize(
    ("stem", "overrides", "sentence"),
    [
        ("clipsep", ["loss.kind=pit"], "loss.kind 'pit' and model.kind 'pit' go together"),
        ("pit", ["loss.kind=mask"], "loss.kind 'pit' and model.kind 'pit' go together"),
        ("clipsep", ["loss.options={a: 1}"], "loss.options are for losses of other packages"),
        ("labelsep", ["query_encoder=clip"], "'labelsep' and query_encoder 'labels' go together"),
        ("labelsep", ["query=image"], "'labelsep' needs query 'text'"),
        ("labelsep", ["texts=captions"], "'captions' and model.kind 'labelsep' do not go"),
        ("clipsep", ["texts=captions"], "'captions' needs query 'text' or 'hybrid'"),
        ("pit", ["loss.absent_query_prob=0.1"], "loss.absent_query_prob needs queries"),
        ("pit", ["query=image"], "'pit' and query 'none' go together"),
        ("clipsep-nit", ["loss.drop_closest=1"], "loss.drop_closest is for loss.kind 'mask'"),
        ("clipsep-nit", ["mixing.n_sources=3"], "noise_heads must be at least mixing.n_sources"),
    ],
)
def test_what_does_not_go_together_is_said(stem: str, overrides: list[str], sentence: str):
    path = next(path for path in CONFIGS if path.stem == stem)
    load_config(path)
    with pytest.raises(UsageError, match=re.escape(sentence)):
        load_config(path, overrides)


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_a_config_is_a_mapping(tmp_path: Path, text: str):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not a mapping of keys to values"):
        load_config(path)


def test_two_masks_take_two_sources():
    path = next(path for path in CONFIGS if path.stem == "mini-pit")
    with pytest.raises(UsageError, match=r"mixing\.n_sources must be 2"):
        load_config(path, ["mixing.n_sources=3"])


def test_absent_sounds_are_those_of_other_mixtures():
    path = next(path for path in CONFIGS if path.stem == "clipsep")
    load_config(path, ["loss.absent_query_prob=0.1", "accumulate=16"])
    with pytest.raises(
        UsageError, match=r"loss\.absent_query_prob takes the query of another mixture"
    ):
        load_config(path, ["loss.absent_query_prob=0.1", "accumulate=32"])


def test_a_config_names_only_what_differs_from_the_one_it_extends(tmp_path: Path):
    (tmp_path / "base.yaml").write_text(
        "name: base\noutput: a\ndata: {train: t}\nmixing: {target_rms: 0.1, margin: 1}"
    )
    (tmp_path / "more.yaml").write_text("extends: base.yaml\nname: more\nmixing: {margin: 2}")
    config = load_config(tmp_path / "more.yaml", ["mixing.jitter=0.5"])
    assert (config.name, str(config.output)) == ("more", "a")
    assert (config.mixing.target_rms, config.mixing.margin, config.mixing.jitter) == (0.1, 2, 0.5)
    (tmp_path / "base.yaml").write_text("extends: more.yaml")
    with pytest.raises(UsageError, match="extends itself"):
        load_config(tmp_path / "more.yaml")
    (tmp_path / "base.yaml").unlink()
    with pytest.raises(UsageError, match=r"base\.yaml"):
        load_config(tmp_path / "more.yaml")


def test_labels_are_asked_for_as_texts():
    path = next(path for path in CONFIGS if path.stem == "labelsep")
    with pytest.raises(UsageError, match="needs query 'text'"):
        load_config(path, ["query=image"])


def test_overrides_change_what_they_name():
    path = next(path for path in CONFIGS if path.stem == "mini")
    config = load_config(
        path, ["steps=7", "optimizer.ema_decay=0", "mixing.gain_range=[1, 2]", "precision=32"]
    )
    assert (config.steps, config.optimizer.ema_decay, config.mixing.gain_range) == (7, 0, (1, 2))
    assert config.precision == "32"


def test_data_lie_in_folders_or_at_addresses(tmp_path: Path):
    path = next(path for path in CONFIGS if path.stem == "mini")
    data = load_config(path, ["data.train=s3://bucket/train", "data.val=null"]).data
    assert (data.train, data.val, data.shuffle_shards) == ("s3://bucket/train", None, None)
    settings = {"name": "x", "output": tmp_path, "data": {"train": tmp_path, "val": tmp_path}}
    data = TrainingConfig.model_validate(settings).data
    assert data.train == data.val == str(tmp_path)
    with pytest.raises(UsageError, match=r"data\.cache_gb: Input should be greater"):
        load_config(path, ["data.cache_gb=0"])


def test_a_model_that_needs_labels_is_refused_without(tmp_path: Path):
    make_dataset(tmp_path / "train", labeled=False)
    make_dataset(tmp_path / "val", clips=4)
    with pytest.raises(ClipsepError, match=r"6 clips without a label.*--labels"):
        train_tiny(tmp_path, query="text")


def test_validation_clips_without_labels_are_scored_with_frames_only(tmp_path: Path):
    make_dataset(tmp_path / "train")
    make_dataset(tmp_path / "val", clips=4, labeled=False)
    scores = load_checkpoint(train_tiny(tmp_path, steps=4)).config.training
    assert "val/sdr_image" in scores and "val/sdr_text" not in scores
    with pytest.raises(ClipsepError, match="4 clips without a label"):
        train_tiny(tmp_path, query="text", steps=4)


def test_one_kind_of_sound_is_refused_only_where_labels_are_queries(tmp_path: Path):
    for name in ("train", "val"):
        make_dataset(tmp_path / name, clips=4, labels=("hum", "hum"))
    scores = load_checkpoint(train_tiny(tmp_path, steps=4)).config.training
    assert "val/sdr_image" in scores and "val/sdr_text" not in scores
    with pytest.raises(ClipsepError, match=r"All clips of .*the label 'hum', so that every text"):
        train_tiny(tmp_path, query="text", steps=4)
    pit = small(next(path for path in CONFIGS if path.stem == "pit"))
    scores = load_checkpoint(train_tiny(tmp_path, **pit, output=tmp_path / "pit")).config.training
    assert "val/sdr_best" in scores


def test_only_a_model_trained_on_words_refuses_labels_that_it_has_not_heard(tmp_path: Path):
    make_dataset(tmp_path / "train")
    make_dataset(tmp_path / "val", clips=6, labels=("hum", "buzz"))
    scores = load_checkpoint(train_tiny(tmp_path, steps=4)).config.training
    assert {"val/sdr_image", "val/sdr_text"} <= set(scores)
    with pytest.raises(UsageError, match=r"labels that the training set lacks \(buzz\): "):
        train_tiny(tmp_path, query="hybrid", steps=4, output=tmp_path / "other")


def test_the_page_of_all_keys_is_in_step():
    root = Path(__file__).parents[2]
    made = runpy.run_path(str(root / ".ci/config_table.py"))["page"]()
    assert made == (root / "docs/configuration.md").read_text(), (
        "run: python .ci/config_table.py > docs/configuration.md"
    )
