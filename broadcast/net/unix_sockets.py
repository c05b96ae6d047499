"""The user at the other end of a unix socket."""

from __future__ import annotations

import ctypes
import socket
import struct


def peer_user(connection: socket.socket) -> int | None:
    """Return the id of the user whose process is at the other end of *connection*, or None if that is not known."""
    if hasattr(socket, "SO_PEERCRED"):  # Linux
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    user, group = ctypes.c_uint(), ctypes.c_uint()  # pragma: no cover - macOS and the BSDs
    is_known = ctypes.CDLL(None).getpeereid(connection.fileno(), ctypes.byref(user), ctypes.byref(group)) == 0
    return user.value if is_known else None  # pragma: no cover - macOS and the BSDs
