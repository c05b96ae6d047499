"""One reader: current, or a cursor in the window; what they were sent stands in order, whole, and once.

Who is current owes nothing: bursts and answers go straight to their outlet. Who does not take everything becomes a
cursor: they cost one unfinished line, and of what is for them alone at most ``Limits.pending_bytes``; the rest of what
they have not read is the room's window. Where that has moved on, they are told which lines they missed (the numbers may
include lines of their own: to know would cost memory for each line that somebody says who does not read).

Who can be sent more goes on step by step, in turn with all others who can: the fan-out says when.
"""

from __future__ import annotations

import errno
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from broadcast.core.events import Gap

if TYPE_CHECKING:
    from broadcast.core.interfaces import Encoder
    from broadcast.delivery.fanout import Fanout
    from broadcast.delivery.replay_buffer import PlacedBatch
    from broadcast.net.writers import Bytes, Send, Writer

ITEM_OVERHEAD: Final = 256
"""What something that waits takes besides its bytes, roughly: else a flood of tiny ones would take many times the
limit."""
SEND_BYTES: Final = 64 * 1024
"""The most that is offered to a socket at once while a reader catches up, in bytes; but always a whole line."""
SEND_BATCHES: Final = 256
"""The most that are joined for one such offer: what a step costs is bounded, even if they show nothing."""
LAZY_CHUNK_BYTES: Final = 64 * 1024
"""So many bytes, and the line that they end in, are made at once of what is made only when it can be sent. The first
two are made in any case: in them is all that a newcomer is shown by default, however slowly they read."""


_NO_MORE: Iterator[bytes] = iter(())


