"""What commands about one recording share: their options, and `-` for the standard streams."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from clipsep.errors import ClipsepError, UsageError

if TYPE_CHECKING:
    from clipsep.queries.parsing import Frame

STDIO = Path("-")
STDIN_NAME = "the standard input"

Query = Annotated[
    list[str] | None,
    typer.Option("-q", "--query", metavar="TEXT", help="Sound to look for; may be repeated."),
]


def _checked_images(paths: list[Path] | None) -> list[Path] | None:
    from clipsep.files import SOUND_SUFFIXES

    for path in paths or []:
        if path.suffix.lower() in SOUND_SUFFIXES:
            raise UsageError(f"'{path}' is audio, not an image: ask for such a sound with --like.")
    return paths


Images = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        callback=_checked_images,
        help="Image of a sound's source; may be repeated.",
    ),
]
Like = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="AUDIO", help="Recording of such a sound, for models that read audio; as above."
    ),
]
Frames = Annotated[
    list[str] | None,
    typer.Option(
        "--frame",
        metavar="TIME[:x,y,w,h]",
        help="Moment of the video itself, or a part of its frame (shares, 0 to 1), as a query.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="Shipped model, folder or Hugging Face id.")
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        "--query-encoder",
        metavar="NAME",
        help="Where the model's encoder is: embedded, clip, clip:FOLDER.",
    ),
]
Engine = Annotated[
    str, typer.Option("--engine", metavar="NAME", help="auto, onnx (needs no PyTorch) or pytorch.")
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Start of the part, 62.5 or 1:02.5.")
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="End of the part.")]


def frames_of(texts: list[str] | None) -> list[Frame]:
    """Parse the queries of ``--frame``; UsageError for a bad one."""
    from clipsep.queries.parsing import Frame

    return [Frame.parse(text) for text in texts or []]


def seconds_of(text: str | None) -> float | None:
    """Parse the time of ``--start`` or ``--end``; UsageError for a bad one."""
    from clipsep.queries.parsing import parse_time

    return None if text is None else parse_time(text)


@contextmanager
def recording_of(path: Path) -> Iterator[Path]:
    """Give the file itself; for ``-`` a temporary one with what comes from the standard input.

    Many formats can only be read once their end is known, so all of it is received first.
    """
    if path != STDIO:
        yield path
        return
    with TemporaryDirectory() as folder:
        received = Path(folder) / "stdin"
        with received.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 2**20)
        try:
            yield received
        except ClipsepError as error:  # the temporary file is none of the user's
            text = str(error).replace(f"'{received}'", str(received))
            text = text.replace(str(received), STDIN_NAME)
            raise type(error)(text[0].upper() + text[1:]) from error


def send_to_stdout(path: Path) -> None:
    """Copy the content of a file to the standard output."""
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer, 2**20)
    sys.stdout.buffer.flush()
