"""Lists of test mixtures: the format of their CSV files, and the sound and frames that a row means.

`clipsep.paper.mixtures` draws the published ones.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from clipsep.errors import ClipsepError, UsageError
from clipsep.evaluation.recipes import GivenMixture, Recipe
from clipsep.files import atomic_write, is_file
from clipsep.media import read_audio, read_video
from clipsep.media.images import open_image, to_rgb

SAMPLE_RATE = 16_000  # Hz
SEGMENT = 65_535  # samples of a mixture
_RMS = 0.05  # of the sources, where a mixture states a level difference
_COLUMNS = (
    *("id", "target", "target_start", "interferer", "interferer_start", "snr_db"),
    *("query", "label", "interferer_label", "target_frames", "target_frame"),
)
_MAY_BE_ABSENT = ("target_frames", "target_frame")
_MAY_BE_EMPTY = ("snr_db", "label", "interferer_label", *_MAY_BE_ABSENT)
# What a list may ask for: more is a mistake, or would take all memory.
_MOST_DECIBELS = 200
_MOST_INTERFERERS = 63
_RATES = range(1_000, 768_001)  # Hz
_MOST_SECONDS = 3_600
_BETWEEN = ";"  # several interferers


@dataclass(frozen=True)
class Interferer:
    """A sound that is mixed with the target.

    Attributes:
        path: file with sound.
        start: sample at 16 kHz where the segment begins, as a target's.
        label: its class; None if unknown.
    """

    path: Path
    start: int
    label: str | None


@dataclass(frozen=True)
class Mixture:
    """One test mixture: a target clip and what it is to be separated from, mostly one other clip.

    Attributes:
        target: file with sound; in the CSV relative to its folder, as all paths.
        target_start: sample at 16 kHz where the segment begins; below zero if it begins before the
            clip does.
        interferers: one or more; in the columns ``interferer``, ``interferer_start`` and
            ``interferer_label``, with semicolons between several.
        snr_db: level of the target over each interferer; None for the levels as they are.
        query: the text to separate by.
        label: class of the target, for tables; None if unknown.
        target_frames: a folder of frames 000001.jpg, 000002.jpg, ... of the target, one per second,
            or its video; None without frames.
        target_frame: number of the frame, from 1, in the middle of the segment.
        recipe: how the files are mixed, where neither the package's rule nor the paper's is used; then
            the starts do not matter.
    """

    id: str
    target: Path
    target_start: int
    interferers: tuple[Interferer, ...]
    snr_db: float | None
    query: str
    label: str | None
    target_frames: Path | None = None
    target_frame: int | None = None
    recipe: Recipe | None = None

    @property
    def sample_rate(self) -> int:
        """Of the mixture and all estimates of it, in Hz."""
        return self.recipe.sample_rate if self.recipe else SAMPLE_RATE

    @property
    def is_published(self) -> bool:
        """Whether it is mixed, and scored, as the paper's code does."""
        return self.recipe is None and self.snr_db is None

    def require_sounds(self, where: str) -> None:
        """Raise UsageError, beginning with ``where``, if a file does not exist or a value has no sense."""
        as_path = PureWindowsPath(self.id)  # knows the separators and drives of all systems
        if as_path.anchor or ".." in as_path.parts:
            raise UsageError(
                f"{where}: the id '{self.id}' would name files in another folder: use another id."
            )
        if self.snr_db is not None and not abs(self.snr_db) <= _MOST_DECIBELS:
            raise UsageError(
                f"{where}: a level of {self.snr_db:g} dB is beyond {_MOST_DECIBELS} dB."
            )
        if len(self.interferers) > _MOST_INTERFERERS:
            raise UsageError(
                f"{where}: {len(self.interferers)} interferers, up to {_MOST_INTERFERERS} can be mixed."
            )
        if self.sample_rate not in _RATES:
            raise UsageError(
                f"{where}: a sample rate of {self.sample_rate} Hz is beyond {_RATES[0]} to {_RATES[-1]}."
            )
        seconds = getattr(self.recipe, "seconds", None)
        if seconds is not None and not 0 < seconds <= _MOST_SECONDS:
            raise UsageError(
                f"{where}: {seconds:g} seconds are not more than 0 and up to {_MOST_SECONDS}."
            )
        paths = [self.target, *(interferer.path for interferer in self.interferers)]
        if isinstance(self.recipe, GivenMixture):
            paths = [self.target, self.recipe.mixture]
        for path in paths:
            if not is_file(path):
                raise UsageError(f"{where}: the sound '{path}' does not exist.")


