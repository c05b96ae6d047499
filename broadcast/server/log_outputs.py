"""Destinations of the log: the standard output, a file that is rotated, and syslog."""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from broadcast.removable_files import open_removable

ROTATE_BYTES: Final = 1_000_000
"""Size from which a log file is rotated, the same as that of twistd."""
READY_SECONDS: Final = 1.0
"""Maximum time to wait for a non-blocking output, before it is tried again."""


class Output(Protocol):
    """A destination of log lines. The thread of the log calls its methods, which may block and raise ``OSError``."""

    encoding: str

    def write(self, data: bytes) -> int:
        """Write the first bytes of *data*, which is not empty. Return their number."""

    def reopen(self) -> None:
        """Open the destination again, if its name may lead to another file by now."""

    def rotate(self) -> None:
        """Begin a new file and keep the old one, if it is a file."""


class _NoFile:
    """The part of an output that is no file: there is nothing to open again or to rotate."""

    def reopen(self) -> None:
        """Do nothing."""

    def rotate(self) -> None:
        """Do nothing."""


class StandardOutput(_NoFile):
    """The file descriptor of *stream*. Python's buffer for it stays empty, and cannot block the end of the process."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self.encoding = stream.encoding
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)

    def write(self, data: bytes) -> int:
        """Write to the descriptor, which another process may have made non-blocking."""
        written: int | None = self._raw.write(data)
        if written is None:
            select.select([], [self._raw], [], READY_SECONDS)
        return written or 0


class LogFile:
    """The file *path*, which is rotated when it is large: ``path.1`` is the newest of the old files.

    It is opened for appending, so that another program may also truncate it. Raises ``OSError``.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._path = path.absolute()  # twistd may change the working directory
        self._rotate_bytes = rotate_bytes
        self._rotate_at: float = rotate_bytes
        """Size at which the file is rotated next."""
        self._descriptor = open_removable(self._path, _FLAGS | os.O_CREAT, 0o666)

    def write(self, data: bytes) -> int:
        """Write to the file. Rotate it first if it is large."""
        status = os.fstat(self._descriptor)
        if status.st_size >= self._rotate_at and stat.S_ISREG(status.st_mode):
            # After an error, the log continues in this file, which grows by as much again before the next attempt.
            self._rotate_at = status.st_size + self._rotate_bytes
            with suppress(OSError):
                self.rotate()
        return os.write(self._descriptor, data)

    def rotate(self) -> None:
        """Rename the old files and this one, and begin a new one."""
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            return
        if self._was_moved():
            self.reopen()
            return
        pattern = re.compile(re.escape(self._path.name) + r"\.([1-9][0-9]*)")
        names = (pattern.fullmatch(path.name) for path in self._path.parent.iterdir())
        for number in sorted((int(name[1]) for name in names if name), reverse=True):
            self._numbered(number).rename(self._numbered(number + 1))
        self._path.rename(self._numbered(1))
        self._open_again()
        self._rotate_at = self._rotate_bytes

    def reopen(self) -> None:
        """Open the file that has the name now. If another program has moved this one, leave its rotation to it."""
        moved = self._was_moved()
        self._open_again()
        if moved:
            self._rotate_at = inf

    def _was_moved(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return True

    def _open_again(self) -> None:
        """Open the file, or create it with the permissions of the old one."""
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        try:
            descriptor = open_removable(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            descriptor = open_removable(self._path, _FLAGS)
        else:
            self._path.chmod(mode)  # the umask of a daemon is stricter
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class Syslog(_NoFile):
    """The system log. A line begins with its priority, as on the wire: ``<6>text``."""

    encoding = "utf-8"

    def write(self, data: bytes) -> int:
        """Send a line, which must be complete."""
        if sys.platform != "win32":
            import syslog  # noqa: PLC0415 - Windows has no such module

            priority, _, text = data.decode().rstrip("\n").removeprefix("<").partition(">")
            syslog.syslog(int(priority), text.replace("\0", "\\x00"))
        return len(data)


_FLAGS: Final = (
    os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)
"""Flags for a log file. A terminal (``--logfile /dev/tty``) must not become that of a daemon."""
