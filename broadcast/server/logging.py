"""The log as JSON: a flat object a line, whatever is in it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, formatEvent
from twisted.python.logfile import LogFile
from twisted.python.reflect import safe_str

from broadcast.core.errors import StartupError

if TYPE_CHECKING:
    from broadcast.core.time_slice import CallSoon

OWN: Final = ("time", "level", "system", "message", "traceback")
"""The names that are in every object, or would be; what an event calls so itself is left out."""
LEGACY: Final = {"isError", "format", "failure", "debug", "log_legacy"}
"""What ``twisted.python.log`` puts into its events for itself."""

Plain: TypeAlias = str | int | float | None


def as_json(event: LogEvent) -> str:
    """*event* as one line of ASCII with its end; empty where it says nothing. Never raises.

    Its fields are those that the event brings and that are plain: texts, numbers, true, false, null. Whatever it
    holds, ``json`` escapes line ends, control characters and all that is not ASCII.
    """
    message, traceback = formatEvent(event), _traceback(event)
    if traceback is not None and "log_text" in event and not event.get("message"):
        # twisted.python.log has put the traceback into its text.
        message = safe_str(event.get("why") or "Unhandled Error")
    if not message and traceback is None:
        return ""
    shown: dict[str, Plain] = {
        "time": _time(event.get("log_time")),
        "level": getattr(event.get("log_level"), "name", None),
        "system": safe_str(event.get("log_system") or event.get("log_namespace") or "-"),
        "message": message,
    }
    if traceback is not None:
        shown["traceback"] = traceback
    for name, value in event.items():
        # A value that is the whole message would only stand there twice.
        if name not in OWN and name not in LEGACY and not name.startswith("log_") and value != message:
            if isinstance(value, float) and not isfinite(value):
                shown[name] = str(value)  # JSON has no such numbers
            elif isinstance(value, int) and value.bit_length() > 63:
                continue  # nor do those who read it have these
            elif isinstance(value, str | int | float | None):
                shown[name] = value
    return json.dumps(shown) + "\n"


def _time(seconds: object) -> str | None:
    """ISO 8601, in UTC, to the millisecond."""
    if not isinstance(seconds, int | float):
        return None
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(event: LogEvent) -> str | None:
    failure = event.get("log_failure") or (event.get("failure") if event.get("isError") else None)
    if failure is None:
        return None
    try:
        return str(failure.getTraceback())
    except Exception as error:  # noqa: BLE001 - it may have parts that cannot be shown; that it failed is told anyway
        return f"(no traceback: {type(error).__name__})"


def json_log(twistd: Mapping[str, Any], soon: CallSoon) -> ILogObserver:
    """An observer that writes JSON where twistd, with these options of its own, would write text.

    That is stdout, or a file that is rotated by its size and on SIGUSR1. Raises ``CannotStart``.
    """
    for option in ("logger", "syslog"):
        if twistd.get(option):
            raise StartupError(f"--log-format json writes to stdout or to a file: leave out twistd's --{option}.")
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
            signal.signal(signal.SIGUSR1, lambda _number, _frame: soon(file.rotate) and None)
    return FileLogObserver(file, as_json)
