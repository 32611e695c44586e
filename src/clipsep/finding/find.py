"""`find` and `scan`: spans of time in which the sounds of queries, or any known sounds, are heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipsep.errors import UsageError
from clipsep.finding.presence import Presence
from clipsep.finding.spans import THRESHOLD, Span, spans_of
from clipsep.messages import Progress
from clipsep.queries.parsing import Query
from clipsep.separation.options import SeparationOptions
from clipsep.separation.pieces import pieces_of
from clipsep.separation.querying.asked import EncodedQueries, as_asked
from clipsep.separation.separator import Separator
from clipsep.separation.waveforms import Source

_HEARD_AT_ONCE = 2  # of all known sounds, in most recordings


@dataclass(frozen=True)
class FoundSound:
    """What was found of one query.

    Attributes:
        query: its name.
        confidence: probability that the sound is there at all, 0 to 1.
        spans: when it sounds, in order.
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
        step_seconds: time between two values of the curves.
        start: beginning of the part that was searched, in seconds; all times count from the file's
            beginning.
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
        queries: see `Separator.separate`.
        sample_rate: rate of a waveform, in Hz.
        separator: what runs the model; by default `mini`.
        threshold: presence, 0 to 1, from which a sound counts as there.
        options: only ``sensitivity``, ``start`` and ``end`` count.
        exclusive: see `Presence`; for queries that are names of the same few sounds.

    Raises:
        UsageError, ClipsepError: as `Separator.separate_file`.
    """
    options = options or SeparationOptions()
    check_threshold(threshold)
    if options.together or options.remove or options.gain or options.exclude:
        raise UsageError(
            "Sounds are found one by one: together, not, remove and gain do not apply."
        )
    with Source(source, sample_rate, options.start, options.end) as recording:
        # Bad queries fail before the model is loaded.
        asked = as_asked(queries, options, recording.path)
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
        channels, samples = 1, 0
        for block, _ in pieces_of(recording, recording.sample_rate):
            presence.push(block)
            channels, samples = len(block), samples + block.shape[1]
            if progress:
                progress(samples / recording.sample_rate, recording.seconds)
        presence.push(np.zeros((channels, 0), np.float32), last=True)
    name, start = "waveform", 0.0
    if recording.path is not None:
        name, start = str(recording.path), options.start or 0.0
    sounds = _found(presence, encoded, threshold, samples / recording.sample_rate, start)
    return FindResult(name, samples / recording.sample_rate, presence.step_seconds, sounds, start)


def check_threshold(threshold: float) -> None:
    """Raise UsageError if no presence could reach it, or every one would."""
    if not 0 < threshold < 1:
        raise UsageError(f"The threshold is a number between 0 and 1, not {threshold}.")


def scan(
    source: str | Path | np.ndarray,
    sample_rate: int | None = None,
    separator: Separator | None = None,
    threshold: float = THRESHOLD,
    options: SeparationOptions | None = None,
    progress: Progress | None = None,
) -> FindResult:
    """Which of the sounds that the model knows are heard in a recording, the most heard first.

    Only those are listed that are heard at all. The confidence of `find` is right where half of the
    queries name sounds that are there; here it is that of two among all known sounds, and much lower.
    Arguments and errors as `find`.

    Raises:
        UsageError: also if the model does not say which sounds it knows.
    """
    separator = separator or Separator()
    known = known_sounds(separator)
    found = find(source, known, sample_rate, separator, threshold, options, progress, True)
    heard = [_as_one_of(len(known), sound) for sound in found.sounds if sound.spans]
    heard.sort(key=lambda sound: -float(sound.curve.sum()))
    return FindResult(found.source, found.seconds, found.step_seconds, heard, found.start)


def known_sounds(separator: Separator) -> list[str]:
    """List the sounds that a model knows; UsageError if it does not say which these are."""
    if not separator.config.known_sounds:
        raise UsageError(
            f"The model '{separator.config.name}' does not say which sounds it knows: use find."
        )
    return separator.config.known_sounds


def _as_one_of(count: int, sound: FoundSound) -> FoundSound:
    """Return a sound whose confidence allows for how many others were asked for."""
    odds = min(1.0, _HEARD_AT_ONCE / max(1, count - _HEARD_AT_ONCE))

    def rarer(probability: float) -> float:
        return probability * odds / (probability * odds + 1 - probability)

    spans = [replace(span, confidence=rarer(span.confidence)) for span in sound.spans]
    return replace(sound, confidence=rarer(sound.confidence), spans=spans)


def _found(
    presence: Presence, queries: EncodedQueries, threshold: float, seconds: float, start: float
) -> list[FoundSound]:
    """Collect what was found of each query in the ``seconds`` that were searched from ``start`` on."""
    curves, sure = presence.curves(), presence.confidence
    familiarity = queries.familiarity or [None] * len(queries.names)
    sounds = []
    for number, (name, curve) in enumerate(zip(queries.names, curves, strict=True)):
        spans = [
            Span(round(span.start + start, 3), round(span.end + start, 3), span.confidence)
            for span in spans_of(curve, presence.step_seconds, seconds, threshold)
        ]
        confidence = float(curve.max() if sure is None else min(sure[number], curve.max()))
        known = familiarity[number]
        sounds.append(FoundSound(name, confidence, spans, curve, known.level if known else None))
    return sounds
