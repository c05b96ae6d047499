"""The log in JSON format: one flat object per line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, formatEvent
from twisted.python.logfile import LogFile
from twisted.python.reflect import safe_str

from broadcast.core.errors import StartupError

if TYPE_CHECKING:
    from broadcast.core.time_slice import CallSoon

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


def json_log(twistd: Mapping[str, Any], call_soon: CallSoon) -> ILogObserver:
    """Return an observer that writes JSON to stdout or a file, where twistd would write text. Raises ``StartupError``.

    *twistd* holds twistd's options. The file is rotated by size and on SIGUSR1.
    """
    for option in ("logger", "syslog"):
        if twistd.get(option):
            raise StartupError(f"--log-format json writes to stdout or to a file: remove twistd's option --{option}.")
    path = twistd.get("logfile")
    foreground = twistd.get("nodaemon")
    if path == "-" and not foreground:
        raise StartupError("--log-format json: a daemon cannot log to stdout. Give twistd another --logfile, or -n.")
    if path == "-" or (foreground and not path):
        return FileLogObserver(sys.stdout, as_json)
    try:
        file = LogFile.fromFullPath(path or "twistd.log")  # type: ignore[no-untyped-call]
    except OSError as error:
        raise StartupError(f"cannot write the log {path or 'twistd.log'}: {error.strerror or error}.") from error
    with suppress(AttributeError):  # Windows has no such signal
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, lambda _number, _frame: call_soon(file.rotate) and None)
    return FileLogObserver(file, as_json)
