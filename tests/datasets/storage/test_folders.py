"""Laws of folders: the same from both kinds, patience with what passes, one sentence for what does not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clipsep.datasets.storage import folders
from clipsep.datasets.storage.cache import FileCache
from clipsep.datasets.storage.folders import LocalFolder, RemoteFolder, open_folder
from clipsep.errors import ClipsepError, UsageError
from tests.helpers.remote import clear_memory

URL = "memory://bucket/data"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(folders, "_PAUSES", (0, 0, 0))
    yield
    clear_memory()


@pytest.fixture
def remote(tmp_path: Path) -> RemoteFolder:
    folder = open_folder(URL, FileCache(tmp_path / "cache"))
    folder.write("shards/a.arrow", b"sound")
    folder.write("index.arrow", b"index")
    return folder


def failing(monkeypatch: pytest.MonkeyPatch, method: str, *errors: Exception) -> list[Exception]:
    """Make a method of the memory's file system raise these errors first; returns those to come."""
    to_come = list(errors)
    original = getattr(MemoryFileSystem, method)

    def replacement(self, *args, **kwargs):
        if to_come:
            raise to_come.pop(0)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, method, replacement)
    return to_come


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_both_kinds_of_folder_do_the_same(kind: str, tmp_path: Path):
    folder = open_folder(
        {"local": tmp_path / "data", "remote": URL}[kind], FileCache(tmp_path / "cache")
    )
    assert not folder.exists("index.arrow") and folder.sizes("shards") == {}
    folder.write("index.arrow", b"index")
    folder.write("shards/a.arrow", b"sound")
    folder.write("shards/b.arrow", b"sounds")
    assert folder.exists("index.arrow") and not folder.exists("other")
    assert folder.sizes("shards") == {"a.arrow": 5, "b.arrow": 6}
    assert folder.read("shards/b.arrow", Path.read_bytes) == b"sounds"
    folder.write("shards/b.arrow", b"longer sounds")
    folder.sizes("shards")
    assert folder.read("shards/b.arrow", Path.read_bytes) == b"longer sounds"
    assert folder.remote == (kind == "remote")
    assert str(folder) == {"local": str(tmp_path / "data"), "remote": URL}[kind]


def test_a_local_path_stays_one(tmp_path: Path):
    assert isinstance(open_folder(tmp_path), LocalFolder)
    assert open_folder(str(tmp_path)).path == tmp_path


def test_a_new_index_of_the_same_size_is_seen(remote: RemoteFolder, tmp_path: Path):
    assert remote.read("index.arrow", Path.read_bytes) == b"index"
    fsspec.filesystem("memory").pipe_file("/bucket/data/index.arrow", b"xedni")
    assert remote.read("index.arrow", Path.read_bytes) == b"index", "a run keeps to its index"
    again = open_folder(URL, FileCache(tmp_path / "cache"))
    assert again.read("index.arrow", Path.read_bytes) == b"xedni"


def test_what_passes_is_waited_for(remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch):
    to_come = failing(monkeypatch, "get_file", TimeoutError(), ConnectionError("reset"), OSError())
    assert remote.read("shards/a.arrow", Path.read_bytes) == b"sound"
    assert not to_come


def test_what_does_not_pass_is_one_sentence(
    remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    failing(monkeypatch, "get_file", *[ConnectionError("Reset by peer.\nmore")] * 4)
    expected = r"'memory://bucket/data/shards/a.arrow' cannot be reached \(Reset by peer\): check"
    with pytest.raises(ClipsepError, match=expected):
        remote.read("shards/a.arrow", Path.read_bytes)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_refused_access_is_named_at_once(remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch):
    to_come = failing(monkeypatch, "ls", PermissionError("Forbidden"), OSError())
    with pytest.raises(ClipsepError, match=r"refused \(Forbidden\): check your credentials"):
        remote.sizes("shards")
    assert len(to_come) == 1, "trying again does not help"


def test_what_comes_incomplete_is_not_used(remote: RemoteFolder):
    remote.sizes("shards")
    fsspec.filesystem("memory").pipe_file("/bucket/data/shards/a.arrow", b"sou")
    with pytest.raises(ClipsepError, match="3 of 5 bytes came"):
        remote.read("shards/a.arrow", Path.read_bytes)


def test_what_vanished_is_named(remote: RemoteFolder):
    remote.sizes("shards")
    fsspec.filesystem("memory").rm("/bucket/data/shards/a.arrow")
    with pytest.raises(ClipsepError, match=r"a\.arrow' is no longer there: upload it again"):
        remote.read("shards/a.arrow", Path.read_bytes)


def check(path: Path) -> bytes:
    if path.read_bytes() != b"sound":
        raise ClipsepError("no sound")
    return b"sound"


def test_a_damaged_copy_is_fetched_anew_and_a_damaged_original_named(remote: RemoteFolder):
    remote.read("shards/a.arrow", lambda path: path.write_bytes(b"noise"))
    assert remote.read("shards/a.arrow", check) == b"sound"
    remote.write("shards/a.arrow", b"noise")
    remote.read("shards/a.arrow", Path.unlink)
    with pytest.raises(
        ClipsepError, match=r"a\.arrow' is damaged \(no sound\): delete it and upload"
    ):
        remote.read("shards/a.arrow", check)


def test_a_copy_that_another_process_removes_is_fetched_again(remote: RemoteFolder):
    """It can happen between its fetching and its opening."""
    removed = []

    def read(path: Path) -> bytes:
        if not removed:
            path.unlink()
            removed.append(path)
        return path.read_bytes()

    assert remote.read("shards/a.arrow", read) == b"sound" and removed


def test_files_are_fetched_ahead_in_the_background(remote: RemoteFolder, tmp_path: Path):
    for name in "bcd":
        remote.write(f"shards/{name}.arrow", b"sound")
    remote.sizes("shards")
    fsspec.filesystem("memory").rm("/bucket/data/shards/b.arrow")
    remote.fetch_ahead([f"shards/{name}.arrow" for name in "abcd"])
    copies = tmp_path / "cache/remote/files"
    deadline = time.monotonic() + 20
    while not list(copies.rglob("d.arrow")) and time.monotonic() < deadline:
        time.sleep(0.01)
    names = {path.name for path in copies.rglob("*.arrow")}
    assert names == {"a.arrow", "c.arrow", "d.arrow"}, "what is missing is said by who needs it"


def test_missing_packages_and_unknown_protocols_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"'gs://bucket/data' needs .* missing: pip install gcsfs"):
        open_folder("gs://bucket/data")
    with pytest.raises(
        UsageError, match=r"'s4://bucket/data' has a protocol that fsspec does not know"
    ):
        open_folder("s4://bucket/data")
