"""Files given for bulk work: found in folders at any depth, and known again when they changed.

It knows names, sizes and times; it must not open a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from clipsep.errors import UsageError

_VIDEO = ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv"
_SOUND = ".aac .ac3 .aif .aiff .amr .au .caf .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .wav .wma"
VIDEO_SUFFIXES = frozenset(_VIDEO.split())
SOUND_SUFFIXES = frozenset(_SOUND.split())


def find_files(source: Path, suffixes: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """A file itself, or the files with one of the suffixes at any depth of a folder.

    Yields:
        an absolute folder and the file's path below it, with slashes; in no particular order.

    Raises:
        UsageError: if the source does not exist, or a name is no text.
    """
    source = source.absolute()
    if source.is_file():
        yield source.parent, _text(source.name, source)
        return
    if not source.is_dir():
        raise UsageError(f"'{source}' does not exist.")
    for folder, _, names in os.walk(source):
        below = Path(folder).relative_to(source)
        for name in names:
            if os.path.splitext(name)[1].lower() in suffixes:
                yield source, _text((below / name).as_posix(), below / name)


def fingerprint(path: Path) -> str:
    """Changes when the file does: its size and the time it was written, in nanoseconds."""
    try:
        stat = path.stat()
    except OSError:
        return "unreadable"
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _text(name: str, path: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The name of {os.fsencode(path)!r} is not in UTF-8: rename it."
        ) from error
    return name
