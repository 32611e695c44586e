"""What the bytes of a file say of its being whole, where ffmpeg keeps silent and reads what there is.

Only announced lengths and Ogg's checksums are looked at; decoding is reading.py's work.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Sizes that streaming writers leave behind because they could not know better.
_SIZE_PLACEHOLDERS = (range(0, 1), range(0x7FFFF000, 0x80000000), range(0xFFFFF000, 0x100000000))
_MOST_CHUNKS = 100_000  # of one file, before its sound: more are damage
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

_OGG_HEADER_BYTES = 27
_FIRST, _LAST = 2, 4  # flags of an Ogg page
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Extent(NamedTuple):
    """Bytes of a file: how many its header announces, and how many of these there are."""

    announced: int
    present: int


def extent_of_sound(path: Path, kinds: list[str]) -> Extent | None:
    """How much of the sound that its header announces is in a file; None if it announces nothing.

    ffmpeg reads whatever there is of these containers and takes its end for the end of the sound.

    Args:
        kinds: ffmpeg's names of the container. WAV, RF64, W64, AIFF, AU, CAF, AVI, MP4 and Matroska
            can be known.
    """
    for kind in kinds:
        if kind not in _DATA_FINDERS:
            continue
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            try:
                found = _DATA_FINDERS[kind](file, size)
            except struct.error:  # the file ends in its headers; ffmpeg says so
                return None
        if found is None:
            return None
        start, announced = found
        return Extent(announced, min(announced, max(0, size - start)))
    return None


def ogg_damage(path: Path) -> str | None:
    """Say what is wrong with an Ogg file, as the end of a sentence about it; None if it is whole.

    ffmpeg drops a page with a wrong checksum and reads on, so that half a second of sound can be
    missing from what looks like a whole file (RFC 3533 describes the pages). Checked are the checksum
    and the number of every page, and that each stream has its last page. What follows the last page
    of all streams is ignored: it may be tags.
    """
    next_numbers: dict[int, int] = {}  # by stream, while it lasts
    with path.open("rb") as file:
        while True:
            start = file.tell()
            page = _read_page(file)
            if page is None:
                break
            if not page.is_intact:
                return f"damaged: the checksum of its Ogg page at byte {start} is wrong"
            if page.flags & _FIRST:
                next_numbers[page.stream] = page.number
            if next_numbers.get(page.stream) != page.number:
                return f"damaged: an Ogg page is missing before byte {start}"
            next_numbers[page.stream] += 1
            if page.flags & _LAST:
                del next_numbers[page.stream]
        if start and not next_numbers:
            return None
        file.seek(start)
        rest = file.read(4)
    if b"OggS".startswith(rest):
        return "truncated: the Ogg pages at its end are missing"
    return f"damaged: there is no Ogg page at byte {start}"


def flv_ends_inside_tag(path: Path) -> bool:
    """Whether the last tag of an FLV file is cut: each is followed by its own length."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        length = struct.unpack(">I", _read(file, 4))[0]
        start = size - 4 - length
        if length < 11 or start < 13:
            return True
        file.seek(start)
        kind, *digits = _read(file, 4)
    return kind not in (8, 9, 18) or int.from_bytes(digits, "big") + 11 != length


def mp3_frames(path: Path) -> int | None:
    """How many MP3 frames a file announces in its first one, a Xing or Info header; None without one.

    Then ffmpeg's length is an estimate from the first bit rate.
    """
    with path.open("rb") as file:
        start = 0
        tag, size = struct.unpack("3s3x4s", _read(file, 10))
        if tag == b"ID3":  # its size is in four bytes of seven bits
            start = 10 + sum(
                byte << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True)
            )
        file.seek(start)
        head = _read(file, 256)
    # 36 bytes for MPEG-1 stereo, 21 or 13 for less; two more follow a checksum.
    at = max(head[:48].find(b"Xing"), head[:48].find(b"Info"))
    if at < 0 or not head[at + 7] & 1:
        return None
    return int.from_bytes(head[at + 8 : at + 12], "big")


# Each finds where the sound starts and how many bytes it has; None if that is not stated.
_Found = tuple[int, int] | None


def _wav_data(file: BinaryIO, size: int) -> _Found:
    form, kind = struct.unpack("<4s4x4s", _exactly(file, 12))
    if form not in (b"RIFF", b"RF64") or kind != b"WAVE":
        return None
    long_size = None
    for name, length in _chunks(file, size, "<4sI", padding=2):
        if name == b"ds64":
            long_size = struct.unpack("<8xQ", _exactly(file, 16))[0]
        elif name == b"data":
            if length == 0xFFFFFFFF and long_size is not None:
                return file.tell(), long_size
            if any(length in sizes for sizes in _SIZE_PLACEHOLDERS):
                return None
            return file.tell(), length
    return None


