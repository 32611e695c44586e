"""Files: found in folders at any depth, known again when they changed, written complete or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module that may be missing has no type

_VIDEO = ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv"
_SOUND = ".aac .ac3 .aif .aiff .amr .au .caf .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .wav .wma"
VIDEO_SUFFIXES = frozenset(_VIDEO.split())
_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]+\.part")  # as `unfinished` names files
_NO_ROOM_BYTES = 1 << 16
SOUND_SUFFIXES = frozenset(_SOUND.split())


def find_files(source: str | Path, suffixes: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """Yield a file itself, or the files with one of the suffixes at any depth of a folder.

    Links to folders are followed, but no folder is searched twice. What cannot be read is left out,
    and said by the logger "clipsep".

    Yields:
        an absolute folder and the file's path below it, with slashes; in no particular order.

    Raises:
        UsageError: if the source does not exist, or a name is not text.
    """
    source = Path(source).absolute()
    if is_file(source):
        yield source.parent, require_text(source).name
        return
    if not is_folder(source):
        raise UsageError(f"'{source}' does not exist.")
    for folder, names in _folders(source):
        below = folder.relative_to(source)
        for name in names:
            if os.path.splitext(name)[1].lower() in suffixes and not _is_special(
                source / below / name
            ):
                require_text(source / below / name)
                yield source, (below / name).as_posix()


def _folders(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder below one, and itself, with the names of its files.

    What is not behind a link comes first, so that a file that has several paths is found by the same one
    everywhere. A link to what the source lies in is a loop.
    """
    seen = {_identity(parent) for parent in source.resolve().parents}
    waiting = [source]
    while waiting:
        links = []
        for folder, below, names in os.walk(waiting.pop(0), onerror=_say_unreadable):
            identity = _identity(Path(folder))
            if identity in seen:
                below.clear()
                continue
            seen.add(identity)
            links += [path for name in below if (path := Path(folder, name)).is_symlink()]
            yield Path(folder), names
        waiting += sorted(links)


def _identity(folder: Path) -> object:
    """Tell folders apart, whatever their paths are."""
    try:
        status = folder.stat()
    except OSError:
        return folder
    return status.st_dev, status.st_ino


def _say_unreadable(error: OSError) -> None:
    logging.getLogger("clipsep").warning(
        "The folder '%s' is left out, because it cannot be read (%s).",
        printable(error.filename),
        error.strerror,
    )


def unfinished(path: Path) -> Path:
    """Make a new name beside ``path``, for its file until it is complete."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def unfinished_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the unfinished files in a folder, each with the name that it was to get."""
    for path in folder.glob(".*.part"):
        match = _UNFINISHED.fullmatch(path.name)
        if match:
            yield path, match[1]


def remove_unfinished(folder: Path, names: Container[str] | None = None) -> None:
    """Remove what processes that were killed have left in a folder: unfinished files that nobody holds.

    Args:
        names: only those that were to get one of these names.
    """
    for path, name in unfinished_in(folder):
        held = hold(path) if names is None or name in names else None
        if held is not None:
            os.close(held)  # first: Windows removes no open file
            with suppress(OSError):
                path.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a new name beside ``path`` to write to; that file becomes ``path`` when all went well.

    So a file is complete or not there, whatever ends the program, and two processes that write the same
    file do not meet. After an error nothing is left. The folder is made if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    held: int | None = None
    try:
        if fcntl is not None:  # Windows renames no open file
            temporary.touch()
            held = hold(temporary)  # see `remove_unfinished`
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
        if held is not None:
            os.close(held)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is complete or not there."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def replace_all(names: Sequence[tuple[Path, Path]]) -> None:
    """Give finished files their names, all or none of them.

    If one cannot get its name, those before it lose theirs again, and the older files that they replaced
    are put back. Where that fails, as on file systems without hard links, the message names them.

    Args:
        names: for each file, the name that it has and the one that it gets.

    Raises:
        ClipsepError: if a file cannot get its name.
    """
    older: dict[Path, Path | None] = {}
    try:
        for temporary, path in names:
            older[path] = _second_name(path)
            os.replace(temporary, path)
    except BaseException as error:
        new = [path for temporary, path in names if path in older and not temporary.exists()]
        left = [path.name for path in new if not _take_back(path, older[path])]
        if isinstance(error, OSError):
            raise not_written(path, error, left) from error
        raise
    finally:
        for second in filter(None, older.values()):
            with suppress(OSError):
                second.unlink()


def not_written(path: Path, error: Exception, left: Sequence[str] = ()) -> ClipsepError:
    """Make the error for a file that could not be written, while those called ``left`` were."""
    reason = getattr(error, "strerror", None) or str(error)
    others = f"; already written: {', '.join(left)}" if left else ""
    return ClipsepError(
        f"{path} could not be written ({reason}): check the folder and the free space{others}."
    )


def _second_name(path: Path) -> Path | None:
    """Give a file a second name, and return it; None if there is no such file."""
    if not os.path.lexists(path):
        return None
    second = unfinished(path)
    with suppress(OSError):  # no hard links here: then nothing has the name
        os.link(path, second)
    return second


def _take_back(path: Path, older: Path | None) -> bool:
    """Remove a new file, or put the older one back in its place; whether that worked."""
    try:
        if older:
            os.replace(older, path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; False for a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def fingerprint(path: Path) -> str:
    """Describe a file by its size and the time it was written, in nanoseconds: both change with it."""
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size}:{status.st_mtime_ns}"


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an error, or what caused it, is that there is no room left where ``folder`` is."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if type(cause).__module__ == "soundfile":  # it does not say why it could not write
            return shutil.disk_usage(folder).free < _NO_ROOM_BYTES
        cause = cause.__cause__
    return False


def hold(path: Path) -> int | None:
    """Hold a file or folder for as long as this process lives, or until the descriptor is closed.

    The system releases it when the process ends in any way, so nothing stays behind.

    Returns:
        the descriptor; None if another process holds it, or if it is not there.
    """
    try:
        if (
            fcntl is None and path.is_dir()
        ):  # Windows opens no folders: as if nobody else were there
            return os.open(os.devnull, os.O_RDONLY)
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    if fcntl is None:  # files in use cannot be removed there anyway
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            return None
        # A file system without locks: as if nobody else were there.
    return descriptor


def user_cache() -> Path | None:
    """Return the user's folder for caches; None for a user who has no home, as in some containers."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def _is_special(path: Path) -> bool:
    """Tell whether this is a pipe, a socket or a device: reading one may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # it is reported when it is read
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def require_text(path: Path) -> Path:
    """Return the path itself; UsageError if its name is not text, which reports would lose."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The name of {os.fsencode(path)!r} is not in UTF-8: rename it."
        ) from error
    return path
