"""Laws of the cache: never above its limit, nothing fetched twice, nothing half-fetched is ever used."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from clipsep.datasets.storage.cache import FileCache
from clipsep.errors import UsageError

KB = 1e-6  # GB


def fetched(cache: FileCache, name: str, size: int = 1000) -> bool:
    """Whether a file had to be fetched."""
    calls = []

    def fetch(path: Path) -> None:
        calls.append(path)
        path.write_bytes(b"x" * size)

    path = cache.get(name, size, fetch)
    assert path.read_bytes() == b"x" * size
    return bool(calls)


def held(cache: FileCache) -> set[str]:
    return {path.name for path in (cache.folder / "files").rglob("*") if path.is_file()}


def test_a_file_is_fetched_once_and_the_least_recently_used_goes_first(tmp_path: Path):
    cache = FileCache(tmp_path, 3 * KB)
    for name in ("a", "b", "c"):
        assert fetched(cache, f"shards/{name}")
    assert not fetched(cache, "shards/a")
    assert fetched(cache, "shards/d")
    assert held(cache) == {"a", "c", "d"}
    assert fetched(cache, "shards/e", 2000)
    assert held(cache) == {"d", "e"}


def test_fetching_is_a_use_whatever_date_the_file_carries(tmp_path: Path):
    cache = FileCache(tmp_path, 2 * KB)

    def fetch_dated(path: Path) -> None:
        path.write_bytes(b"x" * 1000)
        os.utime(path, ns=(0, 0))

    fetched(cache, "a")
    cache.get("b", 1000, fetch_dated)
    fetched(cache, "c")
    assert held(cache) == {"b", "c"}


def test_a_copy_of_another_size_is_fetched_anew(tmp_path: Path):
    cache = FileCache(tmp_path, 10 * KB)
    fetched(cache, "a", 1000)
    assert fetched(cache, "a", 1200) and not fetched(cache, "a", 1200)


def test_a_removed_file_stays_readable_for_who_has_it_open(tmp_path: Path):
    cache = FileCache(tmp_path, 1 * KB)
    fetched(cache, "a")
    with open(cache.get("a", 1000, Path.touch), "rb") as file:
        fetched(cache, "b")
        assert held(cache) == {"b"}
        assert len(file.read()) == 1000


def test_what_fails_leaves_nothing_and_blocks_nothing(tmp_path: Path):
    cache = FileCache(tmp_path, 1 * KB)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.get("a", 1000, fail)
    assert held(cache) == set()
    assert fetched(cache, "a")


def test_what_a_killed_process_left_makes_room(tmp_path: Path):
    cache = FileCache(tmp_path, 2 * KB)
    fetched(cache, "shards/a")
    left = cache.folder / "files/shards/b.1000.part"
    left.write_bytes(b"half")
    assert fetched(cache, "shards/c")
    assert fetched(cache, "shards/d")
    assert held(cache) == {"c", "d"}


def test_room_is_kept_for_what_is_being_fetched(tmp_path: Path):
    """Its file is still small, and the limit holds all the same when it is complete."""
    cache = FileCache(tmp_path, 2 * KB)
    fetched(cache, "old")

    def fetch(path: Path) -> None:
        assert fetched(cache, "other")
        assert "old" not in held(cache)
        path.write_bytes(b"x" * 1000)

    cache.get("new", 1000, fetch)
    assert held(cache) == {"new", "other"}


def test_who_does_not_wait_gets_nothing_while_another_fetches(tmp_path: Path):
    cache = FileCache(tmp_path, 2 * KB)

    def fetch(path: Path) -> None:
        assert FileCache(tmp_path, 2 * KB).get("a", 1000, fail, wait=False) is None
        path.write_bytes(b"x" * 1000)

    def fail(path: Path) -> None:
        raise AssertionError("fetched twice")

    assert cache.get("a", 1000, fetch)


def _use_cache(folder: Path, limit: float, log: Path, seed: int) -> int:
    """Fetch twenty files of a thousand bytes in an order of one's own; returns the largest size seen."""
    cache = FileCache(folder, limit)
    largest = 0
    for number in range(20):
        name = f"{(7 * number + seed) % 20:02d}"

        def fetch(path: Path, name: str = name) -> None:
            with open(log, "a") as file:
                file.write(f"{name}\n")
            path.write_bytes(b"x" * 1000)

        cache.get(name, 1000, fetch)
        largest = max(largest, size(cache))
    return largest


def size(cache: FileCache) -> int:
    sizes = {}  # by inode: a file that is renamed meanwhile comes twice
    for path in (cache.folder / "files").iterdir():
        with suppress(FileNotFoundError):
            stat = path.stat()
            sizes[stat.st_ino] = stat.st_size
    return sum(sizes.values())


@pytest.mark.slow
@pytest.mark.parametrize("n_files", [30, 6])
def test_processes_that_share_a_cache_fetch_nothing_twice_and_keep_its_limit(
    tmp_path: Path, n_files: int
):
    log = tmp_path / "log"
    arguments = tmp_path / "cache", n_files * KB, log
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        runs = [pool.submit(_use_cache, *arguments, seed) for seed in range(4)]
        assert max(run.result() for run in runs) <= 1000 * n_files
    fetches = log.read_text().split()
    assert set(fetches) == {f"{number:02d}" for number in range(20)}
    assert len(fetches) == 20 or n_files < 20


def test_a_cache_that_is_too_small_is_named(tmp_path: Path):
    cache = FileCache(tmp_path, 2 * KB)
    with pytest.raises(UsageError, match=r"less than a single file.*data\.cache_gb"):
        cache.get("a", 3000, Path.touch)
    cache.claim("training", 1500)
    cache.claim("training", 1600)  # the same again, not both
    with pytest.raises(UsageError, match=r"for training and .* for validation must fit"):
        cache.claim("validation", 500)


def test_nothing_else_in_the_folder_is_ever_removed(tmp_path: Path):
    mine = tmp_path / "thesis.txt"
    mine.write_bytes(b"x" * 5000)
    os.utime(mine, (0, 0))
    cache = FileCache(tmp_path, 1 * KB)
    for name in "abc":
        fetched(cache, name)
    assert mine.is_file()


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CLIPSEP_CACHE", raising=False)
    assert FileCache().folder.is_relative_to(tmp_path / "xdg/clipsep")
    monkeypatch.setenv("CLIPSEP_CACHE", str(tmp_path / "named"))
    assert FileCache().folder.is_relative_to(tmp_path / "named")
    assert not list(tmp_path.iterdir()), "nothing is made before it is needed"


def test_without_a_home_only_what_is_fetched_needs_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("XDG_CACHE_HOME", "CLIPSEP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    cache = FileCache()
    with pytest.raises(UsageError, match="CLIPSEP_CACHE"):
        fetched(cache, "a")
    monkeypatch.setenv("CLIPSEP_CACHE", str(tmp_path))
    assert FileCache().folder == tmp_path / "remote"
