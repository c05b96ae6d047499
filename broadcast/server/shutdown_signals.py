"""The signals that end the server: one of them is enough, and those that come while it ends change nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from broadcast.core.time_slice import CallSoon

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class ShutdownSignalFilter:
    """Lets the first signal of all those that end the server through to whoever handles it now.

    Twisted's handlers would stop the reactor each time, which logs a traceback where it stops already. *seconds* is how
    long the end takes at most, for the log; *soon* runs a function in a later turn of the reactor.
    """

    _log = Logger()

    def __init__(self, soon: CallSoon, seconds: float) -> None:
        self._soon = soon
        self._seconds = seconds
        self._ending = self._told = False

    def install(self) -> None:
        """Stand in front of the handlers that are there; the reactor has to run, for its own to be among them."""
        for number in _ENDING:
            handler = signal.getsignal(number)
            if callable(handler):  # else it is ignored, as SIGINT is in what a shell has put into the background
                signal.signal(number, partial(self._handle, handler))

    def _handle(self, handler: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        if not self._ending:
            self._ending = True
            handler(number, frame)
        elif not self._told:
            self._told = True
            self._soon(self._tell)

    def _tell(self) -> None:
        self._log.info(
            "Going down already, in {seconds:.0f} seconds at most. SIGKILL ends it at once, and loses nothing that "
            "anybody has read.",
            seconds=self._seconds,
        )
