"""Tags and chapters of a file: read from one, written into another."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from av.container import InputContainer, OutputContainer

from clipsep.media.containers import open_media

if TYPE_CHECKING:
    from av.container.core import Chapter  # in its stubs alone

# What ffmpeg or a container notes about the file itself; it would be wrong of another file.
_TECHNICAL = frozenset(
    {
        *("encoder", "encoded_by", "encoding_tool", "software", "duration", "creation_time"),
        *("major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id"),
        *("language", "bps", "number_of_frames", "number_of_bytes"),
    }
)


@dataclass(frozen=True)
class Tags:
    """Title, artist and so on, and chapters as PyAV gives them."""

    values: dict[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.values or self.chapters)

    def write_to(self, container: OutputContainer) -> None:
        """Before the encoding starts; a container drops what it has no place for."""
        container.metadata.update(self.values)
        if self.chapters:
            container.set_chapters([chapter.copy() for chapter in self.chapters])

    def of_part(self, start: float, end: float | None) -> Tags:
        """For the part of the file between two times in seconds: chapters outside are left out."""
        chapters: list[Chapter] = []
        for chapter in self.chapters:
            base = chapter["time_base"] or Fraction(1)  # of those that are read it is known
            first, last = (
                chapter["start"] - round(start / base),
                chapter["end"] - round(start / base),
            )
            first = max(first, 0)
            if end is not None:
                last = min(last, round((end - start) / base))
            if first < last:
                chapters.append({**chapter, "start": first, "end": last})
        return Tags(self.values, tuple(chapters))


def read_tags(path: str | Path) -> Tags:
    """Tags and chapters of a file; those of the container, and of the audio where it has none.

    Raises:
        ClipsepError: if the file cannot be opened.
    """
    with open_media(path) as container:
        return Tags(_values(container), tuple(container.chapters()))


def _values(container: InputContainer) -> dict[str, str]:
    # Ogg keeps them with the stream.
    streams = [stream.metadata for stream in container.streams.audio[:1]]
    merged: dict[str, str] = {}
    for source in (*streams, container.metadata):
        for name, value in source.items():
            if name.lower() not in _TECHNICAL and not name.lower().startswith("_statistics"):
                merged[name.lower()] = value
    return merged
