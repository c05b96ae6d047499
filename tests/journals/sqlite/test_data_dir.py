"""The folder of a journal is private to its owner and belongs to one server at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.journals.sqlite.data_dir import DirectoryLock
from tests.platforms import needs_permissions


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@needs_permissions
def test_acquire_makes_missing_folders_private_and_leaves_existing_modes(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    lock = DirectoryLock(shared / "a" / "b")
    lock.acquire()
    lock.release()
    modes = {name: mode(shared / name) for name in ("", "a", "a/b", "a/b/lock")}
    assert modes == {"": 0o750, "a": 0o700, "a/b": 0o700, "a/b/lock": 0o600}


def test_only_one_lock_is_held_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire()
    for _ in range(2):
        with pytest.raises(JournalInUse) as caught:
            second.acquire()
        assert str(tmp_path) in str(caught.value)
        assert "--data" in str(caught.value)
        second.release()  # the second lock was not acquired, so this does not release the first
    first.release()
    second.acquire()
    second.release()


@pytest.mark.parametrize("name", ["file", "file/folder", "file/deeper/folder"])
def test_folder_that_cannot_be_made_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot use the folder") as caught:
        DirectoryLock(tmp_path / name).acquire()
    assert str(tmp_path / name) in str(caught.value)
    assert not isinstance(caught.value, JournalInUse)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(JournalError, match=r"cannot use the folder .* let this user write there"):
            DirectoryLock(tmp_path).acquire()
    finally:
        tmp_path.chmod(0o700)
