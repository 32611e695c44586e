"""From a curve of presence to spans of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THRESHOLD = 0.5
_HOLD = 0.6  # a span lasts until the curve falls below this share of the threshold
_SHORTEST_SECONDS = 0.2
_GAP_SECONDS = 0.4  # a shorter pause does not end a span


@dataclass(frozen=True)
class Span:
    """A stretch of a recording in which a sound is heard.

    Attributes:
        start, end: times in seconds.
        confidence: the highest probability in it.
    """

    start: float
    end: float
    confidence: float


def spans_of(
    curve: np.ndarray, step_seconds: float, seconds: float, threshold: float = THRESHOLD
) -> list[Span]:
    """Spans in which a curve [steps] exceeds a threshold, cut to the length of the recording."""
    rows = _runs(curve > threshold * _HOLD)
    gap = _GAP_SECONDS / step_seconds
    merged: list[list[int]] = []
    for first, last in rows:
        if curve[first:last].max() <= threshold:
            continue
        if merged and first - merged[-1][1] < gap:
            merged[-1][1] = last
        else:
            merged.append([first, last])
    spans = []
    for first, last in merged:
        start, end = first * step_seconds, min(last * step_seconds, seconds)
        if end - start >= min(_SHORTEST_SECONDS, seconds):
            spans.append(Span(round(start, 3), round(end, 3), float(curve[first:last].max())))
    return spans


def _runs(is_on: np.ndarray) -> list[tuple[int, int]]:
    """First step and the one after the last of each run of True in [steps]."""
    edges = np.flatnonzero(np.diff(np.pad(is_on.astype(np.int8), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
