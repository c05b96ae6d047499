"""One subscriber of a room: its writer receives all bytes of its stream in order, and each only once.

The writer of a *current* subscriber has accepted everything, so batches and replies go to it directly. A subscriber
whose writer accepts only part of something *lags*. It is then a cursor into the replay buffer, and a private queue of
replies, overrides and gap notices. The writer holds the rest of one event. A subscriber is *congested* while its queue
has ``Limits.private_queue_bytes`` or more. If the replay buffer has moved past the cursor, a gap notice is sent.

When the writer accepts more, a lagging subscriber continues in steps. The fan-out runs them in turn with the steps of
other subscribers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from broadcast.delivery.cursor import Cursor
from broadcast.delivery.private_queue import PrivateChunk, PrivateQueue, QueuedBytes, private_chunk

if TYPE_CHECKING:
    from broadcast.core.interfaces import Encoder
    from broadcast.delivery.dispatcher import Dispatcher
    from broadcast.delivery.replay_buffer import PlacedBatch, ReplayBuffer
    from broadcast.net.writers import Send, Sender

LAZY_CHUNK_BYTES: Final = 64 * 1024
"""Approximate number of bytes of a lazy reply that are encoded at once.

The first two chunks are encoded at once, even if the subscriber does not read. By default they hold the whole replay.
"""


class Registry(Protocol):
    """The fan-out, as a subscriber sees it."""

    dispatcher: Dispatcher
    replay_buffer: ReplayBuffer

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber*, which receives the next batches."""

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove *subscriber*."""

    def mark_current(self, subscriber: Subscriber) -> None:
        """Offer the next batches to *subscriber* directly."""

    def mark_behind(self, subscriber: Subscriber) -> PlacedBatch | None:
        """Offer no more batches to *subscriber*. Return the batch in delivery if it was not offered yet, else None."""

    def count_lagging(self, change: int) -> None:
        """Add *change*, 1 or -1, to the number of subscribers that lag."""


class Subscriber:
    """The stream of one connection in one room.

    *on_writable* is called when ``congested`` becomes false. All subscribers of one connection share *private_bytes*,
    the number of bytes in their private queues.
    """

    __slots__ = (
        "_cursor",
        "_dispatcher",
        "_end_offset",
        "_holds",
        "_on_ended",
        "_on_writable",
        "_queue",
        "_replay_buffer",
        "_subscribed",
        "encoder",
        "lagging",
        "registry",
        "session",
        "writer",
    )

    def __init__(
        self,
        registry: Registry,
        writer: Sender,
        encoder: Encoder,
        on_writable: Callable[[], None],
        private_bytes: QueuedBytes | None = None,
    ) -> None:
        self.session = 0
        """Id of the session. It is set before ``subscribe``."""
        self.registry = registry
        self.writer = writer
        self.encoder = encoder
        self.lagging = False
        """True while the writer has not accepted everything."""
        self._dispatcher = registry.dispatcher
        self._replay_buffer = registry.replay_buffer
        self._on_writable = on_writable
        self._on_ended: Callable[[], None] | None = None
        """The function to call at the end of the stream, if ``end`` has set one."""
        self._subscribed = False
        self._holds = 0
        """Number of calls of ``hold`` without ``release``."""
        self._end_offset = 0
        """Offset at which the stream ended, after it was unsubscribed."""
        self._cursor = Cursor(registry.replay_buffer)
        self._queue = PrivateQueue(private_bytes)

    @property
    def congested(self) -> bool:
        """Whether the private queues of the connection are so large that nothing more should be added."""
        return self._queue.total.size >= self._dispatcher.private_queue_bytes

    # Calls from the peer

    def send(self, pieces: Sequence[bytes]) -> None:
        """Append *pieces*, which are encoded notices, to the stream."""
        data = b"".join(pieces)
        if not data:
            return
        accepted = 0 if self.lagging else self._write(data)
        if accepted == len(data):
            return
        chunk = private_chunk(self._replay_buffer.end, self._replay_buffer.seq, pieces)
        if self.lagging:
            self._queue.append(chunk)
        else:
            batch = self.registry.mark_behind(self)
            rest, following = chunk.split(accepted)
            self._write_rest(rest)
            self._start_lagging(batch, following)

    def send_lazily(self, pieces: Iterator[bytes]) -> None:
        """Append *pieces* to the stream. They are produced in groups, each when the one before was accepted."""
        groups = _groups(pieces)
        self.send(next(groups, ()))
        if second := next(groups, ()):
            chunk = private_chunk(self._replay_buffer.end, self._replay_buffer.seq, second, groups)
            if self.lagging:
                self._queue.append(chunk)
            else:
                self._start_lagging(self.registry.mark_behind(self), chunk)
                self._dispatcher.schedule(self._continue)

    def subscribe(self, encoder: Encoder) -> None:
        """Send the next events of the room as *encoder* encodes them. A further call changes the encoder."""
        if self._subscribed:
            self._detach_before_batch()
        else:
            self._subscribed = True
            self._cursor.move_to(self._replay_buffer.end, self._replay_buffer.seq)
            self.registry.subscribe(self)
        self.encoder = encoder
        if not self.lagging:
            self.registry.mark_current(self)

    def hold(self) -> None:
        """Write nothing until each ``hold`` has its ``release``. Call this before ``subscribe``.

        The subscriber lags meanwhile.
        """
        self._holds += 1
        if not self.lagging:
            self._start_lagging(None)

    def release(self) -> None:
        """Undo one ``hold``."""
        self._holds -= 1
        if not self._holds:
            self._dispatcher.schedule(self._continue)

    def end(self, on_ended: Callable[[], None]) -> bool:
        """Unsubscribe. Return whether the writer has accepted everything. If not, call *on_ended* when it has."""
        if self._subscribed:
            self._detach_before_batch()
            self.registry.unsubscribe(self)
            self._subscribed = False
            self._end_offset = self._replay_buffer.end
            if self.lagging:
                # An empty chunk marks the end of the stream, so that a later gap notice does not reach beyond it.
                self._queue.append(private_chunk(self._end_offset, self._replay_buffer.seq, ()))
        if self.lagging:
            self._on_ended = on_ended
        return not self.lagging

    def discard(self) -> None:
        """Unsubscribe, and discard everything that the writer has not accepted."""
        self.registry.mark_behind(self)
        self.registry.unsubscribe(self)
        if self.lagging:
            self.lagging = False
            self.registry.count_lagging(-1)
        self._on_writable = _do_nothing  # a reference cycle with the peer would delay freeing both
        self._on_ended = None
        self._queue.clear()

    def _detach_before_batch(self) -> None:
        """Leave the current subscribers. If the batch in delivery has not been offered yet, lag from its start."""
        if (batch := self.registry.mark_behind(self)) is not None:
            self._start_lagging(batch)
            self._dispatcher.schedule(self._continue)
            self.registry.mark_behind(self)  # the step may have run, caught up, and marked it as current

    # Calls from the fan-out

    def send_batch(self, batch: PlacedBatch) -> bool:
        """Send *batch*, which has overrides for this current subscriber. Return whether all of it was accepted."""
        encoded = batch.encoded(self.encoder)
        payload, ends = encoded.payload, encoded.ends
        parts: list[bytes] = []
        start = 0
        shared_events = encoded.shown
        for index, override in batch.overrides[self.session]:
            end = ends[index - 1] if index else 0
            if start < end:
                parts.append(payload[start:end])
            if override is not None:
                parts.append(self.encoder.encode(override))
            start = ends[index]
            shared_events -= start > end  # one less, unless the view hides the event anyway
        if start < len(payload):
            parts.append(payload[start:])
        # Joining costs less than one sendmsg with all parts, unless the batch is very large.
        data = b"".join(parts)
        accepted = self._write(data) if data else 0
        if accepted == len(data):
            self._dispatcher.deliveries += shared_events
            return True
        self.fall_behind(batch, accepted)
        return False

    def queue_overrides(self, batch: PlacedBatch) -> None:
        """Queue the overrides of *batch* for this lagging subscriber."""
        for index, override in batch.overrides.get(self.session, ()):
            if override is not None:
                piece = self.encoder.encode(override)
                self._queue.append(private_chunk(batch.start + index, batch.seq_before(index), (piece,)))

    def fall_behind(self, batch: PlacedBatch, accepted: int) -> None:
        """Lag from byte *accepted* of *batch* on, because the writer did not accept more.

        The accepted bytes are sent again to a function that only counts them. This moves the cursor past them.
        """
        self._start_lagging(batch)

        def count_accepted(data: bytes) -> int:
            nonlocal accepted
            count = min(accepted, len(data))
            accepted -= count
            return count

        while self._send_next(count_accepted):
            pass

    # Lagging

    def _start_lagging(self, batch: PlacedBatch | None, chunk: PrivateChunk | None = None) -> None:
        """Lag from the start of *batch*, or from the end of the stream if it is None. *chunk* comes first."""
        self.lagging = True
        self.registry.count_lagging(1)
        if batch is None:
            self._cursor.move_to(self._replay_buffer.end, self._replay_buffer.seq)
        else:
            self._cursor.move_to(batch.start, batch.seq)
        if chunk is not None and chunk.data:
            self._queue.append(chunk._replace(offset=self._cursor.offset, seq=self._cursor.seq))
        if batch is not None:
            self.queue_overrides(batch)

    def _writer_drained(self) -> None:
        self._dispatcher.schedule(self._continue)

    def _continue(self) -> bool:
        """Send the next piece. Return whether another one is left and the writer may accept it."""
        if not self.lagging or self._holds:
            return False
        was_congested = self.congested
        accepted = self._send_next(self._write)
        if was_congested and not self.congested:
            self._on_writable()
        return accepted and self.lagging

    def _send_next(self, send: Send) -> bool:
        """Pass the next piece of the stream to *send*. Return whether all of it was accepted and more may follow."""
        cursor, queue = self._cursor, self._queue
        end = self._replay_buffer.end if self._subscribed else self._end_offset
        if queue.is_due(cursor.offset):
            return self._send_chunk(queue.pop(), send)
        if cursor.offset >= end:
            if queue:
                cursor.offset = queue.first.offset  # the events before it are not for this subscriber
                return True
            self._stop_lagging()
            return False
        if cursor.has_gap:
            return self._send_gap(send)
        return self._send_run(min(end, queue.first.offset) if queue else end, send)

    def _stop_lagging(self) -> None:
        """Become current again, or report that the stream has ended."""
        self.lagging = False
        self.registry.count_lagging(-1)
        self.writer.stop_drain()
        if self._subscribed:
            self.registry.mark_current(self)
        on_ended, self._on_ended = self._on_ended, None
        if on_ended is not None:
            on_ended()

    def _send_gap(self, send: Send) -> bool:
        """Move the cursor to the start of the replay buffer, or to a chunk before it, and send a gap notice.

        The encoder returns no bytes if it does not report a gap without stored events.
        """
        if self._queue.is_due(self._replay_buffer.start - 1):
            offset, seq = self._queue.first.offset, self._queue.first.seq
        else:
            offset, seq = self._replay_buffer.start, self._replay_buffer.seq_before
        gap = self._cursor.skip_to(offset, seq)
        self._dispatcher.missed_messages += gap.last - gap.first + 1
        notice = self.encoder.encode(gap)
        return self._send_chunk(private_chunk(offset, seq, (notice,)), send) if notice else True

    def _send_run(self, end: int, send: Send) -> bool:
        """Send shared events up to the offset *end*, which is excluded."""
        run = self._cursor.next_run(end, self.session, self.encoder)
        data = run.data
        accepted = send(data) if data else 0
        if accepted == len(data):
            self._cursor.advance(run.end)
            return True
        rest, offset = run.split(accepted)
        self._cursor.advance(offset)
        self._write_rest(rest)
        return False

    def _send_chunk(self, chunk: PrivateChunk, send: Send) -> bool:
        """Send *chunk*. Put the rest back: the pieces that were not accepted, or the next group of a lazy reply."""
        accepted = send(chunk.data)
        is_whole = accepted == len(chunk.data)
        if not is_whole:
            rest, chunk = chunk.split(accepted)
            self._write_rest(rest)
        if is_whole or not chunk.data:
            chunk = private_chunk(chunk.offset, chunk.seq, next(chunk.more, ()), chunk.more)
        if chunk.data:
            self._queue.put_back(chunk._replace(offset=self._cursor.offset, seq=self._cursor.seq))
        return is_whole

    def _write(self, data: bytes) -> int:
        try:
            accepted = self.writer.send(data)
        except OSError as error:
            return self.writer.send_failed(error)
        self._dispatcher.sent_bytes += accepted
        return accepted

    def _write_rest(self, rest: bytes) -> None:
        """Give *rest* to the writer, which has accepted the bytes before it. The writer sends it later."""
        self._dispatcher.sent_bytes += len(rest)
        self.writer.write_rest(rest, self._writer_drained)


def _do_nothing() -> None:
    pass


def _groups(pieces: Iterator[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield *pieces* in groups of about ``LAZY_CHUNK_BYTES``."""
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= LAZY_CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
