"""A socket in memory, for the writer that sends to sockets directly."""

from __future__ import annotations

import socket
from typing import cast


class FakeSocket:
    """A socket that accepts *room* more bytes, or any number while *room* is None. They arrive in *received*.

    Every call raises *fault*, unless it is None.
    """

    def __init__(self, room: int | None = None) -> None:
        self.received = bytearray()
        self.room = room
        self.fault: OSError | None = None
        self.offers = 0
        """Number of times that bytes were offered."""

    @property
    def handle(self) -> socket.socket:
        """The object itself, with the type that it stands for."""
        return cast(socket.socket, self)

    def send(self, data: bytes) -> int:
        self.offers += 1
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
