"""What a session may tell a connection that carries a stream of bytes; shared by the doors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broadcast.core.interfaces import View, Wire
from broadcast.delivery.subscriber import Reader

if TYPE_CHECKING:
    from broadcast.core.events import Notice
    from broadcast.delivery.fanout import Fanout
    from broadcast.net.writers import Outlet


class StreamPeer:
    """A session's peer: notices to bytes, for its reader.

    *wires* gives the wire of a view, the same one each time, so that readers who share a view share its rendering.
    *proceed* is called when the session is ready for its next line or the reader has room again, *closed* when the
    session has ended.
    """

    def __init__(
        self,
        fanout: Fanout,
        outlet: Outlet,
        wires: Callable[[View], Wire],
        proceed: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        self.proceed = proceed
        self._fanout = fanout
        self._reader = Reader(fanout, outlet, wires(View()), self._relieved)
        self._waiting: Callable[[], None] | None = None
        self._open = True
        self._wires = wires
        self._closed = closed

    def open(self, session: int) -> None:
        """It is the session *session* that this peer is for; once, first."""
        self._reader.session = session

    @property
    def full(self) -> bool:
        """Whether so much waits for this peer alone that nothing should be added."""
        return self._reader.full

    @property
    def lagging(self) -> bool:
        """Whether they have not read everything yet that the system could not take at once."""
        return self._reader.lagging

    def show(self, *notices: Notice) -> None:
        """Put *notices* at the end of the stream."""
        self.send(b"".join(map(self._reader.wire.encode, notices)))

    def show_each(self, notices: Iterator[Notice]) -> None:
        """Put all of *notices* there, each made when there is room for it."""
        if self._open:
            self._reader.show_each(map(self._reader.wire.encode, notices))

    def send(self, data: bytes) -> None:
        """Put *data* there."""
        if self._open and data:
            self._reader.show(data)

    def listen(self, view: View) -> None:
        """Get what is told to the room, in *view*."""
        if self._open:
            self._reader.listen(self._wires(view))

    def when_roomy(self, call: Callable[[], None]) -> None:
        """Call *call* once the peer is not full, in turn with what others wait for."""
        self._waiting = call
        if self._reader.full:
            self.proceed()  # who waits for this peer should know that it is full
        else:
            self._fanout.in_turn(self._go_on)

    def _relieved(self) -> None:
        self._go_on()
        self.proceed()

    def _go_on(self) -> bool:
        if not self._reader.full:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting()
        return False

    def close(self) -> None:
        """Stop listening; deliver everything shown so far, then end the connection."""
        if self._open:
            self._open = False
            self._reader.finish()
        self._closed()

    def lose(self) -> None:
        """The connection is gone: every call goes on being taken, and does nothing."""
        self._open = False
        self._reader.lost()
        self._go_on()
