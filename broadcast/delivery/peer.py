"""The peer of a session whose connection carries a stream of bytes; shared by the doors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broadcast.core.interfaces import Encoder, View
from broadcast.delivery.subscriber import Subscriber

if TYPE_CHECKING:
    from broadcast.core.events import Notice
    from broadcast.delivery.subscriber import Registry
    from broadcast.net.writers import Writer


class StreamPeer:
    """A ``core.interfaces.Peer``: encodes notices and passes them to its subscriber.

    *encoder_for* returns the encoder of a view, the same object each time: subscribers with the same encoder share the
    encoded batches. *ready_for_line* is called when the session is ready for its next line, or when the connection is
    no longer congested; *on_closed* is called when the session has ended.
    """

    def __init__(
        self,
        registry: Registry,
        writer: Writer,
        encoder_for: Callable[[View], Encoder],
        ready_for_line: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.ready_for_line = ready_for_line
        self._registry = registry
        self._subscriber = Subscriber(registry, writer, encoder_for(View()), self._on_writable)
        self._waiting: Callable[[], None] | None = None
        self._open = True
        self._encoder_for = encoder_for
        self._on_closed = on_closed

    def bind_session(self, session: int) -> None:
        """Set the id of the session that this peer belongs to; called once, first."""
        self._subscriber.session = session

    @property
    def congested(self) -> bool:
        """Whether so much waits for this peer alone that nothing should be added."""
        return self._subscriber.congested

    @property
    def lagging(self) -> bool:
        """Whether the connection has not accepted everything yet."""
        return self._subscriber.lagging

    def send(self, *notices: Notice) -> None:
        """Put *notices* at the end of the stream."""
        if self._open:
            self._subscriber.send([*map(self._subscriber.encoder.encode, notices)])

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Put *notices* there; each is taken from the iterator when there is room for it."""
        if self._open:
            self._subscriber.send_lazily(map(self._subscriber.encoder.encode, notices))

    def send_bytes(self, data: bytes) -> None:
        """Put *data*, which is no notice but part of the door's own protocol, there."""
        if self._open and data:
            self._subscriber.send((data,))

    def subscribe(self, view: View) -> None:
        """Send the room's events from here on, in *view*."""
        if self._open:
            self._subscriber.subscribe(self._encoder_for(view))

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* once the peer is not congested, in turn with the calls of others."""
        self._waiting = call
        if self._subscriber.congested:
            self.ready_for_line()  # the connection stops reading, now that the peer is congested
        else:
            self._registry.schedule(self._run_waiting)

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
        """Unsubscribe, send everything up to here, then close the connection."""
        if self._open:
            self._open = False
            self._subscriber.close_when_drained()
        self._on_closed()

    def connection_lost(self) -> None:
        """Accept every call from here on, and do nothing: the connection is gone."""
        self._open = False
        self._subscriber.connection_lost()
        self._run_waiting()
