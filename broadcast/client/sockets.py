"""Options of sockets."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Keepalive options, in seconds and probes. They detect a dead idle connection after two minutes.

There is no ``TCP_USER_TIMEOUT``, because it ends a connection whose other side does not read for that time. A server
with rate limits reads slowly. (Linux 6.18: with 120 s, it ended the connection of a pipe of 22 MB to a healthy server.)
"""


def keep_alive(transport: object) -> None:
    """Turn keepalive on, which detects that the other side of *transport* is gone without a word."""
    handle = getattr(transport, "getHandle", lambda: None)()
    if isinstance(handle, socket.socket):
        # A unix socket has no such options, and a system may lack some.
        with suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                if (option := getattr(socket, name, None)) is not None:
                    handle.setsockopt(socket.IPPROTO_TCP, option, value)
