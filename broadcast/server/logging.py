"""The log of the process: its format, text or JSON (one flat object per line), and its destination."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, Final, cast

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    formatEvent,
    textFileLogObserver,
)
from twisted.python.reflect import safe_str

from broadcast.core.errors import StartupError
from broadcast.server.log_limit import RepeatLimit
from broadcast.server.log_outputs import LogFile, StandardOutput, Syslog
from broadcast.server.log_writer import LogWriter

if TYPE_CHECKING:
    from broadcast.server.log_outputs import Output

OWN_FIELDS: Final = ("time", "level", "system", "message", "traceback")
"""Fields that this module sets. Fields of an event with the same name are left out."""
LEGACY_FIELDS: Final = {"isError", "format", "failure", "debug", "log_legacy"}
"""Fields that ``twisted.python.log`` adds to its events for its own use."""


def as_json(event: LogEvent) -> str:
    """Return *event* as one line of ASCII with a line end, or an empty string if it has no message. Never raises.

    The object holds those fields of the event that are strings, numbers, booleans or None. ``json`` escapes line ends,
    control characters and all non-ASCII characters.
    """
    message, traceback = formatEvent(event), _format_traceback(event)
    if traceback is not None and "log_text" in event and not event.get("message"):
        # twisted.python.log has put the traceback into the message.
        message = safe_str(event.get("why") or "Unhandled Error")
    if not message and traceback is None:
        return ""
    fields: dict[str, str | int | float | None] = {
        "time": _format_time(event.get("log_time")),
        "level": getattr(event.get("log_level"), "name", None),
        "system": safe_str(event.get("log_system") or event.get("log_namespace") or "-"),
        "message": message,
    }
    if traceback is not None:
        fields["traceback"] = traceback
    for name, value in event.items():
        # A value that equals the message would only repeat it.
        if name not in OWN_FIELDS and name not in LEGACY_FIELDS and not name.startswith("log_") and value != message:
            if isinstance(value, float) and not isfinite(value):
                fields[name] = str(value)  # JSON has no infinity and no NaN
            elif isinstance(value, int) and value.bit_length() > 63:
                continue  # many JSON parsers only have 64-bit integers
            elif isinstance(value, str | int | float | None):
                fields[name] = value
    return json.dumps(fields) + "\n"


def _format_time(seconds: object) -> str | None:
    """Return the time in ISO 8601, in UTC, with milliseconds, or None if it is not a valid time."""
    if not isinstance(seconds, int | float):
        return None
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _format_traceback(event: LogEvent) -> str | None:
    failure = event.get("log_failure") or (event.get("failure") if event.get("isError") else None)
    if failure is None:
        return None
    try:
        return str(failure.getTraceback())
    except Exception as error:  # noqa: BLE001 - it formats objects of any class; the failure itself is logged anyway
        return f"(no traceback: {type(error).__name__})"


@dataclass(frozen=True, slots=True)
class ProcessLog:
    """The log of the process."""

    observer: ILogObserver
    writer: LogWriter


def open_log(twistd: Mapping[str, Any], log_format: str) -> ProcessLog | None:
    """Return the log that twistd's options *twistd* describe, or None for twistd's ``--logger``, which is another one.

    It goes where twistd would write it, but through a ``LogWriter``. Raises ``StartupError``.
    """
    if log_format == "json":
        for option in ("logger", "syslog"):
            if twistd.get(option):
                raise StartupError(
                    f"--log-format json writes to stdout or to a file: remove twistd's option --{option}."
                )
    if twistd.get("logger"):
        return None
    observer: ILogObserver
    if twistd.get("syslog"):
        writer = LogWriter(Syslog())
        observer = _syslog_observer(writer, twistd["prefix"])
    else:
        writer = LogWriter(_open_output(twistd.get("logfile") or "", bool(twistd.get("nodaemon"))))
        file = cast("IO[Any]", writer)
        observer = FileLogObserver(file, as_json) if log_format == "json" else textFileLogObserver(file)
    return ProcessLog(RepeatLimit(observer, monotonic), writer)


def _open_output(path: str, foreground: bool) -> Output:
    """Return standard output or the log file, as twistd chooses."""
    if path == "-" and not foreground:
        raise StartupError("a daemon cannot log to stdout: give twistd another --logfile, or -n.")
    if path == "-" or (foreground and not path):
        # Python has no stdout if its descriptor is closed. Another file can have the number 1 by now.
        return LogFile(Path(os.devnull)) if sys.stdout is None else StandardOutput(sys.stdout)
    path = path or "twistd.log"
    try:
        return LogFile(Path(path))
    except OSError as error:
        raise StartupError(
            f"cannot write the log {path}: {error.strerror or error}. Choose another file with twistd's --logfile."
        ) from error


def _syslog_observer(writer: LogWriter, prefix: str) -> ILogObserver:
    """Return Twisted's observer for syslog, with *writer* in place of the call that may block."""
    from twisted.python.syslog import SyslogObserver  # noqa: PLC0415 - Windows has no syslog

    observer = SyslogObserver(prefix)  # type: ignore[no-untyped-call]
    observer.syslog = lambda priority, text: writer.write(f"<{priority}>{text}\n")
    return LegacyLogObserverWrapper(cast(Any, observer.emit))
