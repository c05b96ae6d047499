"""The folder of a journal is private to its owner and belongs to one server at a time."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.journals.sqlite.data_dir import DirectoryLock


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_folder_and_its_parents_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "a" / "b" / "c")
    lock.acquire()
    lock.release()
    assert [mode(tmp_path / "a"), mode(tmp_path / "a/b"), mode(tmp_path / "a/b/c")] == [0o700] * 3
    assert mode(tmp_path / "a/b/c/lock") == 0o600


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o750)
    lock = DirectoryLock(folder)
    lock.acquire()
    lock.release()
    assert mode(folder) == 0o750


def test_only_one_holds_it_and_the_refusal_names_it_and_says_what_to_do(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire()
    with pytest.raises(JournalInUse) as caught:
        second.acquire()
    assert str(tmp_path) in str(caught.value)
    assert "--data" in str(caught.value)
    second.release()  # it holds nothing: the first one's lock stays
    with pytest.raises(JournalInUse):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "folder", tmp_path / "file" / "deeper" / "folder"):
        with pytest.raises(JournalError, match="cannot use the folder") as caught:
            DirectoryLock(folder).acquire()
        assert str(folder) in str(caught.value)
        assert not isinstance(caught.value, JournalInUse)
