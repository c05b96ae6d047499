"""The check that the paths of a journal still lead to the files that the server has open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from broadcast.core.errors import JournalError
from broadcast.journals.sqlite.data_dir import DirectoryLock, LastNumberFile

Identity: TypeAlias = tuple[int, int]
"""Device and inode of a file."""
Stamp: TypeAlias = tuple[int, int, int, int]
"""Times of the last changes of a folder, and its identity."""

SETTLED_SECONDS = 3.0
"""Seconds after which an unchanged time stamp of a folder shows that no entry has changed.

Two changes within the resolution of the time stamps leave the same stamp. The coarsest resolution is that of FAT, 2 s.
"""
FINE_SETTLED_SECONDS = 0.1
"""The same if the stamp has a fraction of a second. Then its resolution is a tick of the kernel, at most 10 ms."""


class WriteAheadLogRemoved(JournalError):
    """The write-ahead log is not at its path. The open one still holds its lines."""


class LogIndexRemoved(JournalError):
    """The index of the write-ahead log (the -shm file) is not at its path."""


class OpenFiles:
    """The open files of a journal: the database *path*, its log and index, the folder's *lock*, and *last_number*.

    SQLite goes on writing to a file that was removed or moved. Without this check, the server would then confirm lines
    that no later start finds. The index of the log (-shm) also holds SQLite's locks. If it was removed, the next
    process to open the database creates another one, and the two processes overwrite each other's lines. *now* returns
    monotonic seconds.
    """

    def __init__(self, path: Path, lock: DirectoryLock, last_number: LastNumberFile, now: Callable[[], float]) -> None:
        self.last_number = last_number
        self._path = path
        self._lock = lock
        self._now = now
        real = path.resolve()  # SQLite keeps the log beside the file to which a symbolic link leads
        self._log_path = real.with_name(real.name + "-wal")
        self._index_path = real.with_name(real.name + "-shm")
        # The time stamp of a folder changes with each of its entries, so one stat of the folder replaces one of each
        # file. A symbolic link leads to files in another folder, so all of them are examined each time.
        self._folder = None if path.is_symlink() else os.fsencode(path.parent)
        self._stamp: Stamp | None = None
        self._stamp_since = 0.0
        self._settled = False
        """True if an unchanged stamp shows that no entry of the folder has changed."""
        self._database = _identify(path)
        self._log = _identify(self._log_path)
        self._index = _identify(self._index_path)

    def verify(self) -> None:
        """Raise ``JournalError`` unless every path leads to the open file and this process has the folder's lock.

        Raises ``WriteAheadLogRemoved`` or ``LogIndexRemoved`` if only the log, or only its index, is not in its place.
        Creates the lock file and the file of the last number again if they were removed. Raises ``JournalError`` if
        another server was faster with the lock.
        """
        stamp = None if self._folder is None else _stamp(self._folder)
        if stamp != self._stamp or stamp is None:
            self._stamp, self._stamp_since, self._settled = stamp, self._now(), False
        elif self._settled:
            return
        try:
            self.verify_without_log()
            self._verify_log_and_index()
        except BaseException:
            self._stamp = None  # the next call examines every file again
            raise
        fine = stamp is not None and stamp[0] % 1_000_000_000
        self._settled = self._now() - self._stamp_since > (FINE_SETTLED_SECONDS if fine else SETTLED_SECONDS)

    def verify_without_log(self) -> None:
        """Do the same as ``verify``, but ignore the write-ahead log: a database that is not open may have none."""
        self.verify_path()
        self._lock.verify()
        self.last_number.verify()

    def verify_path(self) -> None:
        """Raise ``JournalError`` unless the path leads to the database. May be called on any thread."""
        database = _identify(self._path)
        if database is None or database != self._database:
            msg = f"{self._path.name} was removed, moved or replaced"
            raise JournalError(msg)

    def _verify_log_and_index(self) -> None:
        if _identify(self._log_path) != self._log:
            msg = f"{self._log_path.name} was removed, moved or replaced"
            raise WriteAheadLogRemoved(msg)
        if not self.is_index_in_place():
            msg = f"{self._index_path.name} was removed, moved or replaced"
            raise LogIndexRemoved(msg)

    def is_index_in_place(self) -> bool:
        """Return whether the path of the log's index leads to the open one. Raises ``OSError``."""
        return self._index is not None and _identify(self._index_path) == self._index

    def has_only_index_removed(self) -> bool:
        """Return whether the log is in its place, but not its index. Raises ``OSError``."""
        return _identify(self._log_path) == self._log and not self.is_index_in_place()

    def is_used_without_locks(self) -> bool:
        """Return whether another program has a log and an index of its own, so that no lock keeps it from writing."""
        return self._log_path.exists() and self._index_path.exists() and not self.is_index_in_place()

    def reopened(self) -> None:
        """Accept the present write-ahead log and index as the open ones, because the database was opened again."""
        self._log = _identify(self._log_path)
        self._index = _identify(self._index_path)
        self._stamp = None


def _identify(path: Path) -> Identity | None:
    """Return the identity of the file to which *path* leads, or None if there is none. Raises ``OSError``."""
    try:
        status = os.stat(path)  # noqa: PTH116 - pathlib's takes twice as long
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _stamp(folder: bytes) -> Stamp | None:
    """Return a value that changes when an entry of *folder* changes or its path leads elsewhere. Raises ``OSError``."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - as above
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