_BROKEN: Final = frozenset(
    {errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
)
"""Why a connection has ended that nobody has closed (send(2), tcp(7))."""


class _PrivateChunk(NamedTuple):
    """Something for this reader alone: it stands before the event at *position*, behind the kept line *seq*."""

    offset: int
    seq: int
    data: bytes
    more: Iterator[bytes] = _NO_MORE
    """What follows *data*, made piece by piece when it can be sent."""

    @property
    def size(self) -> int:
        """What it counts for."""
        return ITEM_OVERHEAD + len(self.data)


class _SharedSlice(NamedTuple):
    """A part of what everybody gets: *data* begins at the byte *begin* of the rendering of *told*."""

    told: PlacedBatch
    begin: int
    data: bytes


class Subscriber:
    """One peer's stream. *relieved* is called when there is room again after ``full``."""

    def __init__(self, fanout: Fanout, outlet: Writer, wire: Encoder, relieved: Callable[[], None]) -> None:
        self.session = 0
        """The session's id; set before ``listen``."""
        self.writer = outlet
        self.encoder = wire
        """How events look to them."""
        self.lagging = False
        self._fanout = fanout
        self._replay_buffer = fanout.replay_buffer
        self._on_writable = relieved
        self._subscribed = False
        self._closing = False
        self._offset = 0
        self._seq = 0
        self._end_offset = 0
        self._private_queue: deque[_PrivateChunk] = deque()
        self._queued_bytes = 0

    @property
    def congested(self) -> bool:
        """Whether so much waits for them alone that nothing may be added; what is under way still is."""
        return self._queued_bytes >= self._fanout.private_queue_bytes

    # What happens to them

    def send(self, data: bytes) -> None:
        """Put *data*, whole lines or a prompt, at the end of their stream."""
        if not self.lagging:
            taken = self._send(data)
            if taken < len(data):
                self._start_lagging(self._fanout.mark_behind(self), self._hand_off_partial(data, taken))
        elif data:
            self._enqueue(_PrivateChunk(self._replay_buffer.end, self._replay_buffer.seq, data))

    def send_lazily(self, lines: Iterator[bytes]) -> None:
        """The same with all of *lines*; each is made when those before it have been taken."""
        pieces = _chunks(lines)
        self.send(next(pieces, b""))
        more = next(pieces, b"")
        if more and self.lagging:
            self._enqueue(_PrivateChunk(self._replay_buffer.end, self._replay_buffer.seq, more, pieces))
        elif more:
            self._start_lagging(self._fanout.mark_behind(self), more, pieces)
            self._fanout.schedule(self._continue)

    def subscribe(self, wire: Encoder) -> None:
        """From here on they are told what happens, as *wire* shows it; again to change the wire."""
        if not self._subscribed:
            self._subscribed = True
            self._offset, self._seq = self._replay_buffer.end, self._replay_buffer.seq
            self._fanout.subscribe(self)
        else:
            self._detach_before_batch()
        self.encoder = wire
        if not self.lagging:
            self._fanout.mark_current(self)

    def send_batch(self, told: PlacedBatch) -> bool:
        """Send *told*, in which something differs for them, to this current reader; whether they took all of it."""
        rendering = told.encoded(self.encoder)
        view = memoryview(rendering.payload)
        parts: list[Bytes] = []
        start = 0
        shown = rendering.shown
        for index, event in told.overrides[self.session]:
            begin = rendering.start_of(index)
            parts.append(view[start:begin])
            if event is not None:
                parts.append(self.encoder.encode(event))
            start = rendering.ends[index]
            shown -= start > begin
        parts.append(view[start:])
        parts = [part for part in parts if part]
        try:
            taken = self.writer.send_parts(parts) if parts else 0
        except OSError as error:
            taken = self.send_failed(error)
        self._fanout.sent_bytes += taken
        if taken == sum(map(len, parts)):
            self._fanout.deliveries += shown
            return True
        self.fall_behind(told, taken)
        return False

    def queue_overrides(self, told: PlacedBatch) -> None:
        """Keep for this lagging reader what *told* has for them alone."""
        for index, event in told.overrides.get(self.session, ()):
            if event is not None:
                self._enqueue(_PrivateChunk(told.start + index, told.seq_before(index), self.encoder.encode(event)))

    def fall_behind(self, told: PlacedBatch, taken: int) -> None:
        """They took only *taken* bytes of *told*: from there on they are a cursor."""
        self._start_lagging(told)
        left = taken

        def took(data: bytes) -> int:
            nonlocal left
            now = min(left, len(data))
            left -= now
            return now

        while self._step(took):
            pass

    def _continue(self) -> bool:
        """Send on from the cursor, once, to an outlet that takes more; whether it does so still, and there is more."""
        if not self.lagging:
            return False
        full = self.congested
        going = self._step(self._send)
        if full and not self.congested:
            self._on_writable()
        return going and self.lagging

    def send_failed(self, error: OSError) -> int:
        """A send to them has failed with *error*; the bytes that were taken: none.

        The transport finds out too, but not why: the system says once that a connection was reset, or timed out. Who
        reads or sends next is told that it has ended, as if they had closed it.
        """
        if error.errno in _BROKEN:
            self.writer.abort()
        return 0

    def close_when_drained(self) -> None:
        """Deliver everything up to here, then close."""
        self._unsubscribe()
        if self.lagging:
            self._closing = True
            self.writer.start_linger()
        else:
            self.writer.close()

    def connection_lost(self) -> None:
        """The connection is gone."""
        self._fanout.mark_behind(self)
        self._fanout.unsubscribe(self)
        self.lagging = False
        self._private_queue.clear()
        self._queued_bytes = 0
        self.writer.connection_lost()

    def _unsubscribe(self) -> None:
        """Be told nothing from here on, but all of what was told."""
        if self._subscribed:
            self._detach_before_batch()
            self._fanout.unsubscribe(self)
            self._subscribed = False
            self._end_offset = self._replay_buffer.end
            if self.lagging:
                # Should the window move on, they have missed nothing that comes after this.
                self._enqueue(_PrivateChunk(self._end_offset, self._replay_buffer.seq, b""))

    def _detach_before_batch(self) -> None:
        """Leave the others who owe nothing; with the burst that is being told, if that had not reached them."""
        if (told := self._fanout.mark_behind(self)) is not None:
            self._start_lagging(told)
            self._fanout.schedule(self._continue)
            self._fanout.mark_behind(self)

    # The cursor

    def _start_lagging(self, told: PlacedBatch | None, data: bytes = b"", more: Iterator[bytes] = _NO_MORE) -> None:
        """Become a cursor, at the beginning of *told*, or at the end of the stream; *data* and *more* stand before."""
        self.lagging = True
        self._offset, self._seq = (
            (self._replay_buffer.end, self._replay_buffer.seq) if told is None else (told.start, told.seq)
        )
        if data:
            self._enqueue(_PrivateChunk(self._offset, self._seq, data, more))
        if told is not None:
            self.queue_overrides(told)

    def _drained(self) -> None:
        """The outlet takes more."""
        self._fanout.schedule(self._continue)

    def _step(self, send: Send) -> bool:
        """Send something of what lies between the cursor and the end; whether all of it was taken, and more may be."""
        if self._private_queue and self._private_queue[0].offset <= self._offset:
            item = self._private_queue.popleft()
            self._queued_bytes -= item.size
            return self._send_item(item, send)
        if self._offset >= self._end:
            if self._private_queue:
                self._offset = self._private_queue[0].offset  # of what was told meanwhile they see nothing
                return True
            self._caught_up()
            return False
        if self._offset < self._replay_buffer.start:
            return self._send_item(self._skip_gap(), send)
        return self._send_run(send)

    @property
    def _end(self) -> int:
        """The position up to which they are told what happens."""
        return self._replay_buffer.end if self._subscribed else self._end_offset

    def _caught_up(self) -> None:
        """They have read everything."""
        self.lagging = False
        self.writer.stop_drain()
        if self._closing:
            self.writer.close()
        elif self._subscribed:
            self._fanout.mark_current(self)

    def _skip_gap(self) -> _PrivateChunk:
        """Move the cursor on to what the window holds, or what waits; tell what lay between."""
        if self._private_queue and self._private_queue[0].offset < self._replay_buffer.start:
            position, seq = self._private_queue[0][:2]
        else:
            position, seq = self._replay_buffer.start, self._replay_buffer.seq_before
        first, self._offset, self._seq = self._seq + 1, position, seq
        if first > seq:
            return _PrivateChunk(position, seq, b"")
        self._fanout.missed_messages += seq + 1 - first
        return _PrivateChunk(position, seq, self.encoder.encode(Gap(first, seq)))

    def _send_run(self, send: Send) -> bool:
        """Send events that nothing interrupts for this reader: slices of what everybody gets, joined."""
        run, position = self._next_run()
        data = run[0].data if len(run) == 1 else b"".join([part.data for part in run])
        taken = send(data) if data else 0
        if taken == len(data):
            self._advance(position)
            return True
        for told, begin, part in run:
            if taken < len(part):
                rendering = told.encoded(self.encoder)
                cut = rendering.index_at(begin + taken)
                self._advance(told.start + cut + 1)
                self._finish_line(rendering.payload[begin + taken : rendering.ends[cut]])
                break
            taken -= len(part)
        return False

    def _next_run(self) -> tuple[list[_SharedSlice], int]:
        """What to send from the cursor on, about ``CHUNK`` bytes at most, and where the cursor is behind it.

        It ends before the next of what is for this reader alone.
        """
        end = min(self._end, self._private_queue[0].offset) if self._private_queue else self._end
        run: list[_SharedSlice] = []
        room = SEND_BYTES
        position = self._offset
        for told in self._replay_buffer.from_offset(self._offset, SEND_BATCHES):
            rendering = told.encoded(self.encoder)
            first, stop = position - told.start, min(end, told.end) - told.start
            for index in self._override_indexes(told, first, stop):
                if first < index:
                    begin = rendering.start_of(first)
                    cut = min(index, max(first + 1, rendering.index_at(begin + room)))
                    data = rendering.payload[begin : rendering.start_of(cut)]
                    run.append(_SharedSlice(told, begin, data))
                    room -= len(data)
                    if cut < index or room <= 0:
                        return run, told.start + cut
                first = index + 1
            position = told.start + stop
            if position == end:
                break
        return run, position

    def _override_indexes(self, told: PlacedBatch, first: int, stop: int) -> Iterator[int]:
        """Where from *first* to before *stop* this reader gets something else than everybody, or nothing; then *stop*.

        What stands in the place of the first waits with this position, and has been sent.
        """
        if edits := told.overrides.get(self.session, ()):
            for at in range(bisect_left(edits, first, key=itemgetter(0)), len(edits)):
                if (index := edits[at][0]) >= stop:
                    break
                yield index
        yield stop

    def _send_item(self, item: _PrivateChunk, send: Send) -> bool:
        taken = send(item.data)
        whole = taken == len(item.data)
        rest = b"" if whole else self._hand_off_partial(item.data, taken)
        if rest := rest or next(item.more, b""):
            rest_of_it = _PrivateChunk(self._offset, self._seq, rest, item.more)
            self._private_queue.appendleft(rest_of_it)
            self._queued_bytes += rest_of_it.size
        return whole

    def _hand_off_partial(self, data: bytes, taken: int) -> bytes:
        """Give the outlet the rest of the line that *taken* bytes of *data* end in; what follows it."""
        end = data.find(b"\n", taken) + 1 or len(data)
        self._finish_line(data[taken:end])
        return data[end:]

    def _finish_line(self, rest: bytes) -> None:
        """Let the outlet hold *rest*, of a line of which it has taken the beginning, until it has sent it."""
        self._fanout.sent_bytes += len(rest)
        self.writer.write_rest(rest, self._drained)

    def _advance(self, position: int) -> None:
        """Put the cursor to *position*, behind an event of the window."""
        told = next(self._replay_buffer.from_offset(position - 1, 1))
        self._offset = position
        self._seq = told.seq_before(position - told.start)

    def _enqueue(self, item: _PrivateChunk) -> None:
        self._private_queue.append(item)
        self._queued_bytes += item.size

    def _send(self, data: bytes) -> int:
        try:
            taken = self.writer.send(data)
        except OSError as error:
            return self.send_failed(error)
        self._fanout.sent_bytes += taken
        return taken


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """*lines*, joined to pieces of about ``PIECE`` bytes."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= LAZY_CHUNK_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
