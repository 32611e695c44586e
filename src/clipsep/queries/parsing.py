"""What a user may ask with, and the names that the answers get: texts, images, paths of images or audio."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
from PIL import Image

from clipsep.errors import UsageError
from clipsep.files import SOUND_SUFFIXES, require_text
from clipsep.media import read_audio, read_frame
from clipsep.media.images import open_image


@dataclass(frozen=True)
class Frame:
    """A moment of the video that is separated, or a part of its frame, as a query.

    Attributes:
        seconds: after the first frame.
        box: left, top, width and height as shares of the frame's width and height; None for all of it.

    Raises:
        UsageError: for a negative time, or a box that does not lie in the frame.
    """

    seconds: float
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise UsageError(f"A frame is at 0 seconds or later, not at {self.seconds}.")
        if self.box is not None:
            left, top, width, height = self.box
            inside = min(left, top) >= 0 and left + width <= 1.001 and top + height <= 1.001
            if not (inside and min(width, height) > 0):
                raise UsageError(
                    "The box of a frame is x,y,w,h in shares of its width and height, from 0 to 1, not "
                    f"{','.join(f'{side:g}' for side in self.box)}."
                )

    @classmethod
    def parse(cls, text: str) -> Frame:
        """From "12.5", "1:02.5" or "12.5:x,y,w,h"; UsageError for anything else."""
        moment, _, box = text.rpartition(":")
        if "," not in box:
            return cls(parse_time(text))
        try:
            left, top, width, height = map(float, box.split(","))
        except ValueError as error:
            raise UsageError(
                f"The frame '{text}' is not SECONDS or SECONDS:x,y,w,h, as in 12.5:0.1,0.2,0.3,0.4."
            ) from error
        return cls(parse_time(moment), (left, top, width, height))

    @property
    def name(self) -> str:
        """Of the target."""
        where = "" if self.box is None else " " + ",".join(f"{side:g}" for side in self.box)
        return f"frame {self.seconds:g}{where}"

    def read(self, video: Path) -> Image.Image:
        """Read the image; errors as `clipsep.media.read_frame`."""
        image = read_frame(video, self.seconds)
        if self.box is None:
            return image
        left, top, width, height = self.box
        corners = (left, top, left + width, top + height)
        pixels = [round(share * side) for share, side in zip(corners, image.size * 2, strict=True)]
        right = max(pixels[2], pixels[0] + 1)
        return image.crop((pixels[0], pixels[1], right, max(pixels[3], pixels[1] + 1)))


Query = str | Path | Image.Image | Frame
Content = str | Image.Image | np.ndarray  # what an encoder reads: text, image or audio
AUDIO_RATE = 16_000  # Hz, of audio queries; mono float32 [T]
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
RESIDUAL = "residual"


def parse_time(text: str) -> float:
    """Seconds of "12.5", "1:02.5" or "1:00:02.5"; UsageError for anything else."""
    if re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text.strip()):
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    raise UsageError(f"'{text}' is not a time: give seconds, as in 62.5, or 1:02.5.")


def named_queries(queries: Sequence[Query], video: Path | None = None) -> dict[str, Content]:
    """List what to encode, by the query's name; UsageError for a bad query, ClipsepError for a bad file.

    Args:
        video: where a `Frame` is taken from.
    """
    if isinstance(queries, str | Path | Image.Image | Frame):
        queries = [queries]
    if not len(queries):
        raise UsageError("There is no query: name at least one sound.")
    short_names = _short_names([Path(query) for query in queries if _is_path(query)])
    named: dict[str, Content] = {}
    for number, query in enumerate(queries, start=1):
        name, content = _named(query, number, short_names, video)
        if name in named:
            raise UsageError(f"The query '{name}' is given twice.")
        named[name] = content
    return named


def _frame(query: Frame, video: Path | None) -> Image.Image:
    if video is None:
        raise UsageError("A frame is a query for the one video file that it is taken from.")
    return query.read(video)


def _named(
    query: Query, number: int, short_names: dict[Path, str], video: Path | None
) -> tuple[str, Content]:
    """Name of a query and what to encode."""
    if isinstance(query, Frame):
        return query.name, _frame(query, video)
    if isinstance(query, Image.Image):
        return f"image {number}", query
    if _is_path(query):
        path = require_text(Path(query))
        return short_names[path], _read_file(path)
    if not isinstance(query, str):
        raise UsageError(
            f"A query is a text, the path of an image or a Pillow image, not {type(query).__name__} (a "
            "NumPy array becomes one with Image.fromarray)."
        )
    text = query.strip()
    if not text:
        raise UsageError('A query is empty: name a sound, for example "dog barking".')
    if text == RESIDUAL:
        raise UsageError(f"'{RESIDUAL}' is the name of what no query takes; choose another query.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"The query {text!r} is not valid Unicode text.") from error
    return text, text


def _read_file(path: Path) -> Image.Image | np.ndarray:
    if path.suffix.lower() in SOUND_SUFFIXES:
        return read_audio(path, AUDIO_RATE, mono=True)[0]
    return open_image(path)


def _is_path(query: object) -> TypeGuard[str | Path]:
    if isinstance(query, str):
        return Path(query).suffix.lower() in IMAGE_SUFFIXES
    return isinstance(query, Path)


def _short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Name files, with as many of the folders above them as tell them apart."""
    names = {path: path.name for path in paths}
    for depth in range(2, max((len(path.parts) for path in names), default=1) + 1):
        counts = Counter(names.values())
        for path, name in names.items():
            if counts[name] > 1:
                names[path] = "/".join(path.parts[-depth:])
    return names
