"""Laws of teaching a model one sound: what is mixed, what is held out, what is between two models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from clipsep import plugins
from clipsep.checkpoint import load_checkpoint, load_config, save_config
from clipsep.cli.app import main
from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import ClipsepError, UsageError
from clipsep.feedback import Drawing, KnownSettings, Thresholds
from clipsep.queries import load_query_encoder
from clipsep.queries.known import KnownSounds, save_known_sounds
from clipsep.training.train import train
from clipsep.workflows.backgrounds import write_backgrounds
from clipsep.workflows.finetune import Finetuning, NewAndOld, _recordings, _split, finetune
from tests.helpers.audio import write
from tests.helpers.datasets import make_dataset
from tests.helpers.plugin import forget_example, install_example
from tests.test_plugins import config


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A tiny model to start from, whose encoder needs no files, and eight recordings."""
    install_example(tmp_path / "site", monkeypatch)
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "clips" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        write(path, 0.1 * random.standard_normal((1, 32_000)).astype(np.float32), 16_000)
    make_dataset(tmp_path / "train")
    yield tmp_path
    forget_example()


@pytest.fixture
def start(project):
    return train(config(project, prompts="plain", steps=2), progress=False)


def test_the_new_sound_is_in_every_other_mixture_and_never_with_itself(project):
    dataset = make_dataset(project / "data", clips=8)
    sampler = NewAndOld(dataset, n_sources=2, seed=0, label="hum")
    for index in range(40):
        first, second = (dataset.clips[int(i)].label for i in sampler(index))
        assert (first == "hum") == (index % 2 == 0) and second != "hum"
        assert list(sampler(index)) == list(sampler(index))


def test_a_model_keeps_its_feedback_and_knows_the_new_sound(project, start):
    """What it knew is still drawn to what it was drawn to, and the new name to itself."""
    before = load_config(start)
    encoder = load_query_encoder(before.query_encoder)
    vectors = np.asarray(encoder.encode_texts(["hum", "hiss"]))
    limits = Thresholds(known=0.9, near=0.2)
    known = KnownSettings(
        drawing={"text": Drawing(share=1.0)}, thresholds={"text": limits, "image": limits}
    )
    save_known_sounds(start, vectors, np.arange(2), np.zeros(2, int))
    save_config(start, before.model_copy(update={"known_sounds": ["hum", "hiss"], "known": known}))
    request = Finetuning(
        "my machine", project / "clips", project / "out", model=str(start), steps=2, device="cpu"
    )
    made = load_config(finetune(request).model)
    assert made.known_sounds == ["hum", "hiss", "my machine"] and made.known == known
    sounds = KnownSounds.load(project / "out" / "model", made)
    for name in made.known_sounds:
        query = np.asarray(encoder.encode_texts([name]))
        assert sounds.compare(query[0], "text").nearest[0] == name
        assert sounds.draw(query, "text") == pytest.approx(query, abs=0.05)


