"""Notifications to the service manager by sd_notify(3): ready, alive (watchdog), reloading, and stopping."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from broadcast.core.sanitize import sanitize
from broadcast.net.unix_sockets import unix_socket

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

SEND_TIMEOUT_SECONDS: Final = 0.1
"""Maximum time for which a manager that does not read can block the reactor."""
MAX_WATCHDOG_SECONDS: Final = 30.0
"""Maximum time between two watchdog messages, so that their status text is up to date."""


class SdNotifier:
    """The connection to the service manager that *environment* names, usually systemd.

    Without a manager, all methods do nothing. *clock* must be monotonic.
    """

    _log = Logger()

    def __init__(self, environment: Mapping[str, str], clock: IReactorTime) -> None:
        self._address = _parse_address(environment.get("NOTIFY_SOCKET", ""))
        self._interval = _watchdog_interval(environment)
        self._clock = clock
        self._socket: socket.socket | None = None
        self._stopping = self._failed = False

    def ready(self, status: Callable[[], str]) -> None:
        """Report that the start is complete, and from now on feed the manager's watchdog, if any, with *status*.

        The messages come from the reactor thread. If the reactor hangs, they stop, and the manager restarts the server.
        """
        self._send("READY=1")
        if self._address is not None and self._interval is not None:
            self._feed_watchdog(self._interval, status)

    def reloading(self) -> None:
        """Report that the server reads its settings again."""
        if not self._stopping:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Report that the server has read its settings."""
        if not self._stopping:
            self._send("READY=1")

    def stopping(self, status: str) -> None:
        """Report that the shutdown has begun. The manager's stop time-out starts now."""
        self._stopping = True
        self._send(f"STOPPING=1\nSTATUS={status}")
        if self._socket is not None:
            self._socket.close()

    def _feed_watchdog(self, interval: float, status: Callable[[], str]) -> None:
        if not self._stopping:
            self._send(f"WATCHDOG=1\nSTATUS={status()}")
            self._clock.callLater(interval, self._feed_watchdog, interval, status)

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:  # reused, so that a server without free file descriptors can still send
                self._socket = unix_socket(socket.SOCK_DGRAM)
                self._socket.settimeout(SEND_TIMEOUT_SECONDS)
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._log.warn(
                    "Cannot notify the service manager of {what}: {why}. Check the socket in NOTIFY_SOCKET.",
                    what=message.partition("\n")[0],
                    why=sanitize(error.strerror or str(error)),
                )


def _parse_address(value: str) -> str | None:
    """Return the manager's socket: a path, a name in the abstract namespace, or None if the form is unknown."""
    if value.startswith("@"):
        return f"\0{value[1:]}"
    return value if value.startswith("/") else None


def _watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Return half of the watchdog's time-out in seconds (sd_watchdog_enabled(3)), or None without a watchdog."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_for_us = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
    if not (is_for_us and microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        return None
    return min(int(microseconds) / 2e6, MAX_WATCHDOG_SECONDS)
