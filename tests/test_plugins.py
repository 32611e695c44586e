"""Parts of other packages, by the example in examples/plugin, and by dotted paths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsep import plugins
from clipsep.checkpoint import load_checkpoint, load_config
from clipsep.datasets.prepare.embed import embed
from clipsep.engines.export import export_checkpoint
from clipsep.errors import ClipsepError, UsageError
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings
from clipsep.queries import load_query_encoder, reads_audio
from clipsep.queries.prompts import encode_prompted, prompt_set
from clipsep.training.config import TrainingConfig
from clipsep.training.config import load_config as load_training
from clipsep.training.train import train
from tests.helpers.clap import save_tiny_clap
from tests.helpers.datasets import make_dataset
from tests.helpers.plugin import forget_example, install_example

DILATED = {"kind": "dilated", "stride": 4, "options": {"width": 8, "layers": 3}}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    install_example(tmp_path / "site", monkeypatch)
    yield
    forget_example()


@pytest.fixture(autouse=True)
def trusts_nothing(monkeypatch):
    monkeypatch.delenv(plugins.TRUSTED, raising=False)


def config(root: Path, **changes) -> TrainingConfig:
    """Four steps with texts as queries, which the example's encoder reads."""
    settings = {
        "name": "own",
        "output": root / "run",
        "data": {"train": root / "train", "val": root / "train"},
        "query_encoder": "words:16",
        "query": "text",
        "model": {"network": DILATED, "feature_channels": 4, "query_activation": "none"},
        "spectral": {"segment_frames": 32, "n_bands": 64},
        "mixing": {"margin": 1.0},
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 0, "decay_until": None},
        "steps": 4,
        "batch_size": 2,
        "validate_every": 2,
        "validation_mixtures": 2,
        "examples": 0,
        "log_every": 1,
        "device": "cpu",
    }
    return TrainingConfig.model_validate({**settings, **changes})


def test_an_installed_encoder_is_found_by_its_name(installed):
    encoder = load_query_encoder("words")
    assert (encoder.id, encoder.dim) == ("words:64", 64)
    again = load_query_encoder(encoder.id)  # as a checkpoint names it
    first, second = (one.encode_texts(["a dog", "rain"]) for one in (encoder, again))
    assert np.array_equal(first, second) and first.shape == (2, 64)
    assert load_query_encoder("words:16").dim == 16
    assert np.shape(encode_prompted(encoder, ["dog"], "ensemble")) == (1, 64)
    with pytest.raises(UsageError, match="words:x"):
        load_query_encoder("words:x")


def test_unknown_parts_are_refused_with_those_that_there_are(installed, tmp_path):
    with pytest.raises(UsageError, match='"efficientnet", "clap", "words", "clip"'):
        load_query_encoder("word")
    with pytest.raises(UsageError, match="photo, ensemble, sound, recording"):
        prompt_set("photograph")
    for changes, message in (
        (
            {"loss": {"kind": "magnitud"}},
            r"loss.kind 'magnitud' is unknown \(mask, nit, pit, magnitude,",
        ),
        ({"mixing": {"sampler": "round"}}, r"mixing.sampler 'round' is unknown \(rounds,"),
        ({"loggers": {"json": {}}}, r"loggers 'json' is unknown \(wandb, jsonl,"),
        (
            {"model": {"network": {**DILATED, "kind": "dilate"}}},
            r"model.network.kind 'dilate' is unknown \(unet, patch_unet, dilated,",
        ),
        (
            {"model": {"network": {"kind": "patch_une", "widths": [8]}}},
            "neither unet nor patch_unet",
        ),
        ({"loss": {"options": {"power": 2}}}, "loss.options are for losses of other packages"),
    ):
        with pytest.raises(ValueError, match=message):
            config(tmp_path, **changes)


