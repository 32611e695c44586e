"""Where a data set lies: a local folder, or an address that fsspec knows (s3://, gs://, hf://, ...).

Both hand out their files as local ones.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

from fsspec import get_filesystem_class
from fsspec.core import url_to_fs

from clipsep.datasets.storage.cache import FileCache
from clipsep.errors import ClipsepError, UsageError
from clipsep.files import write_whole

_PAUSES = (1.0, 2.0, 4.0)  # seconds between tries at what may be a passing failure
_T = TypeVar("_T")


class Folder(Protocol):
    """What is asked of a place where a data set lies.

    Attributes:
        remote: whether reading fetches files from elsewhere.
        repair, if_empty: what its user can do about a damaged data set, and about none.
    """

    remote: bool
    repair: str
    if_empty: str

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def sizes(self, below: str) -> dict[str, int]:
        """List the files in a folder below this one, with their bytes; none if there is no such folder."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a file."""
        ...

    def read(self, name: str, reader: Callable[[Path], _T]) -> _T:
        """Return what ``reader`` makes of a file; it may keep the file open or mapped."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one step."""
        ...

    def claim(self, user: str, n_bytes: int) -> None:
        """Check that ``n_bytes`` fit here at once; ClipsepError if they do not."""
        ...

    def fetch_ahead(self, names: Iterable[str]) -> None:
        """Fetch files in the background, in their order, in place of those named before."""
        ...


class LocalFolder:
    """A folder of this machine."""

    remote = False
    repair = "run 'clipsep prepare' again"
    if_empty = "run 'clipsep prepare' on it"

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def sizes(self, below: str) -> dict[str, int]:
        try:
            with os.scandir(self.path / below) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def read(self, name: str, reader: Callable[[Path], _T]) -> _T:
        return reader(self.path / name)

    def write(self, name: str, content: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)

    def claim(self, user: str, n_bytes: int) -> None:
        pass  # all of it is here

    def fetch_ahead(self, names: Iterable[str]) -> None:
        pass


