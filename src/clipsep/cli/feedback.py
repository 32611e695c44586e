"""Sentences and table cells about queries and how sure the model is of its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipsep.separation.masking.confidence import QueryFeedback

_HARDLY = 0.5  # a lower confidence: the sound is probably not there


def feedback_cells(feedback: QueryFeedback | None) -> tuple[str, str]:
    """Cells of a table: known, near or unknown with the nearest known sound, and the confidence."""
    if feedback is None:
        return "", ""
    known, confidence = feedback.familiarity, feedback.confidence
    level = ""
    if known is not None:
        level = f"near: {known.nearest[0]}" if known.level == "near" else known.level
    return level, "" if confidence is None else f"{100 * confidence:.0f} %"


def note_on(query: str, feedback: QueryFeedback) -> str | None:
    """Write a sentence for a query that found hardly anything, or that the model was not trained for."""
    known, confidence = feedback.familiarity, feedback.confidence
    if confidence is not None and confidence < _HARDLY:
        found = f"hardly anything found for '{query}' (confidence {100 * confidence:.0f} %)"
    elif known is not None and known.level == "unknown":
        found = f"'{query}' is not like any sound that the model was trained with"
    else:
        return None
    if known is None or known.level == "known":
        return f"{found}."
    return f"{found}; nearest sounds it knows: {', '.join(known.nearest)}."


def sentence_on(query: str, feedback: QueryFeedback) -> str | None:
    """Write what the table's columns say, for a query that has no row of its own."""
    known, confidence = feedback_cells(feedback)
    sure = f"confidence {confidence}" if confidence else ""
    said = ", ".join(filter(None, (known, sure)))
    return f"{query}: {said}" if said else None
