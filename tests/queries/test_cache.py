"""Laws of the cache of queries: it gives back what was put, mixes nothing up, and never gets in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from clipsep.queries import cache
from clipsep.queries.cache import QueryCache


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(8).astype(np.float32)


def test_what_was_put_comes_back_in_another_process(tmp_path: Path):
    QueryCache("space", tmp_path).put(["dog"], [vector(0)])
    assert np.array_equal(QueryCache("space", tmp_path).get("dog"), vector(0))


def test_texts_images_and_spaces_are_kept_apart(tmp_path: Path):
    kept = QueryCache("space", tmp_path)
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    queries = ["dog", "Dog", red, blue, red.resize((8, 2)), red.convert("L"), red.convert("P")]
    for seed, query in enumerate(queries):
        assert kept.get(query) is None
        kept.put([query], [vector(seed)])
    for seed, query in enumerate(queries):
        assert np.array_equal(kept.get(query), vector(seed))
    assert QueryCache("another", tmp_path).get("dog") is None


def test_a_damaged_entry_or_folder_is_as_none(tmp_path: Path):
    kept = QueryCache("space", tmp_path)
    kept.put(["dog"], [vector(0)])
    (entry,) = (path for path in tmp_path.rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes()[:-4])
    assert kept.get("dog") is None
    (tmp_path / "file").write_text("")
    nowhere = QueryCache("space", tmp_path / "file")
    nowhere.put(["dog"], [vector(0)])
    assert nowhere.get("dog") is None


def test_a_cache_that_is_read_only_still_answers(tmp_path: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read only")

    kept = QueryCache("space", tmp_path)
    kept.put(["dog"], [vector(0)])
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    kept.put(["rain"], [vector(1)])
    assert np.array_equal(kept.get("dog"), vector(0)) and kept.get("rain") is None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cache, "_MOST", 4)
    kept = QueryCache("space", tmp_path)
    for number in range(5):
        kept.put([str(number)], [vector(number)])
        for path in tmp_path.rglob("*"):
            if path.is_file():
                os.utime(path, (number, path.stat().st_mtime - 10))
    assert kept.get("4") is not None and kept.get("0") is None


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    kept = QueryCache("space")
    kept.put(["dog"], [vector(0)])
    assert kept.get("dog") is None
