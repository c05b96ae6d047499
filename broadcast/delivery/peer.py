"""The peer of a session whose connection is a stream of bytes. All doors use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broadcast.core.interfaces import Encoder, Publisher, View
from broadcast.delivery.subscriber import Subscriber

if TYPE_CHECKING:
    from broadcast.core.events import Notice
    from broadcast.delivery.subscriber import Registry
    from broadcast.net.writers import Writer


class StreamPeer:
    """A ``core.interfaces.Peer`` that encodes notices and passes them to its subscriber.

    *encoder_for* returns the encoder of a view. It must return the same object each time, because subscribers with the
    same encoder share the encoded batches. *ready_for_line* is called when the session is ready for its next line, and
    when ``congested`` changes. *on_closed* is called when the session has ended.
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
        """Set the id of the session. Called once, first."""
        self._subscriber.session = session

    @property
    def congested(self) -> bool:
        """Whether the private queue is so large that nothing more should be added."""
        return self._subscriber.congested

    @property
    def lagging(self) -> bool:
        """Whether the connection has not accepted everything yet."""
        return self._subscriber.lagging

    def send(self, *notices: Notice) -> None:
        """Append *notices* to the stream."""
        if self._open:
            self._subscriber.send([*map(self._subscriber.encoder.encode, notices)])

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Append *notices* to the stream. They are taken from the iterator as the connection accepts them."""
        if self._open:
            self._subscriber.send_lazily(map(self._subscriber.encoder.encode, notices))

    def send_bytes(self, data: bytes) -> None:
        """Append *data* to the stream. It belongs to the door's own protocol and is no notice."""
        if self._open and data:
            self._subscriber.send((data,))

    def subscribe(self, publisher: Publisher, view: View) -> None:  # noqa: ARG002
        """Send the next events of the room with *publisher* in *view*, and of no other room."""
        if self._open:
            self._subscriber.subscribe(self._encoder_for(view))

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* once the peer is not congested, in turn with the calls for others."""
        self._waiting = call
        if self._subscriber.congested:
            self.ready_for_line()  # the door finds the peer congested and stops reading
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
        """Do nothing in all later calls, because the connection is gone."""
        self._open = False
        self._subscriber.connection_lost()
        self._run_waiting()

    def release(self) -> None:
        """Drop the callbacks, because the session is over and the connection is gone.

        They belong to the owner of this peer. Without this reference cycle, both are freed at once.
        """
        self.ready_for_line = self._on_closed = _do_nothing


def _do_nothing() -> None:
    pass