def test_a_training_with_a_network_loss_sampler_prompts_and_logger_of_ones_own(installed, tmp_path):
    make_dataset(tmp_path / "train")
    lines = tmp_path / "losses.jsonl"
    settings = config(
        tmp_path,
        loss={"kind": "magnitude", "options": {"power": 2.0}},
        mixing={"margin": 1.0, "sampler": "rounds", "sampler_options": {"stride": 2}},
        prompts="recording",
        loggers={"jsonl": {"path": str(lines)}},
    )
    folder = train(settings, progress=False)
    logged = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sum("train/loss" in line for line in logged) == 4
    model = load_checkpoint(folder).model
    assert type(model.network).__module__ == "clipsep_example.network"
    assert load_config(folder).prompts == "recording"
    export_checkpoint(folder)
    # An exported model needs the package no longer.
    forget_example()
    script = (
        "import sys, numpy as np; from pathlib import Path; from clipsep.checkpoint import load_config; "
        "from clipsep.engines import load_engine; folder = Path(sys.argv[1]); "
        "engine = load_engine(folder, load_config(folder), 'onnx'); "
        "sizes = ((1, 1, 64, 32), (3, 16)); arrays = [np.zeros(size, np.float32) for size in sizes]; "
        "print(engine.mask_logits(*arrays).shape); "
        "assert 'clipsep_example' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(1, 3, 64, 32)"


def test_a_sampler_chooses_the_clips(installed, tmp_path):
    from clipsep.training.load import load_inputs

    make_dataset(tmp_path / "train", clips=6)
    inputs = load_inputs(config(tmp_path, mixing={"margin": 1.0, "sampler": "rounds"}))
    met = set()
    for index in range(30):  # five rounds of six clips
        clips = inputs.mixtures._training_clips(index, np.random.default_rng(0))
        met.add(tuple(clip.id for clip in clips))
    assert len(met) == 30 and all(first != second for first, second in met)


@pytest.mark.parametrize(("answer", "message"), [([0, 99], "gave"), ([0], "expected 2 numbers")])
def test_a_sampler_that_answers_nonsense_is_named(
    installed, tmp_path, monkeypatch, answer, message
):
    from clipsep.training.load import load_inputs

    make_dataset(tmp_path / "train", clips=6)
    inputs = load_inputs(config(tmp_path, mixing={"margin": 1.0, "sampler": "rounds"}))
    monkeypatch.setattr("clipsep_example.sampler.Rounds.__call__", lambda self, index: answer)
    with pytest.raises(ClipsepError, match=message):
        inputs.mixtures[0]


def test_code_that_a_model_names_runs_only_if_it_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text(
        (Path(__file__).parents[1] / "examples/plugin/src/clipsep_example/network.py").read_text()
        + "\nprint('my code runs')\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = ModelSettings(network={**DILATED, "kind": "my_parts.DilatedNetwork"})
    with pytest.raises(ClipsepError, match="set CLIPSEP_TRUST=my_parts"):
        build_model(settings)
    assert "my_parts" not in sys.modules
    # Settings may come from a checkpoint; a config file is the user's own, and so is what it names.
    own = config(tmp_path, model={"network": {**DILATED, "kind": "my_parts.DilatedNetwork"}})
    with pytest.raises(ClipsepError, match="set CLIPSEP_TRUST=my_parts"):
        build_model(settings)
    (tmp_path / "own.yaml").write_text(own.model_dump_json())
    assert load_training(tmp_path / "own.yaml") == own
    assert build_model(settings).network.stride == 4
    other = {**DILATED, "kind": "my_parts.DilatedNetwork", "stride": 8}
    with pytest.raises(ClipsepError, match="has the stride 4"):
        build_model(ModelSettings(network=other))
    monkeypatch.setenv(plugins.TRUSTED, "")
    with pytest.raises(ClipsepError, match="CLIPSEP_TRUST"):
        load_query_encoder("my_parts.Encoder:7")


def test_what_is_not_a_network_or_cannot_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_parts.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.TRUSTED, "broken_parts, collections")
    for kind, message in (
        ("broken_parts.Net", "cannot be imported: No module named 'nothing_of_this_name'"),
        ("collections.OrderedDict", "is not a subclass"),
        ("collections.Nothing", "cannot be imported"),
        ("collections.__all__", "is no class or function, but of the type list"),
    ):
        with pytest.raises(ClipsepError, match=message):
            build_model(ModelSettings(network={"kind": kind}))


def test_a_clap_is_a_query_encoder_of_texts_and_audio(installed, tmp_path):
    folder = save_tiny_clap(tmp_path / "tiny-clap")
    encoder = load_query_encoder(f"clap:{folder}")
    first, second = encoder.encode_texts(["a dog", "rain"])
    assert encoder.dim == 12 and first.shape == (12,)
    assert np.isclose(np.linalg.norm(first), 1, atol=1e-5) and not np.allclose(first, second)
    # Neither padding nor what else is encoded changes anything.
    assert np.allclose(encoder.encode_texts(["rain"])[0], second, atol=1e-5)
    noise = np.random.default_rng(0).standard_normal(12 * 16_000).astype(np.float32)
    heard = reads_audio(encoder).encode_audios([noise, noise[:32_000]], 16_000)
    assert heard.shape == (2, 12) and not np.allclose(*heard)
    for sound, row in ((noise, heard[0]), (noise[:160_000], heard[0]), (noise[:32_000], heard[1])):
        assert np.allclose(encoder.encode_audios([sound], 16_000)[0], row, atol=1e-4)
    with pytest.raises(UsageError, match="no folder"):
        load_query_encoder(f"clap:{tmp_path / 'nothing'}")
    with pytest.raises(ClipsepError, match="Cannot read the CLAP model"):
        load_query_encoder(f"clap:{tmp_path}")
    make_dataset(tmp_path / "train")
    embed(tmp_path / "train", encoder.id, audio=True, workers=1)
    folder = train(config(tmp_path, query_encoder=encoder.id, query="audio"), progress=False)
    described = load_config(folder)
    assert described.query_encoder == encoder.id
    assert {"val/sdr_audio", "val/sdr_text"} <= set(described.training)