def read_mixture_list(
    path: str | Path, root: str | Path | None = None, must_exist: bool = False
) -> list[Mixture]:
    """Read the mixtures of a CSV file; the columns of frames may be absent.

    Args:
        root: what its paths are relative to; by default the file's own folder.
        must_exist: refuse a list that names a sound which is not there.

    Raises:
        UsageError: naming the column or line that is wrong.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or ())
            mixtures: dict[str, Mixture] = {}
            for row in reader:
                where = f"'{path}', line {reader.line_num}"
                mixture = _Row(row, where, root).mixture()
                if mixture.id in mixtures:
                    raise UsageError(f"{where}: the id '{mixture.id}' is taken by a line above.")
                if must_exist:
                    mixture.require_sounds(where)
                mixtures[mixture.id] = mixture
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{path}' cannot be read as a list of mixtures: {error}.") from error
    if not mixtures:
        raise UsageError(f"'{path}' lists no mixtures.")
    return list(mixtures.values())


def write_mixture_list(mixtures: Iterable[Mixture], path: str | Path) -> None:
    """Write a CSV file of mixtures, complete or not at all; paths are relative to its folder."""
    path = Path(path)
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(_cells(mixture, path.parent) for mixture in mixtures)


def load_sources(mixture: Mixture) -> np.ndarray:
    """Target and interferers as they are in the mixture, float32 [N, T]; it is their sum.

    With a recipe they are what it says. Otherwise they are cut to `SEGMENT` samples.

    With a level difference all are brought to a root mean square of 0.05 first. Without one they are
    mixed as published: the target and the mean of the interferers, which is one source, are halved.

    Raises:
        ClipsepError: if a file cannot be read, or is silent where its level is to be set.
    """
    if mixture.recipe is not None:
        return mixture.recipe.sources(
            [mixture.target, *(other.path for other in mixture.interferers)]
        )
    places = [(mixture.target, mixture.target_start)]
    places += [(interferer.path, interferer.start) for interferer in mixture.interferers]
    sources = np.stack(
        [_cut(read_audio(path, SAMPLE_RATE, mono=True)[0], start) for path, start in places]
    )
    if mixture.snr_db is None:
        sources[:, -1] = 0  # the published reader copies one sample less
        return np.stack([sources[0], sources[1:].mean(axis=0)]) / np.float32(2)
    rms = np.sqrt(np.mean(sources**2, axis=1, dtype=np.float64))
    if not rms.all():
        silent, _ = places[int(np.argmin(rms))]
        raise ClipsepError(f"'{silent}' is silent where mixture {mixture.id} takes it.")
    gains = _RMS / rms
    gains[1:] *= 10 ** (-mixture.snr_db / 20)
    return (sources * gains[:, None]).astype(np.float32)


def load_frames(mixture: Mixture) -> list[Image.Image]:
    """Choose the three frames whose mean embedding is the image query; fewer at the ends of a clip.

    Raises:
        UsageError: if the mixture has no frames.
        ClipsepError: if they cannot be read.
    """
    if mixture.target_frames is None or mixture.target_frame is None:
        raise UsageError(
            f"Mixture {mixture.id} names no frames: give a folder of images with --images, or query by "
            "text."
        )
    wanted = range(mixture.target_frame - 1, mixture.target_frame + 2)
    if mixture.target_frames.is_file():
        frames = read_video(mixture.target_frames, SAMPLE_RATE).frames
        frames = [frames[number - 1] for number in wanted if 0 < number <= len(frames)]
    else:
        paths = [mixture.target_frames / f"{number:06d}.jpg" for number in wanted]
        frames = [_open(path) for path in paths if path.is_file()]
    if not frames:
        raise ClipsepError(f"'{mixture.target_frames}' has no frame {mixture.target_frame}.")
    return frames


def _cut(audio: np.ndarray, start: int) -> np.ndarray:
    """``SEGMENT`` samples of ``audio`` [T] from ``start`` on; silence before and behind the clip.

    A clip shorter than a segment is repeated int(SEGMENT / T) + 1 times first. Both as published.
    """
    if 0 < len(audio) < SEGMENT:
        audio = np.tile(audio, SEGMENT // len(audio) + 1)
    segment = np.zeros(SEGMENT, np.float32)
    low, high = max(start, 0), min(start + SEGMENT, len(audio))
    if low < high:
        segment[low - start : high - start] = audio[low:high]
    return segment


def _open(path: Path) -> Image.Image:
    return to_rgb(open_image(path))


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    if missing := [name for name in _COLUMNS if name not in columns and name not in _MAY_BE_ABSENT]:
        raise UsageError(f"'{path}' is not a list of mixtures: it lacks the column '{missing[0]}'.")


def _cells(mixture: Mixture, folder: Path) -> dict[str, object]:
    """Make a mixture a row of the file, with paths relative to ``folder``."""

    def relative(path: Path) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    labels = [interferer.label or "" for interferer in mixture.interferers]
    cells = {name: getattr(mixture, name, None) for name in _COLUMNS}
    cells |= {
        "target": relative(mixture.target),
        "interferer": _BETWEEN.join(relative(one.path) for one in mixture.interferers),
        "interferer_start": _BETWEEN.join(str(one.start) for one in mixture.interferers),
        "interferer_label": _BETWEEN.join(labels) if any(labels) else "",
        "target_frames": relative(mixture.target_frames) if mixture.target_frames else "",
    }
    return cells  # the writer leaves the cell of a None empty


class _Row:
    """One row of a list, which names its line in what it refuses."""

    def __init__(self, row: dict[str, str | None], where: str, root: Path):
        self._where, self._root = where, root
        self._cells = {name: (row.get(name) or "").strip() for name in _COLUMNS}
        for name, text in self._cells.items():
            if not text and name not in _MAY_BE_EMPTY:
                raise UsageError(f"{where}: '{name}' is empty.")

    def mixture(self) -> Mixture:
        cells = self._cells
        frames = cells["target_frames"]
        return Mixture(
            id=cells["id"],
            target=self._root / cells["target"],
            target_start=self._number("target_start", int),
            interferers=self._interferers(),
            snr_db=self._number("snr_db", float) if cells["snr_db"] else None,
            query=cells["query"],
            label=cells["label"] or None,
            target_frames=self._root / frames if frames else None,
            target_frame=self._number("target_frame", int) if cells["target_frame"] else None,
        )

    def _interferers(self) -> tuple[Interferer, ...]:
        paths = self._parts("interferer")
        starts = self._parts("interferer_start")
        labels: Sequence[str | None] | None = None
        if self._cells["interferer_label"]:
            labels = self._parts("interferer_label")
        for name, parts in (("interferer_start", starts), ("interferer_label", labels)):
            if parts is not None and len(parts) != len(paths):
                raise UsageError(
                    f"{self._where}: 'interferer' has {len(paths)} and '{name}' {len(parts)} of the "
                    "values between semicolons: give as many of each."
                )
        return tuple(
            Interferer(self._root / path, self._as("interferer_start", start, int), label or None)
            for path, start, label in zip(paths, starts, labels or [None] * len(paths), strict=True)
        )

    def _parts(self, column: str) -> list[str]:
        return [part.strip() for part in self._cells[column].split(_BETWEEN)]

    def _number(self, column: str, kind: type) -> Any:
        return self._as(column, self._cells[column], kind)

    def _as(self, column: str, text: str, kind: type) -> Any:
        try:
            number = kind(text)
            if not math.isfinite(number):
                raise ValueError
            return number
        except (ValueError, OverflowError):
            raise UsageError(
                f"{self._where}: '{text}' is not a number: correct '{column}'."
            ) from None
