"""One subscriber of a room: its bytes go to its writer in order, whole, and once.

A *current* subscriber owes nothing: batches and replies go straight to its writer. A subscriber whose writer accepts
only part of something *lags*. It is then a cursor into the replay buffer, and a queue of what is for it alone, of at
most ``Limits.private_queue_bytes``. Besides these it costs the rest of one event, which its writer holds. Where the
replay buffer has moved past the cursor, the subscriber is sent a gap notice.

When the writer accepts more, a lagging subscriber goes on in steps. The fan-out schedules them, in turn with those of
all others.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from broadcast.delivery.cursor import Cursor
from broadcast.delivery.private_queue import PrivateChunk, PrivateQueue, private_chunk

if TYPE_CHECKING:
    from broadcast.core.interfaces import Encoder
    from broadcast.delivery.replay_buffer import PlacedBatch, ReplayBuffer
    from broadcast.net.writers import Bytes, Send, Writer

LAZY_CHUNK_BYTES: Final = 64 * 1024
"""About how many bytes of a lazy reply are encoded at once.

The first two chunks are encoded in any case. By default they hold all that a newcomer is sent, however slowly it reads.
"""

_DISCONNECTED: Final = frozenset(
    {
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
)
"""The errors of a connection that neither side has closed (send(2), tcp(7))."""


class Registry(Protocol):
    """What a subscriber needs of the fan-out that serves it."""

    replay_buffer: ReplayBuffer
    private_queue_bytes: int
    """The size from which a private queue is congested."""
    sent_bytes: int
    deliveries: int
    missed_messages: int

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber*: batches from here on are for it."""

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove *subscriber*."""

    def mark_current(self, subscriber: Subscriber) -> None:
        """Offer the next batches to *subscriber* directly."""

    def mark_behind(self, subscriber: Subscriber) -> PlacedBatch | None:
        """Offer it no more batches, and return the batch under way if *subscriber* has not been offered that."""

    def schedule(self, step: Callable[[], bool]) -> None:
        """Call *step* in turn with those of others, again for as long as it returns True."""


class Subscriber:
    """One peer's stream. *on_writable* is called when there is room again after ``congested``."""

    def __init__(self, registry: Registry, writer: Writer, encoder: Encoder, on_writable: Callable[[], None]) -> None:
        self.session = 0
        """The session's id; set before ``subscribe``."""
        self.writer = writer
        self.encoder = encoder
        self.lagging = False
        self._registry = registry
        self._replay_buffer = registry.replay_buffer
        self._on_writable = on_writable
        self._subscribed = False
        self._closing = False
        self._end_offset = 0
        self._cursor = Cursor(registry.replay_buffer)
        self._queue = PrivateQueue()

    @property
    def congested(self) -> bool:
        """Whether so much waits for this subscriber alone that nothing should be added."""
        return self._queue.size >= self._registry.private_queue_bytes

    # Calls from the peer

    def send(self, pieces: Sequence[bytes]) -> None:
        """Put *pieces* (encoded notices) at the end of the stream."""
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
            batch = self._registry.mark_behind(self)
            rest, following = chunk.split(accepted)
            self._write_rest(rest)
            self._start_lagging(batch, following)

    def send_lazily(self, pieces: Iterator[bytes]) -> None:
        """Put *pieces* there; each is encoded when those before it have been accepted."""
        groups = _groups(pieces)
        self.send(next(groups, ()))
        if second := next(groups, ()):
            chunk = private_chunk(self._replay_buffer.end, self._replay_buffer.seq, second, groups)
            if self.lagging:
                self._queue.append(chunk)
            else:
                self._start_lagging(self._registry.mark_behind(self), chunk)
                self._registry.schedule(self._continue)

    def subscribe(self, encoder: Encoder) -> None:
        """Send the room's events from here on, as *encoder* encodes them. Call it again to change the encoder."""
        if self._subscribed:
            self._detach_before_batch()
        else:
            self._subscribed = True
            self._cursor.move_to(self._replay_buffer.end, self._replay_buffer.seq)
            self._registry.subscribe(self)
        self.encoder = encoder
        if not self.lagging:
            self._registry.mark_current(self)

    def close_when_drained(self) -> None:
        """Send everything up to here, then close."""
        self._unsubscribe()
        if self.lagging:
            self._closing = True
            self.writer.start_linger()
        else:
            self.writer.close()

    def connection_lost(self) -> None:
        """Forget everything: the connection is gone."""
        self._registry.mark_behind(self)
        self._registry.unsubscribe(self)
        self.lagging = False
        self._queue.clear()
        self.writer.connection_lost()

    def _unsubscribe(self) -> None:
        """End the stream after the events up to here."""
        if self._subscribed:
            self._detach_before_batch()
            self._registry.unsubscribe(self)
            self._subscribed = False
            self._end_offset = self._replay_buffer.end
            if self.lagging:
                # An empty chunk marks the end: a gap that the replay buffer leaves later does not reach beyond it.
                self._queue.append(private_chunk(self._end_offset, self._replay_buffer.seq, ()))

    def _detach_before_batch(self) -> None:
        """Leave the current subscribers; if the batch under way was not offered yet, lag from its start."""
        if (batch := self._registry.mark_behind(self)) is not None:
            self._start_lagging(batch)
            self._registry.schedule(self._continue)
            self._registry.mark_behind(self)

    # Calls from the fan-out

    def send_batch(self, batch: PlacedBatch) -> bool:
        """Send *batch*, which has overrides for this current subscriber; return whether all of it was accepted."""
        encoded = batch.encoded(self.encoder)
        view = memoryview(encoded.payload)
        parts: list[Bytes] = []
        start = 0
        shown = encoded.shown
        for index, override in batch.overrides[self.session]:
            end = encoded.start_of(index)
            parts.append(view[start:end])
            if override is not None:
                parts.append(self.encoder.encode(override))
            start = encoded.ends[index]
            shown -= start > end
        parts.append(view[start:])
        parts = [part for part in parts if part]
        try:
            accepted = self.writer.send_parts(parts) if parts else 0
        except OSError as error:
            accepted = self.send_failed(error)
        self._registry.sent_bytes += accepted
        if accepted == sum(map(len, parts)):
            self._registry.deliveries += shown
            return True
        self.fall_behind(batch, accepted)
        return False

    def queue_overrides(self, batch: PlacedBatch) -> None:
        """Queue the overrides that *batch* has for this lagging subscriber."""
        for index, override in batch.overrides.get(self.session, ()):
            if override is not None:
                piece = self.encoder.encode(override)
                self._queue.append(private_chunk(batch.start + index, batch.seq_before(index), (piece,)))

    def fall_behind(self, batch: PlacedBatch, accepted: int) -> None:
        """Lag from the byte *accepted* of *batch* on: the writer accepted only that many."""
        self._start_lagging(batch)

        def count_accepted(data: bytes) -> int:
            nonlocal accepted
            count = min(accepted, len(data))
            accepted -= count
            return count

        while self._send_next(count_accepted):
            pass

    def send_failed(self, error: OSError) -> int:
        """Handle the failure *error* of a send; return the number of accepted bytes, which is 0.

        The system reports a reset or a time-out once. The transport would take the end that it sees afterwards for a
        regular close, so the connection is aborted here.
        """
        if error.errno in _DISCONNECTED:
            self.writer.abort()
        return 0

    # Lagging

    def _start_lagging(self, batch: PlacedBatch | None, chunk: PrivateChunk | None = None) -> None:
        """Lag from the start of *batch*, or from the end of the stream; *chunk* comes first."""
        self.lagging = True
        if batch is None:
            self._cursor.move_to(self._replay_buffer.end, self._replay_buffer.seq)
        else:
            self._cursor.move_to(batch.start, batch.seq)
        if chunk is not None and chunk.data:
            self._queue.append(chunk._replace(offset=self._cursor.offset, seq=self._cursor.seq))
        if batch is not None:
            self.queue_overrides(batch)

    def _writer_drained(self) -> None:
        self._registry.schedule(self._continue)

    def _continue(self) -> bool:
        """Send one step of what is left; return whether there is more, and the writer accepts it."""
        if not self.lagging:
            return False
        was_congested = self.congested
        accepted = self._send_next(self._write)
        if was_congested and not self.congested:
            self._on_writable()
        return accepted and self.lagging

    def _send_next(self, send: Send) -> bool:
        """Pass the next piece of the stream to *send*; return whether it was accepted whole, and more may follow."""
        cursor, queue = self._cursor, self._queue
        end = self._replay_buffer.end if self._subscribed else self._end_offset
        if queue.is_due(cursor.offset):
            return self._send_chunk(queue.pop(), send)
        if cursor.offset >= end:
            if queue:
                cursor.offset = queue.first.offset  # the events before it are not for this subscriber
                return True
            self._caught_up()
            return False
        if cursor.has_gap:
            return self._send_gap(send)
        return self._send_run(min(end, queue.first.offset) if queue else end, send)

    def _caught_up(self) -> None:
        """Be current again, or close where that was asked for."""
        self.lagging = False
        self.writer.stop_drain()
        if self._closing:
            self.writer.close()
        elif self._subscribed:
            self._registry.mark_current(self)

    def _send_gap(self, send: Send) -> bool:
        """Move the cursor to the start of the replay buffer, or to a chunk before it, and send a notice of the gap."""
        if self._queue.is_due(self._replay_buffer.start - 1):
            offset, seq = self._queue.first.offset, self._queue.first.seq
        else:
            offset, seq = self._replay_buffer.start, self._replay_buffer.seq_before
        gap = self._cursor.skip_to(offset, seq)
        if gap is None:
            return True
        self._registry.missed_messages += gap.last - gap.first + 1
        return self._send_chunk(private_chunk(offset, seq, (self.encoder.encode(gap),)), send)

    def _send_run(self, end: int, send: Send) -> bool:
        """Send events before the offset *end* that all subscribers share."""
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
        """Send *chunk*, and put back what follows: the pieces that were not accepted, or the next group."""
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
            return self.send_failed(error)
        self._registry.sent_bytes += accepted
        return accepted

    def _write_rest(self, rest: bytes) -> None:
        """Let the writer hold *rest*, of a piece that it has accepted in part, until it has sent it."""
        self._registry.sent_bytes += len(rest)
        self.writer.write_rest(rest, self._writer_drained)


def _groups(pieces: Iterator[bytes]) -> Iterator[Sequence[bytes]]:
    """Return *pieces* in groups of about ``LAZY_CHUNK_BYTES``."""
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
