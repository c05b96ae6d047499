"""The keepalive options of a TCP socket, which differ between systems. The server and the client share them."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Final

_IDLE: Final = ("TCP_KEEPIDLE", "TCP_KEEPALIVE")
"""Names of the option for the idle time; the second one is that of macOS."""


def set_keepalive(connection: socket.socket, idle: int, interval: int, count: int) -> None:
    """Probe the peer of *connection* after *idle* seconds of silence, then every *interval* seconds, *count* times.

    Options that the system lacks keep their defaults. Nothing happens if the connection is closed or no TCP connection.
    """
    names = {idle_name: idle for idle_name in _IDLE if hasattr(socket, idle_name)}
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Windows before 10 always sends 10 probes. The sockets of asyncio have no ioctl.
        if sys.platform == "win32" and not names and hasattr(connection, "ioctl"):  # pragma: no cover - Windows
            connection.ioctl(socket.SIO_KEEPALIVE_VALS, (1, idle * 1000, interval * 1000))
        for name, value in {**names, "TCP_KEEPINTVL": interval, "TCP_KEEPCNT": count}.items():
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
