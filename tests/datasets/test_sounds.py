"""Data sets from plain audio files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipsep.cli.app import main
from clipsep.datasets.prepare import sounds as module
from clipsep.datasets.prepare.embed import embed
from clipsep.datasets.prepare.sounds import find_sounds, prepare_sounds
from clipsep.datasets.reader import PreparedDataset
from clipsep.errors import UsageError
from clipsep.training.load import load_inputs
from tests.helpers.audio import tones, write
from tests.training.run_tiny import tiny_config


@pytest.fixture
def folder(tmp_path):
    """Two sounds with two clips each; one of them has two images."""
    for word in ("my_machine", "rain"):
        for number, seconds in enumerate((1.2, 3.0)):
            path = tmp_path / "sounds" / word / "takes" / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, tones(22_050, 2, seconds) * (1 + number), 22_050)
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (40, 30), colour).save(
            tmp_path / "sounds" / "my_machine" / f"{number}.png"
        )
    return tmp_path / "sounds"


def test_a_fault_of_ours_costs_one_file_and_names_it(folder, tmp_path, monkeypatch):
    read = module.read_audio

    def faulty(path, *arguments, **options):
        if path.parts[-3:] == ("rain", "takes", "0.wav"):
            raise AttributeError("'NoneType' object has no attribute 'name'")
        return read(path, *arguments, **options)

    monkeypatch.setattr(module, "read_audio", faulty)
    report = prepare_sounds(find_sounds([folder]), tmp_path / "data", workers=1)
    assert report.stored == 3
    reason = report.rejected["rain/takes/0.wav"]
    assert "0.wav' cannot be processed" in reason and "AttributeError" in reason


def test_a_folder_is_a_word_and_its_images_stand_for_its_seconds(folder, tmp_path):
    sounds = find_sounds([folder])
    assert [sound.id for sound in sounds][:2] == [
        "my_machine/takes/0.wav",
        "my_machine/takes/1.wav",
    ]
    report = prepare_sounds(sounds, tmp_path / "data", workers=1)
    assert (report.stored, report.rejected) == (4, {})
    dataset = PreparedDataset(tmp_path / "data")
    assert dataset.labels == ["my machine", "rain"]
    clip = dataset.clips[1]
    assert (clip.label, clip.n_frames, len(dataset.audio(clip))) == ("my machine", 3, 48_000)
    colours = {frame.resize((1, 1)).getpixel((0, 0))[2] > 100 for frame in dataset.frames(clip)}
    assert colours == {True, False} and dataset.frames(clip)[0].size == (224, 224)
    again = prepare_sounds(find_sounds([folder]), tmp_path / "data", workers=1)
    assert (again.stored, again.already_there) == (0, 4)
    # Another image is another clip; those of the other sound stay.
    Image.new("RGB", (40, 30), "green").save(folder / "my_machine" / "2.png")
    assert prepare_sounds(find_sounds([folder]), tmp_path / "data", workers=1).stored == 2


def test_clips_without_images_train_with_texts_and_refuse_images(folder, tmp_path):
    prepare_sounds(find_sounds([folder]), tmp_path / "train", workers=1)
    config = tiny_config(
        tmp_path, query="text", query_encoder="embedded", data={"train": tmp_path / "train"}
    )
    mixture = load_inputs(config).mixtures[0]
    assert np.isfinite(mixture.sources).all() and np.abs(mixture.sources).max() > 0
    assert sorted(set(mixture.label.tolist())) <= [0, 1]
    with pytest.raises(
        UsageError, match="without images, prepared from audio alone: train with query=text"
    ):
        embed(tmp_path / "train", "embedded", device="cpu", workers=1)


def test_the_command_says_what_it_found(folder, tmp_path, capsys):
    assert (
        main(["prepare", "--sounds", str(folder), "-o", str(tmp_path / "data"), "--workers", "1"])
        == 0
    )
    printed = capsys.readouterr().out
    assert "clips: 4 stored" in printed and "labels: 2 kinds of sound." in printed
    assert "without images: rain; train with query=text" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name videos, or a folder of audio files with --sounds."),
        (["--sounds", "nothing"], "'nothing' is not a folder"),
        (["--sounds", "empty"], "There is no audio file (.wav, .flac, .mp3, ...) in 'empty'."),
        (
            ["--sounds", "flat"],
            "lies beside the folders: put it into one that is named by its sound",
        ),
        (["--sounds", "flat", "--labels", "l.csv"], "--labels is for videos"),
        (["v.mp4", "--sounds", "flat"], "Name videos, or a folder"),
    ],
)
def test_wrong_requests_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    write(tmp_path / "flat" / "1.wav", tones(16_000, 1), 16_000)
    assert main(["prepare", *arguments, "-o", "data"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
