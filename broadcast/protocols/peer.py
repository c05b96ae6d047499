"""What a session may tell a connection that carries a stream of bytes; shared by the doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address

from broadcast.core.interfaces import View, Wire
from broadcast.core.text import clean

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from broadcast.core.events import Notice
    from broadcast.fanout import Readers
    from broadcast.outlets import Outlet


class StreamPeer:
    """A session's peer: notices to bytes, and the reader's place among the others.

    *wires* gives the wire of a view, the same one each time, so that readers who share a view share a fanout.
    *proceed* and *closed* are called when the session is ready for its next line, and when it has ended.
    """

    def __init__(
        self,
        outlet: Outlet,
        readers: Readers,
        wires: Callable[[View], Wire],
        proceed: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        self.session = 0
        """The id of the session; set before it listens."""
        self.proceed = proceed
        self._outlet = outlet
        self._open = True
        self._readers = readers
        self._wires = wires
        self._wire = wires(View())
        self._closed = closed

    def show(self, *notices: Notice) -> None:
        """Put *notices* at the end of the stream."""
        self.send(b"".join(map(self._wire.encode, notices)))

    def send(self, data: bytes) -> None:
        """Put *data* there."""
        if self._open and data:
            self._outlet.offer(data)

    def listen(self, view: View) -> None:
        """Get what is told to the room, in *view*."""
        self._wire = self._wires(view)
        if self._open:
            self._readers.place(self.session, self._wire, self._outlet)

    def close(self) -> None:
        """Stop listening; deliver everything shown so far, then end the connection."""
        self._readers.remove(self.session)
        if self._open:
            self._open = False
            self._outlet.finish()
        self._closed()

    def lose(self) -> None:
        """The connection is gone: every call goes on being taken, and does nothing."""
        self._readers.remove(self.session)
        self._open = False
        self._outlet.lost()


def whereabouts(address: IAddress) -> str:
    """Where somebody came from, as one line for the log, whatever the address holds."""
    match address:
        case IPv4Address(host=host, port=port) | IPv6Address(host=host, port=port):
            return f"{clean(host)} port {port}"
        case _:
            return "a local socket"
