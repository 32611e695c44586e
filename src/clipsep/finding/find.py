"""`find` and `scan`: spans of time in which the sounds of queries, or any known sounds, are heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import UsageError
from clipsep.finding.presence import Presence
from clipsep.finding.spans import THRESHOLD, Span, spans_of
from clipsep.media import AudioReader
from clipsep.queries.parsing import Query
from clipsep.separation.asked import EncodedQueries, as_asked
from clipsep.separation.options import SeparationOptions
from clipsep.separation.separator import Progress, Separator
from clipsep.separation.waveforms import as_sample_rate, as_waveform, check_samples


@dataclass(frozen=True)
class FoundSound:
    """What was found of one query.

    Attributes:
        query: its name.
        confidence: that the sound is there at all, 0 to 1.
        spans: in order.
        curve: presence at each step, 0 to 1, [steps].
        familiarity: known, near or unknown; None where the model does not say.
    """

    query: str
    confidence: float
    spans: list[Span]
    curve: np.ndarray
    familiarity: str | None = None

    @property
    def seconds(self) -> float:
        """Of all spans together."""
        return sum(span.end - span.start for span in self.spans)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times in seconds."""
        return {
            "query": self.query,
            "confidence": round(self.confidence, 4),
            "familiarity": self.familiarity,
            "seconds": round(self.seconds, 3),
            "spans": [
                {
                    "start": span.start,
                    "end": span.end,
                    "confidence": round(span.confidence, 4),
                }
                for span in self.spans
            ],
        }


@dataclass(frozen=True)
class FindResult:
    """What was found in a recording.

    Attributes:
        source: the file, or "waveform".
        seconds: its length.
        step_seconds: of the curves.
        start: of the part that was searched, in seconds; all times count from the file's beginning.
    """

    source: str
    seconds: float
    step_seconds: float
    sounds: list[FoundSound]
    start: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "input": self.source,
            "seconds": round(self.seconds, 3),
            "sounds": [sound.as_dict() for sound in self.sounds],
        }


def find(
    source: str | Path | np.ndarray,
    queries: Sequence[Query] | EncodedQueries,
    sample_rate: int | None = None,
    separator: Separator | None = None,
    threshold: float = THRESHOLD,
    options: SeparationOptions | None = None,
    progress: Progress | None = None,
    exclusive: bool = False,
) -> FindResult:
    """When the sounds that queries name are heard in a recording.

    Args:
        source: a sound or video file, or a waveform [T] or [C, T].
        queries: as `Separator.separate`.
        sample_rate: of a waveform, in Hz.
        separator: whose model is used; by default `mini`.
        threshold: of the presence, 0 to 1, from which a sound counts as there.
        options: whose ``sensitivity``, ``start`` and ``end`` count.
        exclusive: see `Presence`; for queries that are names of the same few sounds.

    Raises:
        UsageError, ClipsepError: as `Separator.separate_file`.
    """
    options = options or SeparationOptions()
    if not 0 < threshold < 1:
        raise UsageError(f"The threshold is a number between 0 and 1, not {threshold}.")
    if options.together or options.remove or options.gain or options.exclude:
        raise UsageError(
            "Sounds are found one by one: together, not, remove and gain do not apply."
        )
    with _Source(source, sample_rate, options) as recording:
        video = None if isinstance(source, np.ndarray) else Path(source)
        # Bad queries fail before the model is loaded.
        asked = as_asked(queries, options, video)
        separator = separator or Separator()
        encoded = separator.encoded(asked)
        presence = Presence(
            separator.engine,
            separator.config,
            encoded.embeddings,
            encoded.familiarity,
            options,
            recording.sample_rate,
            separator.overlap,
            exclusive,
        )
        for block in recording:
            presence.push(block)
            if progress:
                progress(recording.read_seconds, recording.seconds)
        presence.push(np.zeros((recording.channels, 0), np.float32), last=True)
        return _result(recording, presence, encoded, threshold)


def scan(
    source: str | Path | np.ndarray,
    sample_rate: int | None = None,
    separator: Separator | None = None,
    threshold: float = THRESHOLD,
    options: SeparationOptions | None = None,
    progress: Progress | None = None,
) -> FindResult:
    """Which of the sounds that the model knows are heard in a recording, the most heard first.

    Only those are listed that are heard at all. Arguments and errors as `find`.

    Raises:
        UsageError: also if the model does not say which sounds it knows.
    """
    separator = separator or Separator()
    known = separator.config.known_sounds
    if not known:
        raise UsageError(
            f"The model '{separator.config.name}' does not say which sounds it knows: use find."
        )
    found = find(source, known, sample_rate, separator, threshold, options, progress, True)
    heard = [sound for sound in found.sounds if sound.spans]
    heard.sort(key=lambda sound: -float(sound.curve.sum()))
    return FindResult(found.source, found.seconds, found.step_seconds, heard, found.start)


def _result(
    recording: _Source, presence: Presence, queries: EncodedQueries, threshold: float
) -> FindResult:
    curves, seconds = presence.curves(), recording.read_seconds
    sure = presence.confidence
    familiarity = queries.familiarity or [None] * len(queries.names)
    sounds = []
    for number, (name, curve) in enumerate(zip(queries.names, curves, strict=True)):
        spans = [
            Span(
                round(span.start + recording.start, 3),
                round(span.end + recording.start, 3),
                span.confidence,
            )
            for span in spans_of(curve, presence.step_seconds, seconds, threshold)
        ]
        confidence = float(curve.max() if sure is None else min(sure[number], curve.max()))
        known = familiarity[number]
        sounds.append(FoundSound(name, confidence, spans, curve, known.level if known else None))
    return FindResult(recording.name, seconds, presence.step_seconds, sounds, recording.start)


class _Source:
    """A file or a waveform, as blocks [C, n]."""

    def __init__(
        self, source: str | Path | np.ndarray, sample_rate: int | None, options: SeparationOptions
    ):
        self.start, self.read_seconds, self.channels = 0.0, 0.0, 1
        self._reader: AudioReader | None = None
        if isinstance(source, str | Path):
            self._reader = AudioReader(source, start=options.start, end=options.end)
            self.name, self.start = str(source), options.start or 0.0
            self.sample_rate, self.seconds = (
                self._reader.info.sample_rate,
                self._reader.info.seconds,
            )
            return
        if sample_rate is None:
            raise UsageError("A waveform needs its sample rate beside it.")
        self.name, self.sample_rate = "waveform", as_sample_rate(sample_rate)
        self._samples = np.atleast_2d(as_waveform(source))
        check_samples(self._samples, 0, self.sample_rate)
        self.seconds = self._samples.shape[1] / self.sample_rate

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader:
            self._reader.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        blocks = self._reader or self._pieces()
        for block in blocks:
            self.channels = len(block)
            self.read_seconds += block.shape[1] / self.sample_rate
            yield block

    def _pieces(self) -> Iterator[np.ndarray]:
        for first in range(0, self._samples.shape[1], self.sample_rate):
            yield self._samples[:, first : first + self.sample_rate]
