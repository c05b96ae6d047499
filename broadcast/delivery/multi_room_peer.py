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

    Responses go first: if a response waits, the events of all rooms wait. So a response that was sent before
    ``release`` precedes all events of that room. The order between the rooms is not defined.

    The peer is congested while a room that it has left is not sent to the end. So a client that does not read cannot
    leave many rooms behind. *registry* is that of any room; no event of this room is sent unless it is subscribed.
    """

    def __init__(
        self, registry: Registry, writer: Writer, ready_for_line: Callable[[], None], on_closed: Callable[[], None]
    ) -> None:
        super().__init__(registry.dispatcher, writer, ready_for_line, on_closed)
        self._shared = SharedWriter(writer)
        self._responses = Subscriber(
            registry, Share(self._shared, goes_first=True), _NoEvents(), self._on_writable, self._private_bytes
        )
        self._session = 0
        self._rooms: dict[Registry, Subscriber] = {}
        self._held: set[Registry] = set()
        """The rooms that wait for ``release``."""
        self._ending: dict[Registry, list[Subscriber]] = {}
        """The subscribers of rooms that were left and have not been sent to the end, in this order."""
        self._last_lines: tuple[bytes, ...] | None = None
        """The lines that follow the end of all rooms, after ``close``."""

    def bind_session(self, session: int) -> None:
        """Set the id of the session. Called once, before ``subscribe``."""
        self._session = session

    @property
    def congested(self) -> bool:
        """Whether nothing more should be queued for the peer alone: too much is queued, or a room that it has left."""
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
        """Send *line* after all events of the room with *publisher* up to here, or as with ``send`` without this room.

        No batch of the room may be in delivery.
        """
        if self._open:
            self._rooms.get(cast("Registry", publisher), self._responses).send((line,))

    def subscribe(self, publisher: Publisher, encoder: Encoder, *, held: bool = False) -> None:
        """Send the next events of the room with *publisher* as *encoder* encodes them; if *held*, after ``release``.

        All peers must use the same object for one room, because they share the encoded batches.
        """
        registry = cast("Registry", publisher)  # a fan-out is both
        if not self._open or registry in self._rooms:
            return
        subscriber = Subscriber(registry, Share(self._shared), encoder, self._on_writable, self._private_bytes)
        subscriber.session = self._session
        self._rooms[registry] = subscriber
        if held:
            self._held.add(registry)
            subscriber.hold()
        if registry in self._ending:
            subscriber.hold()
        subscriber.subscribe(encoder)

    def release(self, publisher: Publisher) -> None:
        """Begin to send the events of the room with *publisher*, which was subscribed as held."""
        registry = cast("Registry", publisher)
        if registry in self._held:
            self._held.remove(registry)
            self._rooms[registry].release()

    def unsubscribe(self, publisher: Publisher) -> None:
        """Send no more events of the room with *publisher* than those up to here; none if it is still held."""
        registry = cast("Registry", publisher)
        subscriber = self._rooms.pop(registry, None)
        if subscriber is None:
            return
        if registry in self._held:
            self._held.remove(registry)
            subscriber.discard()
        elif not subscriber.end(partial(self._on_ended, registry)):
            self._ending.setdefault(registry, []).append(subscriber)

    def _on_ended(self, registry: Registry) -> None:
        """Continue with the next subscriber of the same room, if it was joined again."""
        ending = self._ending[registry]
        del ending[0]
        following = ending[0] if ending else self._rooms.get(registry)
        if not ending:
            del self._ending[registry]
        if following is not None:
            following.release()
        if not self._ending and self._last_lines is not None:
            self._finish(self._last_lines)
        self._on_writable()

    def close(self, *last_lines: bytes) -> None:
        """Unsubscribe all rooms, send everything up to here and then *last_lines*, and close the connection."""
        if self._open:
            self._open = False
            for registry in [*self._rooms]:
                self.unsubscribe(cast("Publisher", registry))
            if self._ending:
                self._last_lines = last_lines
                self._writer.start_linger()
            else:
                self._finish(last_lines)
        self._on_closed()

    def _finish(self, last_lines: tuple[bytes, ...]) -> None:
        self._responses.send(last_lines)
        self._close_after(self._responses)

    def connection_lost(self) -> None:
        """Do nothing in all later calls, because the connection is gone."""
        self._open = False
        ending = [subscriber for subscribers in self._ending.values() for subscriber in subscribers]
        for subscriber in (self._responses, *self._rooms.values(), *ending):
            subscriber.discard()
        self._rooms.clear()
        self._held.clear()
        self._ending.clear()
        self._shared.connection_lost()
        self._run_waiting()


class _NoEvents:
    """The encoder of the responses, which are encoded already."""

    def encode(self, _event: Event | Notice) -> bytes:
        """Return nothing."""
        return b""