def test_a_model_learns_a_name_and_says_what_it_costs(project, start, capsys):
    command = ["finetune", "clips", "--name", "my  machine", "--model", str(start), "--steps", "2"]
    arguments = [*command, "--device", "cpu", "-o", "out", "--json", "--share", "0.5"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert "without --others FOLDER it is mixed with generated noises" in printed.err
    (score,) = content["scores"]
    assert (score["what"], score["mixtures"]) == ("held-out recordings", 8)
    made = load_config(project / "out" / "model")
    assert made.name == "own-my-machine" and "my machine" in made.known_sounds
    # Half-way between the start and what was trained.
    before, after, between = (
        load_checkpoint(folder).model.state_dict()["query_projection.weight"]
        for folder in (start, project / "out" / "training" / "last", project / "out" / "model")
    )
    assert not np.allclose(before, after) and np.allclose(between, (before + after) / 2, atol=1e-6)
    # What is measured was not trained with.
    trained, held_out = (
        {clip.id for clip in PreparedDataset(project / "out" / "data" / split).clips}
        for split in ("train", "val")
    )
    assert not trained & held_out and len(held_out - {c for c in held_out if "/" in c}) == 2
    assert main(arguments) == 0  # again: nothing is trained twice
    assert json.loads(capsys.readouterr().out) == content


def test_other_sounds_and_a_list_to_check(project, start, capsys):
    write_backgrounds(project / "others")
    kinds = sorted(path.name for path in (project / "others").iterdir())
    assert kinds == ["chirping", "clicking", "electric_hum", "melody", "noise"]
    first = finetune(
        Finetuning(
            "beep", project / "clips", project / "out", None, project / "others", str(start), 1
        )
    )
    again = Finetuning(
        "beep",
        project / "clips",
        project / "out",
        None,
        project / "others",
        str(start),
        1,
        check=str(project / "out" / "held_out.csv"),
        every=2,
        device="cpu",
    )
    report = finetune(again)
    assert [score.mixtures for score in report.scores] == [8, 4]
    assert report.scores[0] == first.scores[0]


def test_an_image_makes_the_training_hybrid(project, monkeypatch):
    pytest.importorskip("clipsep_example")
    monkeypatch.setattr(
        "clipsep_example.words.WordEncoder.encode_images",
        lambda self, images: np.full((len(images), self.dim), 0.25, np.float32),
    )
    start = train(config(project, prompts="plain", steps=1), progress=False)
    Image.new("RGB", (30, 20)).save(project / "photo.jpg")
    request = Finetuning(
        "beep",
        project / "clips",
        project / "out",
        project / "photo.jpg",
        None,
        str(start),
        2,
        device="cpu",
    )
    made = load_config(finetune(request).model)
    dataset = PreparedDataset(project / "out" / "data" / "train")
    stored = StoredEmbeddings(dataset, "words:16")
    for clip in dataset.clips:  # the photo's embedding, or that of the label of clips without one
        assert (stored.clip(clip) == 0.25).all() == (clip.label == "beep")
    assert made.training["config"]["query"] == "hybrid"


def test_code_that_a_model_names_is_not_trusted(project, start, monkeypatch):
    monkeypatch.delenv(plugins.TRUSTED, raising=False)
    (project / "evil_prompts.py").write_text("PROMPTS = ['{}']\nopen('it_ran', 'w').close()\n")
    save_config(start, load_config(start).model_copy(update={"prompts": "evil_prompts.PROMPTS"}))
    request = Finetuning("x", project / "clips", project / "out", model=str(start), steps=1)
    with pytest.raises(ClipsepError, match="set CLIPSEP_TRUST=evil_prompts"):
        finetune(request)
    assert not (project / "it_ran").exists()


def test_held_out_recordings_that_cannot_be_used_are_left_out(project, start, monkeypatch):
    clips, told = project / "clips", []
    request = Finetuning("x", clips, project / "out", model=str(start), steps=1, device="cpu")
    held_out = sorted(one.path for one in _split(_recordings(request), "val"))
    held_out[0].write_bytes(b"damaged")
    report = finetune(request, told.append)
    assert any(f"left out: {held_out[0].name}: " in sentence for sentence in told)
    assert report.scores[0].mixtures == 4
    # One that begins with silence is of no use for a mixture of its beginning.
    write(held_out[1], np.eye(1, 96_000, 90_000, dtype=np.float32), 16_000)
    monkeypatch.setattr("clipsep.workflows.finetune.train", None)
    with pytest.raises(UsageError, match="None of the recordings of 'x'"):
        finetune(request)


def test_progress_counts_the_steps_of_the_training(project, start):
    counts: list[tuple[float, float | None]] = []
    request = Finetuning("beep", project / "clips", project / "out", model=str(start), steps=3)
    finetune(request, progress=lambda *count: counts.append(count))
    assert counts == [(1, 3), (2, 3), (3, 3)]


def test_folders_may_be_text(project):
    paths = {"clips": project / "clips", "output": project / "out", "image": project / "a.png"}
    texts = {name: str(path) for name, path in paths.items()}
    assert Finetuning("x", **texts) == Finetuning("x", **paths)


def test_wrong_requests_are_one_sentence(project, start, capsys):
    (project / "few").mkdir()
    for arguments, message in (
        (["few", "--name", "x"], "'few' has 0 recordings: give at least 4"),
        (["nowhere", "--name", "x"], "nowhere' does not exist"),
        (["clips", "--name", "noise", "--others", "others"], "also has a folder 'noise'"),
        (["clips", "--name", "x", "--share", "0"], "--share must be above 0"),
        (["clips"], "--name"),
    ):
        write_backgrounds(project / "others")
        assert main(["finetune", *arguments, "--model", str(start), "-o", "out"]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UsageError):
        finetune(Finetuning("x", project / "clips", project / "out", model="nothing"))
