"""Every public function that takes a folder or a file takes it as text, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipsep.checkpoint import ONNX_NAME, load_checkpoint, load_config, save_checkpoint
from clipsep.datasets.prepare.sounds import find_sounds, prepare_sounds
from clipsep.engines.export import export_checkpoint
from clipsep.evaluation.lists.export import write_mixtures
from clipsep.evaluation.mixtures import Interferer, Mixture, read_mixture_list, write_mixture_list
from clipsep.separation.many.bulk import separate_files
from clipsep.separation.many.recordings import find_recordings
from clipsep.separation.many.request import SeparationRequest
from clipsep.separation.result import SeparationResult
from tests.helpers.audio import tones, write

RATE = 16_000


def _save_checkpoint(kind: Callable, folder: Path) -> None:
    checkpoint = load_checkpoint("mini")
    save_checkpoint(kind(folder / "copy"), checkpoint.config, checkpoint.model)
    assert load_config(folder / "copy").name == "mini"


def _export(kind: Callable, folder: Path) -> None:
    export_checkpoint("mini", kind(folder / "copy"))
    assert (folder / "copy" / ONNX_NAME).is_file()


def _prepare_sounds(kind: Callable, folder: Path) -> None:
    write(folder / "sounds" / "rain" / "1.wav", tones(RATE, 1), RATE)
    sounds = find_sounds([kind(folder / "sounds")])
    assert prepare_sounds(sounds, kind(folder / "data"), workers=1).stored == 1


def _separate_files(kind: Callable, folder: Path) -> None:
    write(folder / "in" / "1.wav", tones(RATE, 1), RATE)
    output = kind(folder / "out")
    recordings = find_recordings([kind(folder / "in")], output)
    assert separate_files(recordings, SeparationRequest(["rain"]), output, 1).separated == 1


def _save_result(kind: Callable, folder: Path) -> None:
    waveform = tones(RATE, 1)
    paths = SeparationResult({"rain": waveform}, waveform, RATE).save(kind(folder / "out"))
    assert all(path.parent == folder / "out" for path in paths)


def _mixtures(kind: Callable, folder: Path) -> None:
    target = write(folder / "target.wav", tones(RATE, 1, 5.0), RATE)
    other = write(folder / "other.wav", tones(RATE, 1, 5.0), RATE)
    mixture = Mixture("0000", target, 0, (Interferer(other, 0, "dog"),), None, "tuba", "tuba")
    write_mixture_list([mixture], kind(folder / "list.csv"))
    assert read_mixture_list(kind(folder / "list.csv"), kind(folder)) == [mixture]
    written = write_mixtures(kind(folder / "list.csv"), kind(folder / "files"), kind(folder))
    assert written == folder / "files" / "list.csv"


@pytest.mark.parametrize(
    "work", [_save_checkpoint, _export, _prepare_sounds, _separate_files, _save_result, _mixtures]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_paths_may_be_text(tmp_path, work, kind):
    work(kind, tmp_path)
