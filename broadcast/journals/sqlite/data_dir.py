"""The data folder of a journal, except the database: its creation, its lock, and the file of the last number."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.durability import sync_file
from broadcast.journals.sqlite.room_record import MAX_SEQ

LAST_NUMBER_FILE = "journal.last"
"""File name of the last number."""

_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows only

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    import msvcrt

    def _lock_file(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error  # Windows has no separate code for a lock that is held

    def _pwrite(descriptor: int, data: bytes, offset: int) -> int:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)

else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    _pwrite = os.pwrite


class DirectoryLock:
    """An exclusive lock on *folder*, held from ``acquire`` to ``release`` or to the end of the process.

    It is a lock on the file ``lock`` in the folder. ``release`` does not remove this file, because another process may
    have just opened it and would then lock a deleted file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Create the folder and its missing parents (mode 0700) unless it exists, and lock it.

        Raises ``JournalInUse`` if another process holds the lock, and ``JournalError`` if the folder cannot be used.
        """
        try:
            _create_folder(self._folder)
            self._descriptor = self._open_and_lock()
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

    def verify(self) -> None:
        """Lock the folder again if the lock file was removed or replaced.

        Raises ``JournalInUse`` if another process has locked it since, and ``OSError``.
        """
        held = self._descriptor
        if held is not None and _leads_to(self._path, held):
            return
        try:
            self._descriptor = self._open_and_lock()
        except BlockingIOError as error:
            msg = "another server has opened it"
            raise JournalInUse(msg) from error
        if held is not None:
            os.close(held)

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _open_and_lock(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock_file(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


LOBBY = "lobby"
"""Name of the first room. The lines of a journal from before there were rooms belong to it."""


class LastNumber(NamedTuple):
    """The number *seq* of the last stored line, and its *room*. *at* is the time of the record, in epoch seconds."""

    seq: int
    at: float
    room: str = LOBBY


NO_NUMBER = LastNumber(0, 0.0)


def read_last_number(path: Path) -> LastNumber:
    """Return the number in the file *path*, or ``NO_NUMBER`` if there is no valid one. Raises ``OSError``.

    A crash of the machine soon after the first start may leave an invalid number.
    """
    try:
        with path.open("rb") as file:
            text, at = file.read(10_000), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return NO_NUMBER
    match = re.fullmatch(rb"([0-9]{1,15}) *([^\n]*)\n*", text)  # earlier versions wrote no room, but spaces
    if match is None or int(match[1]) > MAX_SEQ:
        return NO_NUMBER
    return LastNumber(int(match[1]), at, match[2].decode(errors="replace") or LOBBY)


class LastNumberFile:
    """The file *path* beside the journal, which holds the number of the last stored line and the name of its room.

    At first, it holds *number* and *room*. At the next start, it shows whether the journal has lost lines. The number
    is written after each commit, but only ``close`` makes it durable. It survives ``kill -9``. A crash of the machine
    may leave an older number. Then the server notices fewer lost lines, or none.
    """

    def __init__(self, path: Path, number: int, room: str = LOBBY) -> None:
        self._path = path
        self._size = 0
        """Size of the file, in bytes."""
        self._descriptor = self._open()
        try:
            self.write(number, room)
            os.ftruncate(self._descriptor, self._size)  # the file may have been longer
        except BaseException:
            os.close(self._descriptor)
            raise

    def verify(self) -> None:
        """Create the file again if it was removed. Raises ``JournalError`` if it was replaced, and ``OSError``."""
        if _leads_to(self._path, self._descriptor):
            return
        try:
            new = self._open(os.O_EXCL)  # first, so that a failure leaves a valid descriptor
        except FileExistsError as error:
            msg = f"{self._path.name} was replaced"  # the server never overwrites a file that it has not written
            raise JournalError(msg) from error
        os.close(self._descriptor)
        self._descriptor = new

    def write(self, number: int, room: str = LOBBY) -> None:
        """Replace the number and the room. Raises ``OSError``."""
        # One write replaces all of it. A shorter text is followed by line ends, and so the file never gets shorter.
        text = f"{number} {room}\n".encode().ljust(self._size, b"\n")
        _pwrite(self._descriptor, text, 0)
        self._size = len(text)

    def close(self) -> None:
        """Make the number durable and close the file."""
        with suppress(OSError):
            sync_file(self._descriptor)
        os.close(self._descriptor)

    def _open(self, flags: int = 0) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | _O_BINARY | flags, 0o600)


def _leads_to(path: Path, descriptor: int) -> bool:
    """Return whether *path* leads to the file that is open as *descriptor*. Raises ``OSError``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _create_folder(folder: Path) -> None:
    if not folder.is_dir():
        if folder.parent != folder:
            _create_folder(folder.parent)  # mkdir(parents=True) would give the parents the default mode
        folder.mkdir(mode=0o700, exist_ok=True)
