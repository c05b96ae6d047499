"""Files and folders are written to the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broadcast.durability import sync_file, sync_folder


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
