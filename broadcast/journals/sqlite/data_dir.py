"""The data folder of a journal: created with mode 0700, and locked by one server at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from broadcast.core.errors import JournalError, JournalInUse

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    import msvcrt

    def _lock_file(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error  # Windows has no separate code for a lock that is held

    def fsync_directory(folder: Path) -> None:
        """Do nothing: Windows makes the entries of a folder durable by itself."""

else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def fsync_directory(folder: Path) -> None:
        """Make the entries of *folder* durable across a crash of the machine. Raises ``OSError``."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DirectoryLock:
    """An exclusive lock on *folder*, held from ``acquire`` to ``release`` or to the end of the process.

    It is a lock on the file ``lock`` in the folder. ``release`` does not remove this file, because another process may
    have just opened it and would then lock a deleted file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Create the folder and its missing parents (mode 0700) unless it exists, and lock it.

        Raises ``JournalInUse`` if another process holds the lock, and ``JournalError`` if the folder cannot be used.
        """
        try:
            _create_folder(self._folder)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _lock_file(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except BlockingIOError as error:
            msg = f"another server has {self._folder} open: stop it, or give --data another folder"
            raise JournalInUse(msg) from error
        except (FileExistsError, NotADirectoryError) as error:
            msg = f"cannot use the folder {self._folder}: it is a file, or is inside one; give --data another folder"
            raise JournalError(msg) from error
        except OSError as error:
            msg = (
                f"cannot use the folder {self._folder}: {error.strerror or error}; "
                "let this user write there, or give --data another folder"
            )
            raise JournalError(msg) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _create_folder(folder: Path) -> None:
    if not folder.is_dir():
        if folder.parent != folder:
            _create_folder(folder.parent)  # mkdir(parents=True) would give the parents the default mode
        folder.mkdir(mode=0o700, exist_ok=True)
