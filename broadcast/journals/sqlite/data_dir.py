"""The folder that a journal on disk lives in: made for its owner alone, and held by one server at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from broadcast.core.errors import JournalError, JournalInUse

if sys.platform == "win32":  # pragma: no cover - what measures it runs on Linux
    import msvcrt

    def _hold(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error  # it tells a held lock from other trouble by no code of its own

    def fsync_directory(folder: Path) -> None:
        """Nothing: this system keeps a folder's entries by itself."""

else:
    import fcntl

    def _hold(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def fsync_directory(folder: Path) -> None:
        """Make the names in *folder* survive a crash of the machine; raises OSError."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DirectoryLock:
    """The right to use *folder*, held from ``acquire`` to ``release`` or to the end of the process.

    It is a lock on the file ``lock`` in it, which stays there: to remove a lock file is a race with whoever has just
    opened it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make the folder (mode 0700, missing parents too) unless it exists, and lock it.

        Raises ``JournalInUse`` where somebody else holds it, ``JournalError`` where it cannot be used.
        """
        try:
            _make(self._folder)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _hold(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except BlockingIOError as error:
            msg = f"another server has {self._folder} open: stop it, or give --data another folder"
            raise JournalInUse(msg) from error
        except (FileExistsError, NotADirectoryError) as error:
            msg = f"cannot use the folder {self._folder}: there is a file; give --data another folder"
            raise JournalError(msg) from error
        except OSError as error:
            msg = (
                f"cannot use the folder {self._folder}: {error.strerror or error}; "
                "let this user write there, or give --data another folder"
            )
            raise JournalError(msg) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have it; does nothing where it is not held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _make(folder: Path) -> None:
    if not folder.is_dir():
        if folder.parent != folder:
            _make(folder.parent)  # mkdir(parents=True) would give the parents the default mode
        folder.mkdir(mode=0o700, exist_ok=True)
