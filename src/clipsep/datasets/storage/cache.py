"""A folder of fetched files with a limit: what was used least recently makes room for what is fetched.

Processes share it without fetching anything twice. It does not know where files come from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from clipsep.errors import UsageError
from clipsep.files import user_cache

DEFAULT_GIGABYTES = 20.0
_UNFINISHED = ".part"


class _File(NamedTuple):
    last_use: int  # ns
    bytes: int
    path: Path


class FileCache:
    """Local copies of files from elsewhere.

    A copy's last use is its modification time. A file that was removed to make room can still be read by
    who has it open or mapped.

    Args:
        folder: place of the cache; by default what CLIPSEP_CACHE names, else ``clipsep`` in the user's
            cache folder; nothing in it is touched but the folder ``remote``.
        gigabytes: limit for all files together, in 10^9 bytes.
    """

    def __init__(self, folder: Path | None = None, gigabytes: float = DEFAULT_GIGABYTES):
        self._parent = folder
        self.limit = int(gigabytes * 1e9)
        self._claims: dict[str, int] = {}

    @cached_property
    def folder(self) -> Path:
        """Where the copies are; UsageError if nothing says where that may be."""
        return (self._parent or _default_folder()) / "remote"

    def claim(self, purpose: str, needed: int) -> None:
        """Make sure that files of ``needed`` bytes, used in turn, fit beside what was claimed before.

        Raises:
            UsageError: if they do not; every use would then fetch a file again.
        """
        self._claims[purpose] = needed
        if sum(self._claims.values()) > self.limit:
            parts = " and ".join(
                f"{claimed / 1e9:.3g} GB for {what}" for what, claimed in self._claims.items()
            )
            raise UsageError(
                f"The cache '{self.folder}' may hold {self.limit / 1e9:.3g} GB, but {parts} must fit in "
                "it: raise data.cache_gb, or lower data.shuffle_shards."
            )

    def get(
        self, name: str, size: int, fetch: Callable[[Path], None], wait: bool = True
    ) -> Path | None:
        """Path of the copy of a file, which ``fetch`` writes if it is not there.

        Args:
            name: relative path of the copy.
            size: bytes of the file; a copy of another size is not used.
            fetch: writes the file to the path that it is given, whole, or raises.
            wait: if another process is fetching the file: wait for it, or return None at once.

        Raises:
            UsageError: if the file is larger than the cache.
        """
        path = self._files_folder / name
        if _use(path, size):
            return path
        try:
            with self._lock(path, timeout=-1 if wait else 0):
                if not _use(path, size):
                    self._add(path, size, fetch)
        except Timeout:
            return None
        return path

    @property
    def _files_folder(self) -> Path:
        return self.folder / "files"

    def _add(self, path: Path, size: int, fetch: Callable[[Path], None]) -> None:
        # The name says how much room the file will take when it is complete.
        unfinished = path.with_name(f"{path.name}.{size}{_UNFINISHED}")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        while not self._reserve(unfinished, size):
            time.sleep(0.1)  # others are fetching files that nobody may remove yet
        try:
            fetch(unfinished)
            _use(unfinished, size)  # its date may be an old one, or that of a coarse clock
            with self._lock(self._files_folder):  # who counts must find it under one of its names
                unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _reserve(self, unfinished: Path, size: int) -> bool:
        """Make room for a file and take it; False if files being fetched take too much of it."""
        if size > self.limit:
            raise UsageError(
                f"The cache '{self.folder}' may hold {self.limit / 1e9:.3g} GB, less than a single "
                f"file of {size / 1e9:.3g} GB: raise data.cache_gb."
            )
        with self._lock(self._files_folder):
            files = sorted(self._files())
            excess = sum(file.bytes for file in files) + size - self.limit
            for file in files:
                if excess > 0 and self._remove(file.path):
                    excess -= file.bytes
            if excess <= 0:
                unfinished.touch()
        return excess <= 0

    def _remove(self, path: Path) -> bool:
        """Remove a file, unless it is being fetched."""
        if path.suffix != _UNFINISHED:
            path.unlink(missing_ok=True)
            return True
        complete = path.with_name(path.name.removesuffix(_UNFINISHED).rpartition(".")[0])
        try:
            with self._lock(complete, timeout=0):  # else who was fetching it was killed
                path.unlink(missing_ok=True)
        except Timeout:
            return False
        return True

    def _files(self) -> Iterator[_File]:
        for folder, _, names in os.walk(self._files_folder):
            for name in names:
                path = Path(folder, name)
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue  # its fetching failed a moment ago
                unfinished = path.suffix == _UNFINISHED
                size = int(name.split(".")[-2]) if unfinished else stat.st_size
                yield _File(stat.st_mtime_ns, size, path)

    def _lock(self, path: Path, timeout: float = -1) -> FileLock:
        """Held by who fetches a file; that of the folder, by who counts, renames or removes files."""
        name = "-".join(path.relative_to(self.folder).parts)
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{name}.lock", timeout=timeout)


def _default_folder() -> Path:
    if named := os.environ.get("CLIPSEP_CACHE"):
        return Path(named)
    if (caches := user_cache()) is None:
        raise UsageError(
            "There is no home folder for copies of remote files: name a folder with CLIPSEP_CACHE."
        )
    return caches / "clipsep"


def _use(path: Path, size: int) -> bool:
    """Note that a file is used now; False if it is not there, or not this one."""
    try:
        if path.stat().st_size != size:
            return False
        now = time.time_ns()
        os.utime(path, ns=(now, now))
    except FileNotFoundError:
        return False
    return True