class RemoteFolder:
    """A folder at an address; files are fetched whole, when they are needed, into a cache.

    No connection is kept in the object, so that it goes to other processes unharmed.

    Raises:
        UsageError: if nothing installed knows the address.
        ClipsepError: here and in every method, if the place does not answer or refuses.
    """

    remote = True
    repair = "upload it again"
    if_empty = "check the address, and upload there what 'clipsep prepare' made"

    def __init__(self, url: str, cache: FileCache):
        self.url = url.rstrip("/")
        self.cache = cache
        self._key = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self._listed: dict[str, dict[str, int]] = {}
        self._described: dict[str, tuple[str, int]] = {}
        self._ahead: list[str] = []
        _require_protocol(url)

    def __str__(self) -> str:
        return self.url

    def exists(self, name: str) -> bool:
        try:
            self._describe(name)
        except FileNotFoundError:
            return False
        return True

    def sizes(self, below: str) -> dict[str, int]:
        try:
            entries = self._ask(below, _list)
        except FileNotFoundError:
            entries = []
        sizes = {
            entry["name"].rpartition("/")[2]: entry["size"]
            for entry in entries
            if entry["type"] == "file"
        }
        self._listed[below] = sizes
        return sizes

    def size(self, name: str) -> int:
        return self._describe(name)[1]

    def claim(self, user: str, n_bytes: int) -> None:
        self.cache.claim(f"{user} with '{self}'", n_bytes)

    def read(self, name: str, reader: Callable[[Path], _T]) -> _T:
        fetched_again = False
        while True:
            path = self._fetch(name)
            try:
                return reader(path)
            except (OSError, ClipsepError) as error:
                if not path.exists():
                    continue  # another process has just made room for its own files
                if fetched_again:
                    raise ClipsepError(
                        f"'{self.url}/{name}' is damaged ({error.__cause__ or error}): delete it and "
                        f"{self.repair}."
                    ) from error
                path.unlink(missing_ok=True)  # perhaps only the copy is damaged
                fetched_again = True

    def write(self, name: str, content: bytes) -> None:
        # Object stores show no object that is not complete.
        self._ask(name, lambda fs, path: fs.pipe_file(path, content))

    def fetch_ahead(self, names: Iterable[str]) -> None:
        names = self._ahead = list(names)
        Thread(target=self._fetch_all, args=(names,), daemon=True).start()

    def _fetch_all(self, names: list[str]) -> None:
        for name in names:
            if self._ahead is not names:
                return
            with suppress(ClipsepError, OSError):  # who needs the file will say it
                self._fetch_if_free(name, wait=False)

    def _fetch(self, name: str) -> Path:
        path = self._fetch_if_free(name, wait=True)
        assert path is not None
        return path

    def _fetch_if_free(self, name: str, wait: bool) -> Path | None:
        """Return a file's copy; None if another process is fetching it and there is no wait."""
        copy, size = self._describe(name)

        def fetch(target: Path) -> None:
            try:
                self._ask(name, lambda fs, path: _download(fs, path, target, size))
            except FileNotFoundError as error:
                raise ClipsepError(
                    f"'{self.url}/{name}' is no longer there: {self.repair}."
                ) from error

        return self.cache.get(copy, size, fetch, wait)

    def _describe(self, name: str) -> tuple[str, int]:
        """Name in the cache, and bytes, of a file; FileNotFoundError if there is none.

        Files in folders are known by name and size: shards and embeddings do not change under a name.
        The index does, and is known by all that its place tells of it.
        """
        below, _, file = name.rpartition("/")
        if not below:
            if name not in self._described:
                info = self._ask(name, _info)
                version = hashlib.sha256(str(sorted(info.items())).encode()).hexdigest()[:16]
                self._described[name] = (f"{self._key}/{version}/{name}", info["size"])
            return self._described[name]
        size = self._listed.get(below, {}).get(file)
        if size is None:
            size = self.sizes(below).get(file)
        if size is None:
            raise FileNotFoundError(f"{self.url}/{name}")
        return f"{self._key}/{name}", size

    def _ask(self, name: str, request: Callable[[Any, str], _T]) -> _T:
        """Make a request of (file system, path); try again what may pass.

        Raises:
            FileNotFoundError: if there is no such file or folder.
        """
        address = f"{self.url}/{name}"
        for pause in (*_PAUSES, None):
            try:
                # Made each time (from fsspec's own cache): it must not cross threads and forks.
                return request(*url_to_fs(address))
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise ClipsepError(
                    f"Access to '{address}' was refused ({_reason(error)}): check your credentials."
                ) from error
            except Exception as error:  # each protocol's package raises its own
                if pause is None:
                    raise ClipsepError(
                        f"'{address}' cannot be reached ({_reason(error)}): check the address and the "
                        "connection, then run the command again."
                    ) from error
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")


def is_address(location: str | Path) -> bool:
    """Whether it is an address for fsspec, and no path."""
    return "://" in str(location)


def open_folder(location: str | Path, cache: FileCache | None = None) -> Folder:
    """Open the folder at a path or an address; remote ones use the given cache, or the default one."""
    if is_address(location):
        return RemoteFolder(str(location), cache or FileCache())
    return LocalFolder(Path(location))


def _require_protocol(url: str) -> None:
    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or protocol
        raise UsageError(
            f"'{url}' needs a package that is missing: pip install {package}"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"'{url}' has a protocol that fsspec does not know; s3, gs, az and hf are some that it does."
        ) from error


def _list(fs: Any, path: str) -> list[dict[str, Any]]:
    fs.invalidate_cache()
    return fs.ls(path, detail=True)


def _info(fs: Any, path: str) -> dict[str, Any]:
    fs.invalidate_cache()
    return fs.info(path)


def _download(fs: Any, path: str, target: Path, size: int) -> None:
    fs.get_file(path, str(target))
    found = target.stat().st_size
    if found != size:
        raise OSError(f"{found} of {size} bytes came")


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
