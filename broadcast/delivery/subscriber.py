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

from broadcast.core.events import Missed

if TYPE_CHECKING:
    from broadcast.core.interfaces import Wire
    from broadcast.delivery.fanout import Fanout
    from broadcast.delivery.replay_buffer import Told
    from broadcast.net.writers import Bytes, Outlet, Send

ITEM: Final = 256
"""What something that waits takes besides its bytes, roughly: else a flood of tiny ones would take many times the
limit."""
CHUNK: Final = 64 * 1024
"""The most that is offered to a socket at once while a reader catches up, in bytes; but always a whole line."""
BURSTS: Final = 256
"""The most that are joined for one such offer: what a step costs is bounded, even if they show nothing."""
PIECE: Final = 64 * 1024
"""So many bytes, and the line that they end in, are made at once of what is made only when it can be sent. The first
two are made in any case: in them is all that a newcomer is shown by default, however slowly they read."""


_NO_MORE: Iterator[bytes] = iter(())


_BROKEN: Final = frozenset(
    {errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
)
"""Why a connection has ended that nobody has closed (send(2), tcp(7))."""


class _Item(NamedTuple):
    """Something for this reader alone: it stands before the event at *position*, behind the kept line *seq*."""

    position: int
    seq: int
    data: bytes
    more: Iterator[bytes] = _NO_MORE
    """What follows *data*, made piece by piece when it can be sent."""

    @property
    def size(self) -> int:
        """What it counts for."""
        return ITEM + len(self.data)


class _Slice(NamedTuple):
    """A part of what everybody gets: *data* begins at the byte *begin* of the rendering of *told*."""

    told: Told
    begin: int
    data: bytes


class Reader:
    """One peer's stream. *relieved* is called when there is room again after ``full``."""

    def __init__(self, fanout: Fanout, outlet: Outlet, wire: Wire, relieved: Callable[[], None]) -> None:
        self.session = 0
        """The session's id; set before ``listen``."""
        self.outlet = outlet
        self.wire = wire
        """How events look to them."""
        self.lagging = False
        self._fanout = fanout
        self._window = fanout.window
        self._relieved = relieved
        self._listening = False
        self._finishing = False
        self._position = 0
        self._seq = 0
        self._until = 0
        self._pending: deque[_Item] = deque()
        self._held = 0

    @property
    def full(self) -> bool:
        """Whether so much waits for them alone that nothing may be added; what is under way still is."""
        return self._held >= self._fanout.pending

    # What happens to them

    def show(self, data: bytes) -> None:
        """Put *data*, whole lines or a prompt, at the end of their stream."""
        if not self.lagging:
            taken = self._send(data)
            if taken < len(data):
                self._lag(self._fanout.leave(self), self._hold(data, taken))
        elif data:
            self._add(_Item(self._window.end, self._window.seq, data))

    def show_each(self, lines: Iterator[bytes]) -> None:
        """The same with all of *lines*; each is made when those before it have been taken."""
        pieces = _pieces(lines)
        self.show(next(pieces, b""))
        more = next(pieces, b"")
        if more and self.lagging:
            self._add(_Item(self._window.end, self._window.seq, more, pieces))
        elif more:
            self._lag(self._fanout.leave(self), more, pieces)
            self._fanout.in_turn(self._go_on)

    def listen(self, wire: Wire) -> None:
        """From here on they are told what happens, as *wire* shows it; again to change the wire."""
        if not self._listening:
            self._listening = True
            self._position, self._seq = self._window.end, self._window.seq
            self._fanout.join(self)
        else:
            self._go_ahead()
        self.wire = wire
        if not self.lagging:
            self._fanout.enter(self)

    def serve(self, told: Told) -> bool:
        """Send *told*, in which something differs for them, to this current reader; whether they took all of it."""
        rendering = told.rendering(self.wire)
        view = memoryview(rendering.payload)
        parts: list[Bytes] = []
        start = 0
        shown = rendering.shown
        for index, event in told.edits[self.session]:
            begin = rendering.begin(index)
            parts.append(view[start:begin])
            if event is not None:
                parts.append(self.wire.encode(event))
            start = rendering.ends[index]
            shown -= start > begin
        parts.append(view[start:])
        parts = [part for part in parts if part]
        try:
            taken = self.outlet.send_parts(parts) if parts else 0
        except OSError as error:
            taken = self.failed(error)
        self._fanout.sent += taken
        if taken == sum(map(len, parts)):
            self._fanout.deliveries += shown
            return True
        self.fall_behind(told, taken)
        return False

    def keep(self, told: Told) -> None:
        """Keep for this lagging reader what *told* has for them alone."""
        for index, event in told.edits.get(self.session, ()):
            if event is not None:
                self._add(_Item(told.start + index, told.seq_before(index), self.wire.encode(event)))

    def fall_behind(self, told: Told, taken: int) -> None:
        """They took only *taken* bytes of *told*: from there on they are a cursor."""
        self._lag(told)
        left = taken

        def took(data: bytes) -> int:
            nonlocal left
            now = min(left, len(data))
            left -= now
            return now

        while self._step(took):
            pass

    def _go_on(self) -> bool:
        """Send on from the cursor, once, to an outlet that takes more; whether it does so still, and there is more."""
        if not self.lagging:
            return False
        full = self.full
        going = self._step(self._send)
        if full and not self.full:
            self._relieved()
        return going and self.lagging

    def failed(self, error: OSError) -> int:
        """A send to them has failed with *error*; the bytes that were taken: none.

        The transport finds out too, but not why: the system says once that a connection was reset, or timed out. Who
        reads or sends next is told that it has ended, as if they had closed it.
        """
        if error.errno in _BROKEN:
            self.outlet.abort()
        return 0

    def finish(self) -> None:
        """Deliver everything up to here, then close."""
        self._depart()
        if self.lagging:
            self._finishing = True
            self.outlet.expire()
        else:
            self.outlet.finish()

    def lost(self) -> None:
        """The connection is gone."""
        self._fanout.leave(self)
        self._fanout.part(self)
        self.lagging = False
        self._pending.clear()
        self._held = 0
        self.outlet.lost()

    def _depart(self) -> None:
        """Be told nothing from here on, but all of what was told."""
        if self._listening:
            self._go_ahead()
            self._fanout.part(self)
            self._listening = False
            self._until = self._window.end
            if self.lagging:
                # Should the window move on, they have missed nothing that comes after this.
                self._add(_Item(self._until, self._window.seq, b""))

    def _go_ahead(self) -> None:
        """Leave the others who owe nothing; with the burst that is being told, if that had not reached them."""
        if (told := self._fanout.leave(self)) is not None:
            self._lag(told)
            self._fanout.in_turn(self._go_on)
            self._fanout.leave(self)

    # The cursor

    def _lag(self, told: Told | None, data: bytes = b"", more: Iterator[bytes] = _NO_MORE) -> None:
        """Become a cursor, at the beginning of *told*, or at the end of the stream; *data* and *more* stand before."""
        self.lagging = True
        self._position, self._seq = (self._window.end, self._window.seq) if told is None else (told.start, told.seq)
        if data:
            self._add(_Item(self._position, self._seq, data, more))
        if told is not None:
            self.keep(told)

    def _drained(self) -> None:
        """The outlet takes more."""
        self._fanout.in_turn(self._go_on)

    def _step(self, send: Send) -> bool:
        """Send something of what lies between the cursor and the end; whether all of it was taken, and more may be."""
        if self._pending and self._pending[0].position <= self._position:
            item = self._pending.popleft()
            self._held -= item.size
            return self._send_item(item, send)
        if self._position >= self._end:
            if self._pending:
                self._position = self._pending[0].position  # of what was told meanwhile they see nothing
                return True
            self._arrive()
            return False
        if self._position < self._window.start:
            return self._send_item(self._missed(), send)
        return self._send_run(send)

    @property
    def _end(self) -> int:
        """The position up to which they are told what happens."""
        return self._window.end if self._listening else self._until

    def _arrive(self) -> None:
        """They have read everything."""
        self.lagging = False
        self.outlet.release()
        if self._finishing:
            self.outlet.finish()
        elif self._listening:
            self._fanout.enter(self)

    def _missed(self) -> _Item:
        """Move the cursor on to what the window holds, or what waits; tell what lay between."""
        if self._pending and self._pending[0].position < self._window.start:
            position, seq = self._pending[0][:2]
        else:
            position, seq = self._window.start, self._window.seq_before
        first, self._position, self._seq = self._seq + 1, position, seq
        if first > seq:
            return _Item(position, seq, b"")
        self._fanout.missed += seq + 1 - first
        return _Item(position, seq, self.wire.encode(Missed(first, seq)))

    def _send_run(self, send: Send) -> bool:
        """Send events that nothing interrupts for this reader: slices of what everybody gets, joined."""
        run, position = self._run()
        data = run[0].data if len(run) == 1 else b"".join([part.data for part in run])
        taken = send(data) if data else 0
        if taken == len(data):
            self._move(position)
            return True
        for told, begin, part in run:
            if taken < len(part):
                rendering = told.rendering(self.wire)
                cut = rendering.holding(begin + taken)
                self._move(told.start + cut + 1)
                self._finish_line(rendering.payload[begin + taken : rendering.ends[cut]])
                break
            taken -= len(part)
        return False

    def _run(self) -> tuple[list[_Slice], int]:
        """What to send from the cursor on, about ``CHUNK`` bytes at most, and where the cursor is behind it.

        It ends before the next of what is for this reader alone.
        """
        end = min(self._end, self._pending[0].position) if self._pending else self._end
        run: list[_Slice] = []
        room = CHUNK
        position = self._position
        for told in self._window.since(self._position, BURSTS):
            rendering = told.rendering(self.wire)
            first, stop = position - told.start, min(end, told.end) - told.start
            for index in self._apart(told, first, stop):
                if first < index:
                    begin = rendering.begin(first)
                    cut = min(index, max(first + 1, rendering.holding(begin + room)))
                    data = rendering.payload[begin : rendering.begin(cut)]
                    run.append(_Slice(told, begin, data))
                    room -= len(data)
                    if cut < index or room <= 0:
                        return run, told.start + cut
                first = index + 1
            position = told.start + stop
            if position == end:
                break
        return run, position

    def _apart(self, told: Told, first: int, stop: int) -> Iterator[int]:
        """Where from *first* to before *stop* this reader gets something else than everybody, or nothing; then *stop*.

        What stands in the place of the first waits with this position, and has been sent.
        """
        if edits := told.edits.get(self.session, ()):
            for at in range(bisect_left(edits, first, key=itemgetter(0)), len(edits)):
                if (index := edits[at][0]) >= stop:
                    break
                yield index
        yield stop

    def _send_item(self, item: _Item, send: Send) -> bool:
        taken = send(item.data)
        whole = taken == len(item.data)
        rest = b"" if whole else self._hold(item.data, taken)
        if rest := rest or next(item.more, b""):
            rest_of_it = _Item(self._position, self._seq, rest, item.more)
            self._pending.appendleft(rest_of_it)
            self._held += rest_of_it.size
        return whole

    def _hold(self, data: bytes, taken: int) -> bytes:
        """Give the outlet the rest of the line that *taken* bytes of *data* end in; what follows it."""
        end = data.find(b"\n", taken) + 1 or len(data)
        self._finish_line(data[taken:end])
        return data[end:]

    def _finish_line(self, rest: bytes) -> None:
        """Let the outlet hold *rest*, of a line of which it has taken the beginning, until it has sent it."""
        self._fanout.sent += len(rest)
        self.outlet.hold(rest, self._drained)

    def _move(self, position: int) -> None:
        """Put the cursor to *position*, behind an event of the window."""
        told = next(self._window.since(position - 1, 1))
        self._position = position
        self._seq = told.seq_before(position - told.start)

    def _add(self, item: _Item) -> None:
        self._pending.append(item)
        self._held += item.size

    def _send(self, data: bytes) -> int:
        try:
            taken = self.outlet.send(data)
        except OSError as error:
            return self.failed(error)
        self._fanout.sent += taken
        return taken


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """*lines*, joined to pieces of about ``PIECE`` bytes."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
