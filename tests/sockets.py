"""A socket that takes what the test says, for the outlet that sends to it directly."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import cast

from broadcast.net.writers import Bytes

_MOST_PIECES = 1024
"""IOV_MAX of Linux and macOS."""


class FakeSocket:
    """What is sent arrives in *received*, as far as there is *room*: so many bytes more, None for any number.

    While there is a *fault*, every call raises it.
    """

    def __init__(self, room: int | None = None) -> None:
        self.received = bytearray()
        self.room = room
        self.fault: OSError | None = None
        self.sends = self.sendmsgs = 0
        """How often each was called."""

    @property
    def offers(self) -> int:
        """How often it was offered anything."""
        return self.sends + self.sendmsgs

    @property
    def handle(self) -> socket.socket:
        """This, as what it stands for."""
        return cast(socket.socket, self)

    def send(self, data: Bytes) -> int:
        self.sends += 1
        return self._take(data)

    def sendmsg(self, parts: Sequence[Bytes]) -> int:
        self.sendmsgs += 1
        assert len(parts) <= _MOST_PIECES
        return self._take(b"".join(parts))

    def _take(self, data: Bytes) -> int:
        if self.fault is not None:
            raise self.fault
        if self.room is None:
            self.received += data
            return len(data)
        if data and not self.room:
            raise BlockingIOError
        taken = min(self.room, len(data))
        self.received += data[:taken]
        self.room -= taken
        return taken
