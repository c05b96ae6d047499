"""What sockets are told, where they can be told it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""An idle connection that the network has forgotten is lost after two minutes; in seconds, and probes.

No ``TCP_USER_TIMEOUT``: it ends a connection whose other side does not read for so long, and a server reads who sends
much as slowly as its limits say. (Linux 6.18: with 120 s, a pipe of 22 MB was cut off from a server that was well.)
"""


def keep_alive(transport: object) -> None:
    """Notice when the other side of *transport* is gone without a word."""
    handle = getattr(transport, "getHandle", lambda: None)()
    if isinstance(handle, socket.socket):
        # A unix socket has no such options, and a system may lack some.
        with suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                if (option := getattr(socket, name, None)) is not None:
                    handle.setsockopt(socket.IPPROTO_TCP, option, value)
