"""The layout that CONTRIBUTING.md promises: short files, small folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "clipsep"
MOST_LINES = 350
MOST_FILES = 9
WRITTEN = {".py", ".js", ".css", ".html"}


def written_files() -> list[Path]:
    return [path for path in SOURCE.rglob("*") if path.suffix in WRITTEN and path.is_file()]


def test_no_file_is_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in written_files()}
    assert {str(path): n for path, n in lengths.items() if n > MOST_LINES} == {}


def test_no_folder_is_crowded():
    # What Python itself wants to be there (__init__, __main__, _version) is not counted.
    counts = Counter(path.parent for path in written_files() if not path.name.startswith("_"))
    assert {str(path): n for path, n in counts.items() if n > MOST_FILES} == {}
