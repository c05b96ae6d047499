"""The signals that shut down the server. The first one counts; later ones change nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from broadcast.core.time_slice import CallSoon

_SHUTDOWN_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
