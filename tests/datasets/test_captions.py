"""Several texts for each clip: stored beside a data set, drawn in training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from clipsep.cli.app import main
from clipsep.datasets.captions import add_captions, read_captions_csv
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError, UsageError
from clipsep.training.load import load_inputs
from tests.helpers.audio import tones, write
from tests.helpers.datasets import make_dataset
from tests.helpers.plugin import forget_example, install_example
from tests.test_plugins import config

TEXTS = ["a low hum", "an engine far away", "something hisses"]


@pytest.fixture(autouse=True)
def encoder(tmp_path, monkeypatch):
    install_example(tmp_path / "site", monkeypatch)
    yield
    forget_example()


def captioned(root, missing: int = 0) -> PreparedDataset:
    dataset = make_dataset(root)
    ids = [clip.id for clip in dataset.clips]
    texts = {i: TEXTS[:2] if "hum" in i else TEXTS[2:] for i in ids[missing:]}
    assert add_captions(root, texts, ids) == (len(ids) - missing, 0)
    return PreparedDataset(root)


def test_training_draws_from_a_clips_texts_and_validation_takes_the_first(tmp_path):
    captioned(tmp_path / "train")
    inputs = load_inputs(config(tmp_path, texts="captions", prompts="plain"))
    assert inputs.labels == sorted(TEXTS) and inputs.text_queries.shape == (3, 16)
    # Each index stands for the text that it names.
    for text, query in zip(inputs.labels, inputs.text_queries, strict=True):
        assert np.allclose(inputs.encoder.encode_texts([text])[0], query)
    drawn = Counter()
    for index in range(60):
        item = inputs.mixtures[index]
        assert np.array_equal(item.label, inputs.mixtures[index].label)  # the same when resumed
        drawn.update(inputs.labels[i] for i in item.label)
    assert set(drawn) == set(TEXTS)
    assert 0.5 < drawn[TEXTS[0]] / drawn[TEXTS[1]] < 2
    validated = {inputs.labels[i] for n in range(2) for i in inputs.validation[n].label}
    assert TEXTS[1] not in validated


def test_labels_change_nothing_else(tmp_path):
    """The audio of mixtures is the same with captions and without."""
    captioned(tmp_path / "train")
    plain = load_inputs(config(tmp_path)).mixtures
    other = load_inputs(config(tmp_path, texts="captions")).mixtures
    assert np.array_equal(plain[0].sources[0], other[0].sources[0])


def test_clips_without_a_caption_are_refused(tmp_path):
    captioned(tmp_path / "train", missing=2)
    with pytest.raises(ClipsepError, match="2 clips without a caption, which texts=captions needs"):
        load_inputs(config(tmp_path, texts="captions"))
    with pytest.raises(ValueError, match="needs query 'text' or 'hybrid'"):
        config(tmp_path, texts="captions", query="image")


def test_captions_are_added_and_replaced(tmp_path):
    dataset = captioned(tmp_path)
    ids = [clip.id for clip in dataset.clips]
    assert add_captions(tmp_path, {ids[0]: ["new"], "nothing.mp4": ["x"]}, ids) == (1, 1)
    captions = PreparedDataset(tmp_path).captions
    assert captions[ids[0]] == ["new"] and len(captions) == len(ids)


def test_the_command_reads_a_row_for_each_text(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rain", "dog"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        write(tmp_path / "sounds" / name / "1.wav", tones(16_000, 1), 16_000)
    rows = "path,caption\nrain/1.wav,it  rains\nrain/1.wav,heavy rain\nrain/1.wav,heavy rain\nx,y\n"
    (tmp_path / "captions.csv").write_text(rows, "utf-8-sig")  # as spreadsheet programs do
    command = ["prepare", "--sounds", "sounds", "-o", "data", "--workers", "1"]
    assert main([*command, "--captions", "captions.csv"]) == 0
    assert (
        "has texts for 1 clip of the data set, and for 1 that it lacks" in capsys.readouterr().out
    )
    assert PreparedDataset("data").captions == {"rain/1.wav": ["it rains", "heavy rain"]}
    (tmp_path / "others.csv").write_text("path,caption\n1.wav,it rains\n")
    assert main([*command, "--captions", "others.csv"]) == 2
    assert "'1.wav' is none; its clips have paths like 'dog/1.wav'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\n", "not 'path,caption'"),
        ("path,caption\na, \n", "line 2: the caption is empty"),
    ],
)
def test_wrong_files_are_named(tmp_path, content, message):
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_captions_csv(tmp_path / "c.csv")
