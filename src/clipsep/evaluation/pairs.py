"""Lists of test mixtures: the format of their CSV files, and the sound and pictures that a row means.

Separating and scoring live elsewhere; how the published pairs are drawn is in published_pairs.py.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from clipsep.errors import ClipsepError, UsageError
from clipsep.media import read_audio, read_video

SAMPLE_RATE = 16_000  # Hz
SEGMENT = 65_535  # samples of a mixture
_RMS = 0.05  # of both sources, where a pair states a level difference
_PATHS = ("target", "interferer", "target_frames")
_MAY_BE_EMPTY = ("snr_db", "label", "interferer_label", "target_frames", "target_frame")
_NUMBERS = {"target_start": int, "interferer_start": int, "snr_db": float, "target_frame": int}


@dataclass(frozen=True)
class Pair:
    """One test mixture of two clips.

    Attributes:
        target, interferer: files with sound; in the CSV relative to its folder.
        target_start, interferer_start: sample at 16 kHz where the segment begins; below zero if it
            begins before the clip does.
        snr_db: level of the target over the interferer; None for the levels as they are.
        query: the text to separate by.
        label, interferer_label: classes, for tables; None if unknown.
        target_frames: a folder of pictures 000001.jpg, 000002.jpg, ... of the target, one per second,
            or its video; None without pictures.
        target_frame: number of the picture, from 1, in the middle of the segment.
    """

    id: str
    target: Path
    target_start: int
    interferer: Path
    interferer_start: int
    snr_db: float | None
    query: str
    label: str | None
    interferer_label: str | None
    target_frames: Path | None = None
    target_frame: int | None = None


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a CSV file; the columns of pictures may be absent.

    Raises:
        UsageError: naming the column or line that is wrong.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or ())
            pairs = [
                _parse(row, f"'{path}', line {reader.line_num}", path.parent) for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{path}' cannot be read as a list of pairs: {error}.") from error
    if not pairs:
        raise UsageError(f"'{path}' lists no pairs.")
    return pairs


def write_pairs(pairs: Iterable[Pair], path: Path) -> None:
    """Write a CSV file of pairs, beside its place and renamed; paths relative to its folder."""
    names = [field.name for field in fields(Pair)]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for pair in pairs:
            cells = {name: getattr(pair, name) for name in names}
            for name in _PATHS:
                if cells[name] is not None:
                    cells[name] = Path(os.path.relpath(cells[name], path.parent)).as_posix()
            writer.writerow("" if cells[name] is None else cells[name] for name in names)
    os.replace(temporary, path)


def load_sources(pair: Pair) -> np.ndarray:
    """Target and interferer as they are in the mixture, float32 [2, SEGMENT]; it is their sum.

    With a level difference both are brought to a root mean square of 0.05 first; without one each is
    halved, as published.

    Raises:
        ClipsepError: if a file cannot be read, or is silent where its level is to be set.
    """
    sources = np.stack(
        [
            _cut(read_audio(file, SAMPLE_RATE, mono=True)[0], start)
            for file, start in (
                (pair.target, pair.target_start),
                (pair.interferer, pair.interferer_start),
            )
        ]
    )
    if pair.snr_db is None:
        sources[:, -1] = 0  # the published reader copies one sample less
        return sources / np.float32(2)
    rms = np.sqrt(np.mean(sources**2, axis=1, dtype=np.float64))
    if not rms.all():
        silent = pair.interferer if rms[0] else pair.target
        raise ClipsepError(f"'{silent}' is silent where pair {pair.id} takes it.")
    gains = _RMS / rms * [1, 10 ** (-pair.snr_db / 20)]
    return (sources * gains[:, None]).astype(np.float32)


def load_pictures(pair: Pair) -> list[Image.Image]:
    """The three pictures whose mean embedding is the picture query; fewer at the ends of a clip.

    Raises:
        ClipsepError: if the pair has no pictures or they cannot be read.
    """
    if pair.target_frames is None or pair.target_frame is None:
        raise ClipsepError(f"Pair {pair.id} names no pictures: only texts can be scored.")
    wanted = range(pair.target_frame - 1, pair.target_frame + 2)
    if pair.target_frames.is_file():
        frames = read_video(pair.target_frames, SAMPLE_RATE).frames
        pictures = [frames[number - 1] for number in wanted if 0 < number <= len(frames)]
    else:
        paths = [pair.target_frames / f"{number:06d}.jpg" for number in wanted]
        pictures = [_open(path) for path in paths if path.is_file()]
    if not pictures:
        raise ClipsepError(f"'{pair.target_frames}' has no picture {pair.target_frame}.")
    return pictures


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
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise ClipsepError(f"'{path}' cannot be read as a picture: {error}.") from error


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    needed = [field.name for field in fields(Pair) if field.default is MISSING]
    if missing := [name for name in needed if name not in columns]:
        raise UsageError(f"'{path}' is no list of pairs: it lacks the column '{missing[0]}'.")


def _parse(row: dict[str, str | None], where: str, folder: Path) -> Pair:
    values: dict[str, object] = {}
    for name in (field.name for field in fields(Pair)):
        text = (row.get(name) or "").strip()
        if not text and name not in _MAY_BE_EMPTY:
            raise UsageError(f"{where}: '{name}' is empty.")
        try:
            values[name] = _NUMBERS.get(name, str)(text) if text else None
        except ValueError:
            raise UsageError(f"{where}: '{text}' is no number: correct '{name}'.") from None
    for name in _PATHS:
        values[name] = folder / values[name] if values[name] else None
    return Pair(**values)
