"""What pydantic finds wrong with settings, as a part of a sentence; it knows none of the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError


def first_problem(error: ValidationError, data: Any) -> str:
    """The first key that is wrong, as it was written, and why: "optimizer.steps: Field required".

    Args:
        data: what was validated, of mappings, lists and plain values.
    """
    first = error.errors()[0]
    key = ".".join(_keys(first["loc"], data, first["type"] == "missing"))
    reason = first["msg"].removeprefix("Value error, ")
    return f"{key}: {reason}" if key else reason


def _keys(location: tuple[int | str, ...], data: Any, missing: bool) -> Iterator[str]:
    """The parts of a location that are keys; pydantic also names members of unions there."""
    for number, part in enumerate(location):
        if isinstance(data, Mapping):
            present = part in data
        else:
            present = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if present:
            data = data[part]
        if present or (missing and number == len(location) - 1):
            yield str(part)
