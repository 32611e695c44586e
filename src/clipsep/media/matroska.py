"""Checksums of Matroska and WebM files: ffmpeg writes but does not compare them (RFC 8794, 11.3.1).

Decoding is reading.py's work, announced lengths are those of headers.py.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

_HEADER, _SEGMENT, _CRC = 0x1A45DFA3, 0x18538067, 0xBF
_MOST_ELEMENTS = 1_000_000  # of one file: more are damage
_PIECE = 1 << 20


def damage(path: Path) -> str | None:
    """Say what is wrong with a file, as the end of a sentence about it; None if nothing shows.

    Compared are the checksums of the segment's parts, where they have one: clusters hold all sound and
    pictures. A part of unknown length, as live streams have, ends the check.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        header = _element(file)
        if header is None or header[0] != _HEADER or header[1] is None:
            return None
        file.seek(header[1], 1)
        segment = _element(file)
        if segment is None or segment[0] != _SEGMENT:
            return None
        for _ in range(_MOST_ELEMENTS):
            start = file.tell()
            part = _element(file)
            if part is None or part[1] is None or file.tell() + part[1] > size:
                return None  # the end, or a cut, which headers.py knows
            if not _is_intact(file, part[1]):
                return f"damaged: the checksum of its part at byte {start} is wrong"
    return None


def _element(file: BinaryIO) -> tuple[int, int | None] | None:
    """Identity and length (None if unknown) of the element that starts here; moves to its content."""
    identity, size = _number(file, keep_marker=True), _number(file)
    if identity is None or size is None:
        return None
    value, unknown = size
    return identity[0], None if unknown else value


def _number(file: BinaryIO, keep_marker: bool = False) -> tuple[int, bool] | None:
    """Read a number of one to eight bytes, and whether all its bits are set."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    marker = 1 << 7 * length
    unknown = value == 2 * marker - 1
    return (value if keep_marker else value - marker), unknown


def _is_intact(file: BinaryIO, length: int) -> bool:
    """Compare the content that starts here with its checksum, if it begins with one; moves behind it."""
    end = file.tell() + length
    head = file.read(min(6, length))
    if len(head) < 6 or head[0] != _CRC or head[1] != 0x84:
        file.seek(end)
        return True
    found = 0
    left = end - file.tell()
    while left > 0 and (piece := file.read(min(left, _PIECE))):
        found = zlib.crc32(piece, found)
        left -= len(piece)
    return found == int.from_bytes(head[2:], "little")
