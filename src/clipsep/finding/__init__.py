"""When sounds are in a recording: spans of time for queries, and which known sounds there are at all."""

from clipsep.finding.find import FindResult, FoundSound, find, scan
from clipsep.finding.spans import Span

__all__ = ["FindResult", "FoundSound", "Span", "find", "scan"]
