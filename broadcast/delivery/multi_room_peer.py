"""The peer of a program, which can be in many rooms at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from broadcast.core.interfaces import Encoder, Publisher
from broadcast.delivery.peer import BasePeer
from broadcast.delivery.shared_writer import Share, SharedWriter
from broadcast.delivery.subscriber import Registry, Subscriber

if TYPE_CHECKING:
    from broadcast.core.events import Event, Notice
    from broadcast.net.writers import Writer


class MultiRoomPeer(BasePeer):
    """A peer with a subscriber for each room, and one for the responses. They share the writer of the connection.

    Responses go first: if a response waits, the events of all rooms wait. So a response that was sent before a
    stream is released precedes all events of it. The order between the rooms is not defined.

    The peer is congested while events of a room that it has left wait. So a client that does not read cannot leave many
    rooms behind. The subscriber of the responses belongs to *registry*, the fan-out of any room, but never subscribes.
    """

    def __init__(self, registry: Registry, writer: Writer, ready_for_line: Callable[[], None]) -> None:
        super().__init__(registry.dispatcher, writer, ready_for_line)
        self._shared = SharedWriter(writer)
        self._responses = Subscriber(
            registry, Share(self._shared, goes_first=True), _NoEvents(), self._on_writable, self._private_bytes
        )
        self._session = 0
        self._rooms: dict[Publisher, Subscriber] = {}
        """The subscriber of each room, by the publisher of the room."""
        self._held: set[Subscriber] = set()
        """The subscribers whose events wait for their release."""
        self._ending: dict[Publisher, list[Subscriber]] = {}
        """The subscribers of earlier visits whose events wait, by room. Each one waits for the one before."""
        self._last_lines: tuple[bytes, ...] | None = None
        """The lines that ``close`` sends after the events of all rooms; None before ``close``."""

    def bind_session(self, session: int) -> None:
        """Set the id of the session. Called once, before ``subscribe``."""
        self._session = session

    @property
    def congested(self) -> bool:
        """Whether nothing more should be queued for the peer alone: too much waits, or events of a room it has left."""
        return bool(self._ending) or self._responses.congested

    @property
    def lagging(self) -> bool:
        """Whether the connection has not accepted everything yet."""
        return self._shared.active is not None

    def send(self, *lines: bytes) -> None:
        """Send *lines*, each of which is a whole response or notification, before all events that wait."""
        if self._open:
            self._responses.send(lines)

    def send_bytes(self, data: bytes) -> None:
        """Send *data*, one whole line, as with ``send``."""
        self.send(data)

    def send_in_room(self, publisher: Publisher, line: bytes) -> None:
        """Send *line* after all events of the room with *publisher* up to here. No batch of it may be in delivery.

        If the peer has not subscribed to the room, *line* is sent as with ``send``.
        """
        if self._open:
            self._rooms.get(publisher, self._responses).send((line,))

    def subscribe(self, publisher: Publisher, encoder: Encoder, *, held: bool = False) -> Callable[[], None]:
        """Send the next events of the room with *publisher* as *encoder* encodes them.

        If *held*, they wait until the returned function is called. It does nothing once this stream has ended, even if
        another one of the same room has begun. All peers must use the same encoder for one room, because they share the
        encoded batches.
        """
        if not self._open or publisher in self._rooms:
            return _do_nothing
        registry = cast("Registry", publisher)  # a fan-out is both
        subscriber = Subscriber(registry, Share(self._shared), encoder, self._on_writable, self._private_bytes)
        subscriber.session = self._session
        self._rooms[publisher] = subscriber
        if held:
            self._held.add(subscriber)
            subscriber.hold()
        if publisher in self._ending:
            subscriber.hold()
        subscriber.subscribe(encoder)
        return partial(self._release, subscriber)

    def _release(self, subscriber: Subscriber) -> None:
        if subscriber in self._held:
            self._held.remove(subscriber)
            subscriber.release()

    def unsubscribe(self, publisher: Publisher) -> None:
        """End the stream of the room with *publisher* here. If the room is still held, discard its events."""
        subscriber = self._rooms.pop(publisher, None)
        if subscriber is None:
            return
        if subscriber in self._held:
            self._held.remove(subscriber)
            subscriber.discard()
        elif not subscriber.end(partial(self._on_ended, publisher)):
            self._ending.setdefault(publisher, []).append(subscriber)

    def _on_ended(self, publisher: Publisher) -> None:
        """Continue with the next subscriber of the same room. There is one if the client has joined it again."""
        ending = self._ending[publisher]
        del ending[0]
        following = ending[0] if ending else self._rooms.get(publisher)
        if not ending:
            del self._ending[publisher]
        if following is not None:
            following.release()
        if not self._ending and self._last_lines is not None:
            self._finish(self._last_lines)
        self._on_writable()

    def close(self, *last_lines: bytes) -> None:
        """Unsubscribe from all rooms, send everything up to here and then *last_lines*, and close the connection."""
        if self._open:
            self._open = False
            for publisher in [*self._rooms]:
                self.unsubscribe(publisher)
            if self._ending:
                self._last_lines = last_lines
                self._writer.start_linger()
            else:
                self._finish(last_lines)

    def _finish(self, last_lines: tuple[bytes, ...]) -> None:
        self._responses.send(last_lines)
        self._close_after(self._responses)

    def connection_lost(self) -> None:
        """Discard everything that waits, because the connection is gone. All later calls do nothing."""
        self._open = False
        ending = [subscriber for subscribers in self._ending.values() for subscriber in subscribers]
        for subscriber in (self._responses, *self._rooms.values(), *ending):
            subscriber.discard()
        self._rooms.clear()
        self._held.clear()
        self._ending.clear()
        self._shared.connection_lost()
        self._run_waiting()


def _do_nothing() -> None:
    pass


class _NoEvents:
    """The encoder of the subscriber for responses, which receives no events. Responses are encoded already."""

    def encode(self, _event: Event | Notice) -> bytes:
        """Return no bytes."""
        return b""
