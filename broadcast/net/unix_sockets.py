"""Unix sockets, and the users at both ends. Python has none on Windows."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys

if sys.platform == "win32":  # pragma: no cover - coverage is measured on Linux
    UNIX_FAMILY: socket.AddressFamily | None = None

    def unix_socket(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:  # noqa: ARG001 - as below
        """Raise ``OSError``."""
        raise OSError(None, "this system has no unix sockets")

    def own_user() -> int | None:
        """Return None: Windows does not number its users."""
        return None

else:
    UNIX_FAMILY: socket.AddressFamily | None = socket.AF_UNIX

    def unix_socket(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return a new unix socket."""
        return socket.socket(socket.AF_UNIX, kind)

    def own_user() -> int | None:
        """Return the id of the user of this process."""
        return os.geteuid()


def peer_user(connection: socket.socket) -> int | None:
    """Return the id of the user whose process is at the other end of *connection*, or None if that is not known."""
    if hasattr(socket, "SO_PEERCRED"):  # Linux
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    user, group = ctypes.c_uint(), ctypes.c_uint()  # pragma: no cover - macOS and the BSDs
    is_known = ctypes.CDLL(None).getpeereid(connection.fileno(), ctypes.byref(user), ctypes.byref(group)) == 0
    return user.value if is_known else None  # pragma: no cover - macOS and the BSDs
