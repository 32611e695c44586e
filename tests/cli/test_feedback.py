"""What `clipsep separate` says of queries and answers, on the terminal and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsep.checkpoint import find_checkpoint, load_config, save_config
from clipsep.cli import main
from clipsep.cli.feedback import note_on
from clipsep.feedback import ConfidenceSettings, KnownSettings, Thresholds
from clipsep.media import read_audio
from clipsep.queries.known import Familiarity, save_known_sounds
from clipsep.separation.masking.confidence import QueryFeedback
from tests.helpers.encoders import FakeEncoder

LABELS = ["accordion", "oboe", "rain"]


@pytest.fixture
def knowing(model: Path) -> Path:
    """The tiny model, which knows three sounds and is never sure."""
    vectors = np.asarray(FakeEncoder().encode_texts(LABELS))
    save_known_sounds(model, vectors, np.arange(3), np.zeros(3))
    limits = Thresholds(known=0.95, near=-1)
    known = KnownSettings(
        wordings={"rain": ["rainfall"]}, thresholds={"text": limits, "image": limits}
    )
    confidence = ConfidenceSettings(offset=-2, weights={"familiarity": 3.0})
    changes = {"known_sounds": LABELS, "known": known, "confidence": confidence}
    save_config(model, load_config(model).model_copy(update=changes))
    return model


def separate(recording: Path, model: Path, tmp_path: Path, *more: str) -> None:
    image = tmp_path / "wind.png"
    Image.new("RGB", (9, 9)).save(image)
    queries = ["-q", "rain", "-q", "bagpipes", "--image", str(image)]
    options = ["-o", str(tmp_path / "out"), "--model", str(model), *more]
    assert main(["separate", str(recording), *queries, *options]) == 0


def test_the_table_and_the_notes_name_what_is_nearest(recording, knowing, tmp_path, capsys):
    separate(recording, knowing, tmp_path)
    out, err = capsys.readouterr()
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert " known " in lines["rain"] and "75 %" in lines["rain"]
    assert " near: " in lines["bagpipes"] and " near: " in lines["wind.png"]
    notes = err.splitlines()
    assert len(notes) == 2  # on the two that are not known
    assert notes[0].startswith("clipsep: note: hardly anything found for 'bagpipes' (confidence ")
    assert "; nearest sounds it knows: " in notes[0]
    assert all(label in notes[0] for label in LABELS)


def test_json_has_the_same(recording, knowing, tmp_path, capsys):
    separate(recording, knowing, tmp_path, "--json")
    rain, bagpipes, image = json.loads(capsys.readouterr().out)["targets"]
    assert rain["familiarity"] == "known" and rain["similarity"] == pytest.approx(1, abs=1e-3)
    assert rain["nearest_known"][0] == "rain" and rain["confidence"] == pytest.approx(
        0.746, abs=0.002
    )
    assert bagpipes["familiarity"] == image["familiarity"] == "near"
    assert bagpipes["confidence"] < 0.5


@pytest.mark.parametrize(
    "wish", [("--remove", "rain"), ("--gain", "rain=-6"), ("-q", "wind", "--not", "rain")]
)
def test_a_query_without_a_row_has_a_line(recording, knowing, tmp_path, capsys, wish):
    argv = ["separate", str(recording), *wish, "-o", str(tmp_path), "--model", str(knowing)]
    assert main(argv) == 0
    assert "\nrain: known, confidence 75 %\n" in capsys.readouterr().out


def test_a_model_without_feedback_says_nothing(recording, model, tmp_path, capsys):
    separate(recording, model, tmp_path, "--json")
    target = json.loads(capsys.readouterr().out)["targets"][0]
    assert target["familiarity"] is None and target["confidence"] is None
    separate(recording, model, tmp_path)
    out, err = capsys.readouterr()
    assert "confidence" not in out and err == ""


def test_more_sensitivity_takes_more(recording, model, tmp_path):
    energy = []
    for sensitivity in ("0.1", "0.5", "0.9"):
        separate(recording, model, tmp_path, "--sensitivity", sensitivity)
        audio, _ = read_audio(tmp_path / "out" / "street.rain.wav")
        energy.append(np.square(audio).sum())
    assert energy[0] < energy[1] < energy[2]


def test_a_sensitivity_beyond_its_range(recording, model, refused):
    argv = ["separate", recording, "-q", "rain", "--model", model, "--sensitivity", "1.5"]
    assert "sensitivity" in refused(2, *argv)


@pytest.mark.parametrize(
    ("level", "confidence", "note"),
    [
        ("known", 0.9, None),
        ("near", 0.9, None),
        ("known", 0.2, "hardly anything found for 'bagpipes' (confidence 20 %)."),
        (
            "near",
            0.2,
            "hardly anything found for 'bagpipes' (confidence 20 %); nearest sounds it knows: "
            "accordion, oboe.",
        ),
        (
            "unknown",
            None,
            "'bagpipes' is not like any sound that the model was trained with; nearest sounds it knows: "
            "accordion, oboe.",
        ),
    ],
)
def test_notes(level: str, confidence: float | None, note: str | None):
    familiarity = Familiarity(level, 0.5, ("accordion", "oboe"), 0.0)
    assert note_on("bagpipes", QueryFeedback(familiarity, confidence)) == note


def test_the_list_of_sounds_shows_a_few_other_words_and_json_all(capsys):
    assert main(["models", "--sounds"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    known = load_config(find_checkpoint("mini")).known
    assert len(lines) == 255 and max(map(len, lines)) < 150 and "--json" in printed.err
    assert any(re.fullmatch(r"siren \(.*, .*, .* and \d+ more\)", line) for line in lines)
    assert main(["models", "--sounds", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["siren"] == known.wordings["siren"] and "Martinshorn" in listed["siren"]
