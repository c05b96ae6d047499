"""The process before the reactor runs: how it reports that it cannot start."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from twisted.logger import Logger

from broadcast.core.sanitize import sanitize
from broadcast.server.logging import ProcessLog

_log = Logger()


def format_for_stderr(text: str) -> str:
    """Return *text* as one line for stderr, whatever characters it holds."""
    return f"broadcast: {sanitize(text)}"


def keep_stderr(reactor: Any, twistd: Mapping[str, Any]) -> int | None:  # noqa: ANN401 - as in makeService
    """Return a descriptor of stderr that a daemon still has while it starts, or None if this process is no daemon."""
    if not twistd or twistd.get("nodaemon"):
        return None
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed
        return None
    reactor.callWhenRunning(os.close, stderr)  # the terminal would otherwise never be free of the daemon
    return stderr


def give_up(twistd: Mapping[str, Any], log: ProcessLog | None, stderr: int | None, line: str) -> NoReturn:
    """End the process before the reactor runs, and report *line* to the person who started it.

    *twistd* holds twistd's options. *log* is the log, if it has begun. *stderr* is the result of ``keep_stderr``.

    For an exception, twistd would print a traceback or leave its pid file behind. So this function removes the pid
    file, and reports to twistd's parent process itself.
    """
    if twistd.get("pidfile"):
        with suppress(OSError):
            Path(twistd["pidfile"]).unlink()
    status = twistd.get("statusPipe")
    if status is not None or twistd.get("syslog") or twistd.get("logfile") not in (None, "-"):
        _log.critical("{line}", line=sanitize(line))
        if log is not None:
            log.writer.wait()
    if status is not None:
        if stderr is not None:
            with suppress(OSError):
                os.write(stderr, f"{format_for_stderr(line)}\n".encode())
        # The parent process of a daemon waits for this status, prints its first 100 bytes, and exits with status 1.
        os.write(status, f"1 {line}".encode("ascii", "replace")[:100])
    elif sys.__stderr__ is not None:
        # twistd has redirected sys.stderr to the log.
        sys.__stderr__.write(f"{format_for_stderr(line)}\n")
        sys.__stderr__.flush()
    raise SystemExit(1)
