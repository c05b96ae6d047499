"""The peers of sessions whose connection is a stream of bytes. All doors use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from broadcast.core.interfaces import Encoder, Publisher, View
from broadcast.delivery.private_queue import QueuedBytes
from broadcast.delivery.subscriber import Registry, Subscriber

if TYPE_CHECKING:
    from broadcast.core.events import Notice
    from broadcast.delivery.dispatcher import Dispatcher
    from broadcast.net.writers import Writer


class BasePeer:
    """The part of a peer that does not depend on its rooms.

    *ready_for_line* is called when the session is ready for its next line, and when ``congested`` changes.
    """

    def __init__(self, dispatcher: Dispatcher, writer: Writer, ready_for_line: Callable[[], None]) -> None:
        self.ready_for_line = ready_for_line
        self._dispatcher = dispatcher
        self._writer = writer
        self._private_bytes = QueuedBytes()
        self._waiting: Callable[[], None] | None = None
        self._open = True

    @property
    def congested(self) -> bool:
        """Whether the peer reads so slowly that nothing more should be queued for it alone."""
        raise NotImplementedError

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* once the peer is not congested, in turn with the calls for others."""
        self._waiting = call
        if self.congested:
            self.ready_for_line()  # the door finds the peer congested and stops reading
        else:
            self._dispatcher.schedule(self._run_waiting)

    def _on_writable(self) -> None:
        if not self.congested:
            self._run_waiting()
            self.ready_for_line()

    def _run_waiting(self) -> bool:
        if not self.congested:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting()
        return False

    def _close_after(self, subscriber: Subscriber) -> None:
        """Close the connection once the writer has accepted all of the stream of *subscriber*."""
        if subscriber.end(self._writer.close):
            self._writer.close()
        else:
            self._writer.start_linger()

    def drop_callbacks(self) -> None:
        """Drop the callbacks, because the session is over and the connection is gone.

        They lead to the owner of this peer. Without this reference cycle, the owner and the peer are freed at once.
        """
        self.ready_for_line = _do_nothing


class StreamPeer(BasePeer):
    """A ``core.interfaces.Peer`` that is in one room at a time. It encodes notices and passes them to its subscriber.

    Until it subscribes, the subscriber belongs to *registry*. A further room has a subscriber of its own. If the
    connection has not accepted everything from the room before, that subscriber goes on first, and the new one waits
    for its end. While two rooms wait, the peer is congested. So a client that does not read cannot leave many behind.

    *encoder_for* returns the encoder of a view. It must return the same object each time, because subscribers with the
    same encoder share the encoded batches. *on_closed* is called when the session has ended.
    """

    def __init__(
        self,
        registry: Registry,
        writer: Writer,
        encoder_for: Callable[[View], Encoder],
        ready_for_line: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        super().__init__(registry.dispatcher, writer, ready_for_line)
        self._encoder_for = encoder_for
        self._on_closed = on_closed
        self._subscriber = self._new_subscriber(registry, encoder_for(View()))
        self._ending: tuple[Subscriber, ...] = ()
        """The subscribers of earlier rooms that have not been sent everything. Each one waits for the one before."""

    def _new_subscriber(self, registry: Registry, encoder: Encoder) -> Subscriber:
        return Subscriber(registry, self._writer, encoder, self._on_writable, self._private_bytes)

    def bind_session(self, session: int) -> None:
        """Set the id of the session. Called once, first."""
        self._subscriber.session = session

    @property
    def congested(self) -> bool:
        """Whether nothing more should be queued for the peer alone: too much waits, or events of two earlier rooms."""
        return len(self._ending) > 1 or self._private_bytes.size >= self._dispatcher.private_queue_bytes

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

    def subscribe(self, publisher: Publisher, view: View) -> None:
        """Send the next events of the room with *publisher* in *view*, and no more of any other room."""
        if self._open:
            encoder = self._encoder_for(view)
            registry = cast("Registry", publisher)  # a fan-out is both
            if registry is not self._subscriber.registry:
                self._move_to(registry, encoder)
            self._subscriber.subscribe(encoder)

    def _move_to(self, registry: Registry, encoder: Encoder) -> None:
        before = self._subscriber
        self._subscriber = self._new_subscriber(registry, encoder)
        self._subscriber.session = before.session
        if not before.end(self._on_ended):
            self._ending = (*self._ending, before)
            self._subscriber.hold()

    def _on_ended(self) -> None:
        """Continue with the next subscriber: the connection has accepted everything from the room before."""
        self._ending = self._ending[1:]
        (self._ending[0] if self._ending else self._subscriber).release()
        self._on_writable()

    def take_writer(self) -> Writer | None:
        """Give the writer to another peer, and do nothing in all later calls.

        Return None, and change nothing, if the connection has not accepted everything yet.
        """
        if self._subscriber.lagging:
            return None
        self._open = False
        self._subscriber.discard()
        self.drop_callbacks()
        return self._writer

    def close(self) -> None:
        """Unsubscribe, send everything up to here, then close the connection."""
        if self._open:
            self._open = False
            self._close_after(self._subscriber)
        self._on_closed()

    def drop_callbacks(self) -> None:
        """Drop the callbacks; see ``BasePeer``."""
        super().drop_callbacks()
        self._on_closed = _do_nothing

    def connection_lost(self) -> None:
        """Discard everything that waits, because the connection is gone. All later calls do nothing."""
        self._open = False
        for subscriber in (*self._ending, self._subscriber):
            subscriber.discard()
        self._ending = ()
        self._writer.connection_lost()
        self._run_waiting()


def _do_nothing() -> None:
    pass
