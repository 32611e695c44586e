"""What headers say of a file's true length, where ffmpeg keeps silent and reads a cut file as whole.

Only the few bytes that answer that are looked at; decoding is reading.py's work.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

# Sizes that streaming writers leave behind because they could not know better.
_SIZE_PLACEHOLDERS = (range(0, 1), range(0x7FFFF000, 0x80000000), range(0xFFFFF000, 0x100000000))
_OGG_LARGEST_PAGE = 27 + 255 + 255 * 255


def wav_seconds(path: Path) -> float | None:
    """The seconds that the data chunk of a RIFF or RF64 file claims to hold, None if unstated.

    ffmpeg takes them from the size of the file instead when that is smaller.
    """
    with path.open("rb") as file:
        form, _, kind = struct.unpack("<4sI4s", _read(file, 12))
        if form not in (b"RIFF", b"RF64") or kind != b"WAVE":
            return None
        bytes_per_second = 0
        long_size = None
        while True:
            name, size = struct.unpack("<4sI", _read(file, 8))
            if name == b"data":
                break
            start = file.tell()
            if name == b"ds64":
                long_size = struct.unpack("<8xQ", _read(file, 16))[0]
            elif name == b"fmt ":
                bytes_per_second = struct.unpack("<8xI", _read(file, 12))[0]
            elif not name:
                return None
            file.seek(start + size + size % 2)
    if size == 0xFFFFFFFF and long_size is not None:
        size = long_size
    elif any(size in sizes for sizes in _SIZE_PLACEHOLDERS):
        return None
    return size / bytes_per_second if bytes_per_second else None


def mp3_states_length(path: Path) -> bool:
    """Whether the first MP3 frame is a Xing or Info header, which counts the frames of the file.

    Without one, ffmpeg's length is an estimate from the first bit rate.
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
    return at >= 0 and bool(head[at + 7] & 1)


def ogg_ends_inside_page(path: Path) -> bool:
    """Whether the last page of an Ogg file is cut: its header asks for more bytes than there are.

    ffmpeg takes the length of the sound from the last page that it finds.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * _OGG_LARGEST_PAGE))
        tail = file.read()
    at = tail.rfind(b"OggS\0")
    if at < 0:
        return False
    page = tail[at:]
    segments = page[26] if len(page) > 26 else 0
    table = page[27 : 27 + segments]
    return len(page) < 27 + segments + sum(table)


def _read(file: BinaryIO, count: int) -> bytes:
    """``count`` bytes, zeros after the end of the file: an absent field then reads as unstated."""
    return file.read(count).ljust(count, b"\0")
