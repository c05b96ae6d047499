"""What the service manager is told, in the words of sd_notify(3): the server is ready, alive, or on its way out."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

SEND_TIMEOUT_SECONDS: Final = 0.1
"""Seconds for which a manager that does not read may hold the reactor."""
MAX_WATCHDOG_SECONDS: Final = 30.0
"""The most seconds between two signs of life, so that the status which comes with them is of some use."""


class SdNotifier:
    """The service manager that *environment* tells of, systemd mostly; where it tells of none, nothing happens.

    No step of the wall clock changes the seconds of *clock*.
    """

    _log = Logger()

    def __init__(self, environment: Mapping[str, str], clock: IReactorTime) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._pause = _pause(environment)
        self._clock = clock
        self._socket: socket.socket | None = None
        self._stopping = self._failed = False

    def ready(self, status: Callable[[], str]) -> None:
        """The start is over. From now on, a manager with a watchdog is shown that the reactor turns, with *status*.

        What hangs stays silent, and is restarted; what does not is left alone.
        """
        self._tell("READY=1")
        if self._address is not None and self._pause is not None:
            self._live(self._pause, status)

    def stopping(self, status: str) -> None:
        """The end has begun; the manager gives it the time that it gives to stops."""
        self._stopping = True
        self._tell(f"STOPPING=1\nSTATUS={status}")
        if self._socket is not None:
            self._socket.close()

    def _live(self, pause: float, status: Callable[[], str]) -> None:
        if not self._stopping:
            self._tell(f"WATCHDOG=1\nSTATUS={status()}")
            self._clock.callLater(pause, self._live, pause, status)

    def _tell(self, what: str) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:  # kept: who is out of file descriptors is alive, and must be able to say so
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(SEND_TIMEOUT_SECONDS)
            self._socket.sendto(what.encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                why = sanitize(error.strerror or str(error))
                self._log.warn(
                    "The service manager cannot be told {what}: {why}.", what=what.partition("\n")[0], why=why
                )


def _address(given: str) -> str | None:
    """Where the manager listens: a path, or a name in the abstract namespace; None: nowhere that is known here."""
    if given.startswith("@"):
        return f"\0{given[1:]}"
    return given if given.startswith("/") else None


def _pause(environment: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life: half of what the watchdog waits for (sd_watchdog_enabled(3)), or None."""
    given = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
    if not (meant and given.isascii() and given.isdigit() and int(given)):
        return None
    return min(int(given) / 2e6, MAX_WATCHDOG_SECONDS)
