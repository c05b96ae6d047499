"""The check of twistd's pid file, with a clear message. twistd's own check, which comes later, prints a traceback."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from broadcast.core.errors import StartupError
from broadcast.core.sanitize import sanitize

_ADVICE: Final = "choose another file with twistd's --pidfile, or none with --pidfile="
_PROGRAMS: Final = frozenset({"twistd", Path(sys.argv[0]).stem})
"""Names of the program that runs servers: Twisted's, and that of this process if it has another one."""

_log = Logger()


def check_pid_file(path: Path) -> None:
    """Check that a server can start with the pid file *path*, and remove a file that a dead server has left.

    Raises ``StartupError`` if a server runs that has written the file, or if the file cannot be written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = None
    except OSError as error:
        raise StartupError(f"cannot read the pid file {path}: {_reason(error)}. {_ADVICE.capitalize()}.") from error
    if content is not None:
        _remove_stale(path, content)
    _try_to_write(path.resolve())  # a symbolic link may lead to a folder that does not exist


def _remove_stale(path: Path, content: bytes) -> None:
    """Remove the pid file *path* with *content*, unless a server runs that may have written it."""
    text = content.strip()
    if not (text.isdigit() and len(text) < 10 and int(text)):
        state = "is empty" if not text else "does not hold a process number"
        raise StartupError(f"the pid file {path} {state}. If no server runs, remove it, or else {_ADVICE}.")
    pid = int(text)
    why = _why_stale(pid)
    if why is None:
        raise StartupError(f"a server is running already: process {pid}, as {path} says. Stop it, or {_ADVICE}.")
    try:
        path.unlink()
    except OSError as error:
        raise StartupError(
            f"cannot remove the old pid file {path}: {_reason(error)}. Remove it, or {_ADVICE}."
        ) from error
    _log.info(
        "Removed {path}, which a dead server has left: process {pid} {why}.", path=sanitize(str(path)), pid=pid, why=why
    )


def _why_stale(pid: int) -> str | None:
    """Return why the process *pid* is not a running server, or None if it may be one."""
    if pid == os.getpid():
        return "is this one"  # numbers begin at 1 again in each container
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "does not exist"
    except OSError:
        pass  # it belongs to another user
    return _why_not_a_server(pid) if sys.platform == "linux" else None


def _why_not_a_server(pid: int) -> str | None:
    """Return why the process *pid* is no server, as Linux describes it, or None if it may be one."""
    process = Path(f"/proc/{pid}")
    with suppress(OSError):
        # The state comes after the name of the program, which is in parentheses and may contain some.
        if (process / "stat").read_bytes().rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"]):
            return "has ended"
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        if _PROGRAMS.isdisjoint(Path(os.fsdecode(argument)).stem for argument in arguments):
            return "is another program"
    return None


def _try_to_write(path: Path) -> None:
    """Raise ``StartupError`` if the file *path*, which does not exist, cannot be created."""
    attempt = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        attempt.write_bytes(b"%d" % os.getpid())
        attempt.unlink()
    except OSError as error:
        with suppress(OSError):
            attempt.unlink()
        raise StartupError(f"cannot write the pid file {path}: {_reason(error)}. {_ADVICE.capitalize()}.") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
