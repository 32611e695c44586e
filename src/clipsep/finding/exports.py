"""Found spans as text: CSV for tables, and the label track that Audacity imports."""

from __future__ import annotations

import csv
import io

from clipsep.finding.find import FindResult, FoundSound
from clipsep.finding.spans import Span
from clipsep.messages import spreadsheet_text


def as_csv(results: list[FindResult]) -> str:
    """Write a row per span: input, query, start and end in seconds, confidence."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["input", "query", "start", "end", "confidence"])
    for result in results:
        for sound, span in _in_order(result):
            row = [f"{span.start:.3f}", f"{span.end:.3f}", f"{span.confidence:.3f}"]
            writer.writerow([*map(spreadsheet_text, (result.source, sound.query)), *row])
    return text.getvalue()


def as_labels(result: FindResult) -> str:
    """Audacity's label track: start, end and label of each span, separated by tabs, in order of time."""
    lines = (
        f"{span.start:.6f}\t{span.end:.6f}\t{' '.join(sound.query.split())}\n"
        for sound, span in _in_order(result)
    )
    return "".join(lines)


def _in_order(result: FindResult) -> list[tuple[FoundSound, Span]]:
    pairs = [(sound, span) for sound in result.sounds for span in sound.spans]
    return sorted(pairs, key=lambda pair: (pair[1].start, pair[1].end))
