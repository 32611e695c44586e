"""Separating a list of recordings in memory: rates, progress and errors of each of them.

How one recording is separated is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import Progress, counted
from clipsep.separation.options import SeparationOptions
from clipsep.separation.result import SeparationResult
from clipsep.separation.waveforms import Source

SampleRates: TypeAlias = int | Sequence[int | None] | None  # one for all, or one for each
SeparateOne = Callable[[Any, int | None, Progress | None], SeparationResult]


def separate_each(
    separate: SeparateOne,
    recordings: Sequence[Any],
    sample_rate: SampleRates,
    options: SeparationOptions,
    progress: Progress | None,
) -> list[SeparationResult]:
    """Separate recordings one after the other; errors say which one they are about.

    Args:
        separate: a recording with its rate; its progress is of this recording alone.
        options: ``start`` and ``end`` say how much of a file counts.

    Raises:
        UsageError: if there are more or fewer sample rates than recordings.
        ClipsepError, UsageError: as ``separate``.
    """
    rates = _rate_of_each(recordings, sample_rate)
    total = _total_seconds(recordings, rates, options) if progress else None
    results: list[SeparationResult] = []
    done = 0.0
    for number, (recording, rate) in enumerate(zip(recordings, rates, strict=True), 1):
        part = partial(_add_to, progress, done, total) if progress else None
        with _named(number, len(recordings)):
            result = separate(recording, rate, part)
        done += result.residual.shape[-1] / result.sample_rate
        results.append(result)
    return results


def _rate_of_each(recordings: Sequence[Any], sample_rate: SampleRates) -> Sequence[int | None]:
    if not isinstance(sample_rate, Sequence):
        return [sample_rate] * len(recordings)
    if len(sample_rate) != len(recordings):
        raise UsageError(
            f"There are {counted(len(recordings), 'recording')} and "
            f"{counted(len(sample_rate), 'sample rate')}: give one for all, or one for each."
        )
    return sample_rate


def _total_seconds(
    recordings: Sequence[Any], rates: Sequence[int | None], options: SeparationOptions
) -> float | None:
    """Of all recordings; None if that of one is not known, as of a pipe, which can be read only once."""
    total = 0.0
    for number, (recording, rate) in enumerate(zip(recordings, rates, strict=True), 1):
        if isinstance(recording, str | Path) and Path(recording).is_fifo():
            return None
        with (
            _named(number, len(recordings)),
            Source(recording, rate, options.start, options.end) as source,
        ):
            if source.seconds is None:
                return None
            total += source.seconds
    return total


@contextmanager
def _named(number: int, count: int) -> Iterator[None]:
    try:
        yield
    except ClipsepError as error:
        raise type(error)(f"Recording {number} of {count}: {error}") from error


def _add_to(
    progress: Progress, before: float, total: float | None, done: float, _: float | None
) -> None:
    progress(before + done, total)
