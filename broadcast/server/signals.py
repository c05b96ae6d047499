"""The handlers of signals: an orderly shutdown, a reload, and log lines instead of an end by mistake."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from broadcast.core.time_slice import CallSoon
    from broadcast.server.log_writer import LogWriter

_SHUTDOWN_SIGNALS: Final = tuple(
    number
    for number in signal.Signals
    if number.name in {"SIGINT", "SIGTERM", "SIGBREAK"}  # Ctrl-Break on Windows
)


class ShutdownSignalFilter:
    """A filter that passes only the first shutdown signal to the installed handler.

    Twisted's handlers stop the reactor at each signal, which logs a traceback if it is stopping already. *seconds* is
    the maximum duration of a shutdown, for the log.
    """

    _log = Logger()

    def __init__(self, call_soon: CallSoon, seconds: float) -> None:
        self._call_soon = call_soon
        self._seconds = seconds
        self._stopping = self._logged = False

    def install(self) -> None:
        """Wrap the installed handlers. Call this while the reactor runs, because it installs its own at its start."""
        for number in _SHUTDOWN_SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # otherwise it is ignored, as SIGINT is in a background job of a shell
                signal.signal(number, partial(self._handle, handler))

    def _handle(self, handler: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            handler(number, frame)
        elif not self._logged:
            self._logged = True
            self._call_soon(self._log_shutdown)

    def _log_shutdown(self) -> None:
        self._log.info(
            "Going down already, in {seconds:.0f} seconds at most. SIGKILL ends it at once, and loses nothing that "
            "anybody has read.",
            seconds=self._seconds,
        )


class ControlSignals:
    """The handlers of the signals that would end the process by default, although their senders want something else.

    ======================  =============================================================================
    SIGHUP                  *reload*; *terminate* if it comes because the controlling terminal has gone
    SIGUSR1                 rotation of the log
    SIGUSR2, SIGALRM        a log line
    ======================  =============================================================================

    A signal that has a handler keeps it, and one that is ignored stays so (nohup). A daemon handles SIGHUP in any case,
    because it has no terminal and ``nohup`` has no other purpose. SIGQUIT stays the signal that writes a core dump.
    Python itself ignores SIGPIPE and SIGXFSZ, and the calls that caused them fail.
    """

    _log = Logger()

    def __init__(
        self,
        call_soon: CallSoon,
        reload: Callable[[], None],
        log_writer: LogWriter | None,
        terminate: Callable[[], None],
        is_daemon: bool,
    ) -> None:
        self._call_soon = call_soon
        self._reload = reload
        self._log_writer = log_writer
        self._terminate = terminate
        self._is_daemon = is_daemon
        self._had_terminal = False

    def install(self) -> None:
        """Install the handlers. Call this after twistd has forked."""
        self._had_terminal = _has_terminal()
        actions: dict[str, Callable[[], None]] = {
            "SIGHUP": self._hang_up,
            "SIGUSR1": self._rotate,
            "SIGUSR2": partial(self._ignore, "SIGUSR2"),
            "SIGALRM": partial(self._ignore, "SIGALRM"),
        }
        for name, action in actions.items():
            if hasattr(signal, name):  # Windows has none of them
                self._install(signal.Signals[name], action)

    def _install(self, number: int, action: Callable[[], None]) -> None:
        before = signal.getsignal(number)
        if before is signal.SIG_DFL or (before is signal.SIG_IGN and self._is_daemon):
            signal.signal(number, lambda _number, _frame: self._call_soon(action))

    def _hang_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            self._log.info("The terminal of the server is gone (SIGHUP).")
            self._terminate()
        else:
            self._reload()

    def _rotate(self) -> None:
        if self._log_writer is not None:
            self._log_writer.rotate()

    def _ignore(self, name: str) -> None:
        self._log.info("Ignoring {name}. SIGTERM stops the server.", name=name)


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal. It has lost it when it gets SIGHUP from the kernel."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)))
    except OSError:
        return False
    return True