def _w64_data(file: BinaryIO, size: int) -> _Found:
    if _exactly(file, 40)[:16] != _W64_RIFF:
        return None
    # The sizes of its chunks include their headers.
    for name, length in _chunks(file, size, "<16sQ", padding=8, header=24):
        if name == _W64_DATA:
            return (file.tell(), length) if length else None
    return None


def _aiff_data(file: BinaryIO, size: int) -> _Found:
    _exactly(file, 12)
    for name, length in _chunks(file, size, ">4sI", padding=2):
        if name == b"SSND":
            return (file.tell(), length) if length else None
    return None


def _au_data(file: BinaryIO, size: int) -> _Found:
    start, length = struct.unpack(">4xII", _exactly(file, 12))
    return None if length in (0, 0xFFFFFFFF) else (start, length)


def _caf_data(file: BinaryIO, size: int) -> _Found:
    _exactly(file, 8)
    for name, length in _chunks(file, size, ">4sq"):
        if name == b"data":
            return (file.tell(), length) if length > 0 else None
    return None


def _avi_data(file: BinaryIO, size: int) -> _Found:
    """Find the last of an AVI file's RIFF parts; there are several beyond a gigabyte."""
    last = None
    for name, length in _chunks(file, size, "<4sI", padding=2):
        if name != b"RIFF":
            break
        last = None if length == 0 else (file.tell(), length)
    return last


def _mov_data(file: BinaryIO, size: int) -> _Found:
    """Find the last box of a file of the MP4 family."""
    while file.tell() + 8 <= size:
        start = file.tell()
        length, name = struct.unpack(">I4s", _exactly(file, 8))
        if length == 1:
            length = struct.unpack(">Q", _exactly(file, 8))[0]
        if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in name):
            return None  # the last box, which reaches to the end; or what follows it
        if start + length > size:
            return start, length
        file.seek(start + length)
    return None


def _matroska_data(file: BinaryIO, size: int) -> _Found:
    """Find the segment of a Matroska or WebM file, which holds all but a short header."""
    header, segment = _ebml_element(file, size), _ebml_element(file, size)
    return segment if header else None


def _ebml_element(file: BinaryIO, size: int) -> _Found:
    """Where the content of the element starts that starts here, and its length; moves behind it."""
    _ebml_number(file)
    length = _ebml_number(file)
    start = file.tell()
    if length is None:
        return None
    file.seek(start + length)
    return start, length


def _ebml_number(file: BinaryIO) -> int | None:
    """Read a number of one to eight bytes; None for the one that stands for unknown."""
    first = _exactly(file, 1)[0]
    extra = 8 - first.bit_length()
    if extra > 7:
        raise struct.error("no number of EBML")
    bits = 7 * (extra + 1)
    value = int.from_bytes([first, *_exactly(file, extra)], "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


_DATA_FINDERS: dict[str, Callable[[BinaryIO, int], _Found]] = {
    "wav": _wav_data,
    "w64": _w64_data,
    "aiff": _aiff_data,
    "au": _au_data,
    "caf": _caf_data,
    "avi": _avi_data,
    "mov": _mov_data,
    "matroska": _matroska_data,
}


def _chunks(
    file: BinaryIO, size: int, layout: str, padding: int = 1, header: int = 0
) -> Iterator[tuple[bytes, int]]:
    """Names and lengths of a file's chunks; the file stands at each one's first byte meanwhile.

    Args:
        header: bytes of a chunk's header that its length counts.
    """
    for _ in range(_MOST_CHUNKS):
        if file.tell() >= size:
            return
        name, length = struct.unpack(layout, _exactly(file, struct.calcsize(layout)))
        length -= header
        start = file.tell()
        yield name, length
        if length < 0:
            return
        file.seek(start + length + -length % padding)


def _exactly(file: BinaryIO, count: int) -> bytes:
    """``count`` bytes; struct.error if the file has fewer left."""
    data = file.read(count)
    if len(data) < count:
        raise struct.error("the file ends here")
    return data


def _read(file: BinaryIO, count: int) -> bytes:
    """``count`` bytes, zeros after the end of the file: an absent field then reads as unstated."""
    return file.read(count).ljust(count, b"\0")


class _Page(NamedTuple):
    flags: int
    stream: int
    number: int
    is_intact: bool


def _read_page(file: BinaryIO) -> _Page | None:
    """Read the page that starts here; None if none does, or not all of it is there."""
    header = file.read(_OGG_HEADER_BYTES)
    if len(header) < _OGG_HEADER_BYTES or not header.startswith(b"OggS"):
        return None
    flags, stream, number, checksum, segments = struct.unpack("<5xB8xIIIB", header)
    table = file.read(segments)
    body = file.read(sum(table))
    if len(table) < segments or len(body) < sum(table):
        return None
    page = header[:22] + bytes(4) + header[26:] + table + body
    return _Page(flags, stream, number, _crc(page) == checksum)


def _crc(data: bytes) -> int:
    """CRC-32 as Ogg has it: zlib's polynomial with the bits the other way round, starting from 0."""
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
