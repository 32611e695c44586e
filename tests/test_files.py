"""Laws of files found in folders."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from clipsep.errors import ClipsepError, UsageError
from clipsep.files import (
    SOUND_SUFFIXES,
    atomic_write,
    find_files,
    hold,
    is_disk_full,
    remove_unfinished,
    replace_all,
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


def test_links_to_folders_are_followed_and_no_folder_is_searched_twice(tmp_path: Path):
    for name in ("in/a/1.wav", "in/z/2.wav", "elsewhere/3.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = tmp_path / "in"
    (source / "a" / "again").symlink_to(source / "z")
    (source / "link").symlink_to(tmp_path / "elsewhere")
    (source / "twice").symlink_to(tmp_path / "elsewhere")
    (source / "up").symlink_to(tmp_path)
    (source / "loop").symlink_to(source)
    (source / "nowhere").symlink_to(tmp_path / "nowhere")
    found = sorted(name for _, name in find_files(source, SOUND_SUFFIXES))
    assert found == ["a/1.wav", "link/3.wav", "z/2.wav"]
    (tmp_path / "shortcut").symlink_to(source)
    assert len(list(find_files(tmp_path / "shortcut", SOUND_SUFFIXES))) == 3


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch, caplog):
    real = os.scandir

    def refuse(folder):
        if Path(folder).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.wav").touch()
    assert [name for _, name in find_files(tmp_path, SOUND_SUFFIXES)] == ["a.wav"]
    (message,) = caplog.messages
    assert str(tmp_path / "closed") in message and "Permission denied" in message


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_does_not_exist(tmp_path: Path, name):
    with pytest.raises(UsageError, match="does not exist"):
        list(find_files(tmp_path / name, SOUND_SUFFIXES))


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


def test_what_is_left_behind_is_closed_and_removed_and_what_is_held_stays(tmp_path, monkeypatch):
    opened: list[int] = []
    unlink = Path.unlink

    def hold_and_tell(path: Path) -> int | None:
        descriptor = hold(path)
        opened.extend([] if descriptor is None else [descriptor])
        return descriptor

    def unlink_closed(path: Path) -> None:
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(opened[-1])
        unlink(path)

    left, used = (unfinished(tmp_path / name) for name in ("left", "used"))
    left.touch()
    used.touch()
    monkeypatch.setattr("clipsep.files.hold", hold_and_tell)
    monkeypatch.setattr(Path, "unlink", unlink_closed)
    holder = hold(used)
    remove_unfinished(tmp_path)
    os.close(holder)
    assert not left.exists() and (used.exists() or os.name == "nt")


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


@pytest.mark.parametrize("links", [True, False])
def test_several_files_get_their_names_all_or_none(tmp_path: Path, monkeypatch, links):
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    paths = [tmp_path / name for name in ("new", "older", "folder")]
    (tmp_path / "older").write_text("older")
    (tmp_path / "folder").mkdir()
    names = [(unfinished(path), path) for path in paths]
    for temporary, path in names:
        temporary.write_text(f"complete {path.name}")
    with pytest.raises(ClipsepError, match="folder could not be written") as caught:
        replace_all(names)
    assert not (tmp_path / "new").exists()
    if links:
        assert (tmp_path / "older").read_text() == "older"
    else:
        assert str(caught.value).endswith("; already written: older.")
    names[0][0].write_text("complete new")
    names[1][0].write_text("complete older")
    names[2][0].unlink()
    replace_all(names[:2])
    assert [path.read_text() for path in paths[:2]] == ["complete new", "complete older"]
    assert {path.name for path in tmp_path.iterdir()} == {"new", "older", "folder"}


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
