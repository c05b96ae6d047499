"""A socket in memory, for the writer that sends to sockets directly."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import cast

from broadcast.net.writers import Bytes

_MAX_PARTS = 1024
"""Maximum number of parts of one ``sendmsg``: IOV_MAX of Linux and macOS."""


class FakeSocket:
    """A socket that accepts *room* more bytes, or any number while *room* is None. They arrive in *received*.

    Every call raises *fault*, unless it is None.
    """

    def __init__(self, room: int | None = None) -> None:
        self.received = bytearray()
        self.room = room
        self.fault: OSError | None = None
        self.sends = self.sendmsgs = 0
        """Number of calls of each."""

    @property
    def offers(self) -> int:
        """Number of times that bytes were offered."""
        return self.sends + self.sendmsgs

    @property
    def handle(self) -> socket.socket:
        """The object itself, with the type that it stands for."""
        return cast(socket.socket, self)

    def send(self, data: Bytes) -> int:
        self.sends += 1
        return self._accept(data)

    def sendmsg(self, parts: Sequence[Bytes]) -> int:
        self.sendmsgs += 1
        assert len(parts) <= _MAX_PARTS
        return self._accept(b"".join(parts))

    def _accept(self, data: Bytes) -> int:
        if self.fault is not None:
            raise self.fault
        if self.room is None:
            self.received += data
            return len(data)
        if data and not self.room:
            raise BlockingIOError
        accepted = min(self.room, len(data))
        self.received += data[:accepted]
        self.room -= accepted
        return accepted
