"""Laws of report.jsonl: a kill costs its last line at most, and a foreign file is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsep.errors import UsageError
from clipsep.separation.many.journal import NAME, SeparationReport


def entry(name: str, state: int = 1) -> dict:
    return {"input": name, "status": "separated", "state": state}


def test_entries_are_kept_but_for_a_line_that_was_cut(tmp_path: Path):
    journal = SeparationReport(tmp_path)
    for name in ("b", "a", "b"):
        journal.add(entry(name))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes() + b'{"input": "c", "st')
    again = SeparationReport(tmp_path)
    assert again.holds(Path("a"), 1) and again.holds(Path("b"), 1)
    assert not again.holds(Path("c"), 1) and not again.holds(Path("a"), 2)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "content",
    [
        "mine\nand mine\n",
        "[" * 100_000 + "\n\n",
        '{"input": "x"}\n',
        "[1]\n2\n",
        b"\xff\xfe\n\n".decode("latin1"),
    ],
)
def test_a_foreign_file_of_that_name_is_refused_and_kept(tmp_path: Path, content: str):
    path = tmp_path / NAME
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(UsageError, match="Line 1 of"):
        SeparationReport(tmp_path)
    assert path.read_bytes() == content.encode("latin1")
