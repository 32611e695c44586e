"""Finishing a checkpoint: probabilities can be believed, absent sounds are absent."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import benchmarks.everyday
import recipes.feedback.finish
import recipes.feedback.presence
from clipsep import Separator
from clipsep.checkpoint import CheckpointConfig, load_config, save_checkpoint
from clipsep.cli import main
from clipsep.evaluation.mixtures import load_sources, read_mixture_list
from clipsep.evaluation.scoring.separation import MixtureSeparator
from clipsep.feedback import PresenceSettings
from clipsep.metrics import sdr
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.spectral import SpectralSettings
from recipes.feedback.corpus import TEST, TRAIN, Corpus, Embeddings
from recipes.feedback.probes import ABSENT, Probe, ask
from recipes.feedback.regression import auc, fit_logistic, out_of_fold, reliability
from tests.helpers.encoders import FakeEncoder
from tests.helpers.networks import randomize

LABELS = ("dog barking", "rain", "siren", "wolf howling")
GROUPS = [("0", "dog barking"), ("0", "wolf howling")]


def test_regression_finds_the_law_that_made_the_data():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((20_000, 2)) * [1, 10] + [3, -5]
    logits = -2 + 1.5 * features[:, 0] + 0.2 * features[:, 1]
    outcome = generator.random(len(logits)) < 1 / (1 + np.exp(-logits))
    offset, weights = fit_logistic(features, outcome)
    assert weights == pytest.approx([1.5, 0.2], rel=0.1)
    assert offset == pytest.approx(-2, abs=0.3)
    probability = out_of_fold(features, outcome, np.arange(len(outcome)))
    error, rows = reliability(probability, outcome)
    assert error < 0.02 and sum(count for _, count, *_ in rows) == len(outcome)
    assert auc(probability, outcome) > 0.8


def test_counts_weigh_rows():
    features, outcome = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([0, 1, 1, 0], bool)
    _, even = fit_logistic(features, outcome)
    _, first = fit_logistic(features, outcome, np.array([5, 5, 1, 1]))
    assert even == pytest.approx([0], abs=1e-4) and first[0] > 1


def test_noise_is_judged_by_other_groups_alone():
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(100), 4)
    outcome = np.repeat(generator.random(100) < 0.5, 4)  # the same within a group
    features = np.repeat(generator.standard_normal((100, 3)), 4, axis=0)
    assert auc(out_of_fold(features, outcome, groups), outcome) < 0.6


def test_reliability_of_a_liar_and_of_an_honest_one():
    outcome = np.array([True] * 30 + [False] * 70)
    assert reliability(np.full(100, 0.3), outcome)[0] == pytest.approx(0)
    assert reliability(np.full(100, 0.9), outcome)[0] == pytest.approx(0.6)
    assert auc(outcome.astype(float), outcome) == 1 and auc(np.ones(100), outcome) == 0.5


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    generator = np.random.default_rng(0)
    manifest = []
    for number, label in enumerate(LABELS):
        name = label.replace(" ", "_")
        for split in ("train", "val", "test"):
            audio = folder / "audio" / split / name / "0.wav"
            audio.parent.mkdir(parents=True)
            soundfile.write(audio, 0.1 * generator.standard_normal(16_000), 16_000)
            manifest.append(("audio", split, label, "free" if label != "siren" else "research"))
            for image in range(10 if split == "train" else 1):
                path = folder / "images" / split / name / f"{image}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8 + number, 8 + image)).save(path)
    write_rows(folder / "manifest.csv", ("kind", "split", "label", "use"), manifest)
    write_rows(folder / "similar.csv", ("group", "label"), GROUPS)
    write_rows(
        folder / "wordings.csv",
        ("label", "split", "wording"),
        [
            (label, split, f"{split} {number} for {label}")
            for label in LABELS
            for split in (TRAIN, TEST)
            for number in range(2)
        ],
    )
    for split, names in {"val": ("pairs_val", "pairs_val_wide"), "test": ("pairs_test",)}.items():
        for name in names:
            write_list(folder / f"{name}.csv", split)
    return folder


def write_rows(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_list(path: Path, split: str) -> None:
    columns = ("id", "target", "target_start", "interferer", "interferer_start", "snr_db")
    rows = []
    for number, label in enumerate(LABELS):
        other = LABELS[(number + 1) % len(LABELS)]
        files = [f"audio/{split}/{name.replace(' ', '_')}/0.wav" for name in (label, other)]
        rows.append((f"{number}", files[0], 0, files[1], 0, 0, label, label, other))
    write_rows(path, (*columns, "query", "label", "interferer_label"), rows)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    settings = ModelSettings(
        network=PatchUNetSettings(widths=(4, 8)),
        feature_channels=4,
        query_dim=FakeEncoder.dim,
        query_activation="none",
    )
    config = CheckpointConfig(
        name="tiny",
        model=settings,
        spectral=SpectralSettings(level="relative", log_floor=1e-4),
        query_encoder="embedded-v2",
        prompts="plain",
    )
    save_checkpoint(tmp_path / "tiny", config, randomize(build_model(settings)))
    return tmp_path / "tiny"


def test_absent_sounds_are_not_alike_to_what_is_there(corpus_folder: Path):
    corpus = Corpus(corpus_folder, None)
    for mixture in read_mixture_list(corpus_folder / "pairs_test.csv"):
        absent = corpus.absent_labels(mixture, LABELS, 1)
        present = [mixture.label, mixture.interferers[0].label]
        assert absent == corpus.absent_labels(mixture, LABELS, 1)
        assert not any(corpus.alike(one, other) for one in absent for other in present)
    assert corpus.alike("dog barking", "wolf howling") and not corpus.alike("rain", "siren")


def test_only_free_recordings_make_known_sounds(corpus_folder: Path):
    assert Corpus(corpus_folder, None).trained_labels() == ["dog barking", "rain", "wolf howling"]


def test_kept_embeddings_are_those_of_their_encoder(tmp_path: Path):
    class Other(FakeEncoder):
        def _random(self, key: bytes):
            return 2 * super()._random(key)

    first = Embeddings(FakeEncoder(), "plain", tmp_path / "kept.npz")
    vectors = first.texts(["rain", "wind"])
    first.save()
    assert np.array_equal(
        Embeddings(FakeEncoder(), "plain", tmp_path / "kept.npz").texts(["rain", "wind"]), vectors
    )
    other = Embeddings(Other(), "plain", tmp_path / "kept.npz")
    assert np.array_equal(other.texts(["rain"]), 2 * vectors[:1])


def test_probes_score_nearly_as_waveforms_do(corpus_folder: Path, checkpoint: Path):
    mixture = read_mixture_list(corpus_folder / "pairs_test.csv")[0]
    sources = load_sources(mixture)
    embeddings = np.asarray(FakeEncoder().encode_texts(["dog barking", "rain", "siren"]))
    (answers,) = ask(checkpoint, [Probe(mixture, embeddings, [0, 1, ABSENT])], workers=1)
    separator = MixtureSeparator(checkpoint, "cpu", binary=False)
    estimates = separator.separate(sources.sum(axis=0), 16_000, embeddings)
    for number in range(2):
        assert answers.sdr[number] == pytest.approx(
            sdr(sources[number], estimates[number]), abs=0.2
        )
    assert np.isnan(answers.sdr[2]) and np.isfinite(answers.features).all()


def run(module, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    module.main()


def test_a_finished_checkpoint_says_what_it_knows_and_how_sure_it_is(
    corpus_folder, checkpoint, tmp_path, monkeypatch, capsys
):
    for module in ("recipes.feedback.finish", "benchmarks.everyday"):
        monkeypatch.setattr(f"{module}.load_query_encoder", lambda name: FakeEncoder())
    monkeypatch.setattr(
        "clipsep.separation.querying.query_reader.load_query_encoder",
        lambda name, threads: FakeEncoder(),
    )
    options = ["--wordings", corpus_folder / "wordings.csv", "--embeddings", tmp_path / "kept.npz"]
    run(recipes.feedback.finish, monkeypatch, checkpoint, corpus_folder, *options)
    printed = capsys.readouterr().out
    assert "3 known sounds" in printed and "Expected calibration error" in printed

    config = load_config(checkpoint)
    assert config.known_sounds == ["dog barking", "rain", "wolf howling"]
    assert config.known.wordings["rain"] == ["train 0 for rain", "train 1 for rain"]
    separator = Separator.from_pretrained(checkpoint, engine="pytorch")
    mixture = np.random.default_rng(0).standard_normal(70_000).astype(np.float32)
    result = separator.separate(mixture, 16_000, ["rain", "train 1 for rain", "bagpipes"])
    for query in ("rain", "train 1 for rain"):
        assert result.feedback[query].familiarity.level == "known"
        assert result.feedback[query].familiarity.nearest[0] == "rain"
    assert result.feedback["bagpipes"].familiarity.similarity < 0.99
    assert all(0 <= one.confidence <= 1 for one in result.feedback.values())

    run(recipes.feedback.presence, monkeypatch, checkpoint, corpus_folder, "--engine", "pytorch")
    assert "8 mixtures" in capsys.readouterr().out  # of both lists
    fitted = load_config(checkpoint).confidence
    assert fitted.presence != PresenceSettings()
    assert fitted.weights == config.confidence.weights

    arguments = [corpus_folder, "--model", checkpoint, "--lists", "pairs_test", *options]
    result_file = tmp_path / "result.json"
    run(benchmarks.everyday, monkeypatch, *arguments, "--workers", 1, "--json", result_file)
    printed = capsys.readouterr().out
    for part in ("other words", "image", "Absent sounds", "Confidence: calibration error"):
        assert part in printed
    answers = json.loads(result_file.read_text())["pairs_test"]
    assert {one["way"] for one in answers} == {"label", "other words", "image", "absent sound"}
    assert {one["text"] for one in answers if one["way"] == "other words"} == {
        f"test 1 for {label}" for label in LABELS
    }

    assert main(["models", "--sounds", "--model", str(checkpoint)]) == 0
    assert "rain (train 0 for rain, train 1 for rain)\n" in capsys.readouterr().out
    assert main(["models", "--sounds", "--model", str(checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wolf howling"] == [
        "train 0 for wolf howling", "train 1 for wolf howling"
    ]  # fmt: skip
