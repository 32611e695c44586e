"""What people are told: parts of sentences, what pydantic finds wrong, and how far work has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

Progress = Callable[[float, float | None], None]  # (done, of how much; None if that is not known)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: "1 clip", "2 clips"; ``plural`` for nouns that take more than an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def printable(text: object) -> str:
    """Put a text on one line that cannot steer a terminal: what does not print is shown as its escape.

    Names of files, labels and texts of models come from others.
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in str(text)
    )


def spreadsheet_text(text: object) -> str:
    """Make a text for a CSV cell that no spreadsheet takes for a formula."""
    shown = "" if text is None else printable(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def markdown_text(text: object) -> str:
    """Make a text for a Markdown table: no cell ends in it, and no link or tag begins."""
    shown = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\|[]`*" else sign for sign in shown)


def unexpected(subject: object, error: Exception) -> str:
    """Make a sentence about one file for a failure that nothing in this package foresaw."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"'{subject}' cannot be processed, for an unexpected reason ({what[:300]}): please report it."


def first_problem(error: ValidationError, data: Any) -> str:
    """Name the first key that is wrong, as it was written, and why: "optimizer.steps: Field required".

    Args:
        data: what was validated, of mappings, lists and plain values.
    """
    first = error.errors()[0]
    key = ".".join(_keys(first["loc"], data, first["type"] == "missing"))
    reason = first["msg"].removeprefix("Value error, ")
    return f"{key}: {reason}" if key else reason


def _keys(location: tuple[int | str, ...], data: Any, missing: bool) -> Iterator[str]:
    """Choose the parts of a location that are keys; pydantic also names members of unions there."""
    for number, part in enumerate(location):
        if isinstance(data, Mapping):
            present = part in data
        else:
            present = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if present:
            data = data[part]
        if present or (missing and number == len(location) - 1):
            yield str(part)
