"""Files and folders are written to the disk."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from broadcast.durability import begin_writing, sync_file, sync_folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the inodes of what is written to the disk from now on."""
    inodes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: inodes.append(os.fstat(descriptor).st_ino))
    return inodes


def test_file_is_written_to_the_disk(tmp_path: Path, synced: list[int]) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        sync_file(file.fileno())
    assert synced == [path.stat().st_ino]


def test_entries_of_a_folder_are_written_to_the_disk(tmp_path: Path, synced: list[int]) -> None:
    sync_folder(tmp_path)
    assert synced == [tmp_path.stat().st_ino]


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux begins to write a file on request")
def test_begin_of_a_file_is_not_waited_for_and_may_be_refused(
    tmp_path: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    advised: list[tuple[int, int, int]] = []

    def refuse(_descriptor: int, *advice: int) -> NoReturn:
        advised.append((advice[0], advice[1], advice[2]))
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    with (tmp_path / "file").open("wb") as file:
        begin_writing(file.fileno(), 0)
        monkeypatch.setattr(os, "posix_fadvise", refuse)
        begin_writing(file.fileno(), 4096)
    assert advised == [(4096, 0, os.POSIX_FADV_DONTNEED)]
    assert not synced
