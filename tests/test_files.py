"""Laws of files found in folders."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from clipsep.errors import ClipsepError
from clipsep.files import (
    SOUND_SUFFIXES,
    atomic_write,
    find_files,
    hold,
    is_disk_full,
    remove_unfinished,
    unfinished,
    unfinished_in,
)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_and_sockets_in_a_folder_are_passed_over(tmp_path: Path, monkeypatch):
    (tmp_path / "a.wav").touch()
    os.mkfifo(tmp_path / "b.wav")
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("c.wav")
        found = list(find_files(tmp_path, SOUND_SUFFIXES))
    assert found == [(tmp_path, "a.wav")]


def test_where_there_are_no_locks_everything_can_be_held(tmp_path: Path, monkeypatch):
    """Windows has no fcntl, and refuses to open a folder."""

    def open_files_only(path, *arguments):
        if Path(path).is_dir():
            raise PermissionError(path)
        return real(path, *arguments)

    real = os.open
    monkeypatch.setattr("clipsep.files.fcntl", None)
    monkeypatch.setattr(os, "open", open_files_only)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        os.close(hold(path))
    assert hold(tmp_path / "missing") is None


def test_a_full_disk_is_known_by_its_cause(tmp_path: Path):
    for number, is_full in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)):
        try:
            raise ClipsepError("x") from OSError(number, "y")
        except ClipsepError as error:
            assert is_disk_full(error, tmp_path) is is_full


def test_a_file_is_written_complete_or_not_at_all(tmp_path: Path):
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(OSError, match="full"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError("full")
    assert path.read_text() == "first"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"], "nothing is left over"


def test_unfinished_files_are_known_by_the_name_that_they_get(tmp_path):
    path = tmp_path / "a.b.wav"
    for name in (unfinished(path).name, unfinished(path).name, "a.b.wav", ".other.part", "x.part"):
        (tmp_path / name).touch()
    assert [name for _, name in unfinished_in(tmp_path)] == ["a.b.wav", "a.b.wav"]


def test_only_unfinished_files_that_nobody_writes_are_removed(tmp_path):
    left, other = unfinished(tmp_path / "a.txt"), unfinished(tmp_path / "b.txt")
    with atomic_write(tmp_path / "a.txt") as temporary:
        for path in (left, other):
            path.touch()
        remove_unfinished(tmp_path, {"a.txt"})
        assert set(tmp_path.iterdir()) == {temporary, other}
        remove_unfinished(tmp_path)
        assert set(tmp_path.iterdir()) == {temporary}
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]
