"""What a session may tell a connection that carries a stream of bytes; shared by the doors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broadcast.core.interfaces import Encoder, View
from broadcast.delivery.subscriber import Subscriber

if TYPE_CHECKING:
    from broadcast.core.events import Notice
    from broadcast.delivery.fanout import Fanout
    from broadcast.net.writers import Writer


class StreamPeer:
    """A session's peer: notices to bytes, for its reader.

    *wires* gives the wire of a view, the same one each time, so that readers who share a view share its rendering.
    *proceed* is called when the session is ready for its next line or the reader has room again, *closed* when the
    session has ended.
    """

    def __init__(
        self,
        fanout: Fanout,
        writer: Writer,
        encoder_for: Callable[[View], Encoder],
        ready_for_line: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.ready_for_line = ready_for_line
        self._fanout = fanout
        self._subscriber = Subscriber(fanout, writer, encoder_for(View()), self._on_writable)
        self._waiting: Callable[[], None] | None = None
        self._open = True
        self._encoder_for = encoder_for
        self._on_closed = on_closed

    def bind_session(self, session: int) -> None:
        """It is the session *session* that this peer is for; once, first."""
        self._subscriber.session = session

    @property
    def congested(self) -> bool:
        """Whether so much waits for this peer alone that nothing should be added."""
        return self._subscriber.congested

    @property
    def lagging(self) -> bool:
        """Whether they have not read everything yet that the system could not take at once."""
        return self._subscriber.lagging

    def send(self, *notices: Notice) -> None:
        """Put *notices* at the end of the stream."""
        self.send_bytes(b"".join(map(self._subscriber.encoder.encode, notices)))

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Put all of *notices* there, each made when there is room for it."""
        if self._open:
            self._subscriber.send_lazily(map(self._subscriber.encoder.encode, notices))

    def send_bytes(self, data: bytes) -> None:
        """Put *data* there."""
        if self._open and data:
            self._subscriber.send(data)

    def subscribe(self, view: View) -> None:
        """Get what is told to the room, in *view*."""
        if self._open:
            self._subscriber.subscribe(self._encoder_for(view))

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* once the peer is not full, in turn with what others wait for."""
        self._waiting = call
        if self._subscriber.congested:
            self.ready_for_line()  # who waits for this peer should know that it is full
        else:
            self._fanout.schedule(self._run_waiting)

    def _on_writable(self) -> None:
        self._run_waiting()
        self.ready_for_line()

    def _run_waiting(self) -> bool:
        if not self._subscriber.congested:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting()
        return False

    def close(self) -> None:
        """Stop listening; deliver everything shown so far, then end the connection."""
        if self._open:
            self._open = False
            self._subscriber.close_when_drained()
        self._on_closed()

    def connection_lost(self) -> None:
        """The connection is gone: every call goes on being taken, and does nothing."""
        self._open = False
        self._subscriber.connection_lost()
        self._run_waiting()
