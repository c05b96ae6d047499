"""One reader: current, or a cursor in the window; what they were sent stands in order, whole, and once.

Who is current owes nothing: bursts and answers go straight to their outlet. Who does not take everything becomes a
cursor: they cost one unfinished line, and of what is for them alone at most ``Limits.pending_bytes``; the rest of what
they have not read is the room's window. Where that has moved on, they are told which lines they missed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from broadcast.core.events import Missed

if TYPE_CHECKING:
    from broadcast.core.interfaces import Wire
    from broadcast.fanout import Fanout
    from broadcast.outlets import Bytes, Outlet, Send
    from broadcast.window import Told

CHUNK: Final = 64 * 1024
"""The most that is offered to a socket at once while a reader catches up, in bytes; but always a whole line."""


class _Item(NamedTuple):
    """Something for this reader alone: it stands before the event at *position*, behind the kept line *seq*."""

    position: int
    seq: int
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
            if taken == len(data):
                return
            self._lag(self._fanout.leave(self))
            if rest := self._hold(data, taken):
                self._add(_Item(self._position, self._seq, rest))
        elif data:
            self._add(_Item(self._window.end, self._window.seq, data))

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
        except OSError:
            taken = 0
        self._fanout.sent += taken
        if taken == sum(map(len, parts)):
            self._fanout.deliveries += shown
            return True
        self.keep(told)
        self.fall_behind(told, taken)
        return False

    def keep(self, told: Told) -> None:
        """Keep for this lagging reader what *told* has for them alone."""
        for index, event in told.edits[self.session]:
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

        self._run(took)

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
            self._catch_up()
            self._fanout.leave(self)

    # The cursor

    def _lag(self, told: Told | None) -> None:
        """Become a cursor, at the beginning of *told*, or at the end of the stream."""
        self.lagging = True
        self._position, self._seq = (self._window.end, self._window.seq) if told is None else (told.start, told.seq)

    def _catch_up(self) -> None:
        """The outlet has room: send on from the cursor."""
        self._run(self._send)

    def _run(self, send: Send) -> None:
        """Send what lies between the cursor and the end, until something is not taken whole."""
        full = self.full
        going = True
        while going:
            if self._pending and self._pending[0].position <= self._position:
                item = self._pending.popleft()
                self._held -= len(item.data)
                going = self._send_item(item.data, send)
            elif self._position >= (self._window.end if self._listening else self._until):
                if self._pending:
                    self._position = self._pending[0].position  # of what was told meanwhile they see nothing
                else:
                    self._arrive()
                    going = False
            elif self._position < self._window.start:
                going = self._send_item(self._missed(), send)
            else:
                going = self._send_run(send)
        if full and not self.full:
            self._relieved()

    def _arrive(self) -> None:
        """They have read everything."""
        self.lagging = False
        self.outlet.release()
        if self._finishing:
            self.outlet.finish()
        elif self._listening:
            self._fanout.enter(self)

    def _missed(self) -> bytes:
        """Move the cursor on to what the window holds, or what waits; tell what lay between."""
        if self._pending and self._pending[0].position < self._window.start:
            position, seq, _ = self._pending[0]
        else:
            position, seq = self._window.start, self._window.seq_before
        first, self._position, self._seq = self._seq + 1, position, seq
        if first > seq:
            return b""
        self._fanout.missed += seq + 1 - first
        return self.wire.encode(Missed(first, seq))

    def _send_run(self, send: Send) -> bool:
        """Send events that nothing interrupts for this reader, as one slice of what everybody gets."""
        told = self._window.find(self._position)
        rendering = told.rendering(self.wire)
        first = self._position - told.start
        edits = told.edits.get(self.session, ())
        own = bisect_left(edits, first, key=itemgetter(0))
        stop = edits[own][0] if own < len(edits) else len(told.events)
        if stop == first:
            self._move(told, first + 1)  # what stands in its place waits with this position, and has been sent
            return True
        begin = rendering.begin(first)
        stop = min(stop, max(first + 1, rendering.holding(begin + CHUNK)))
        data = rendering.payload[begin : rendering.begin(stop)]
        taken = send(data) if data else 0
        if taken == len(data):
            self._move(told, stop)
            return True
        cut = rendering.holding(begin + taken)
        self._move(told, cut + 1)
        self._finish_line(rendering.payload[begin + taken : rendering.ends[cut]])
        return False

    def _send_item(self, data: bytes, send: Send) -> bool:
        taken = send(data)
        if taken == len(data):
            return True
        if rest := self._hold(data, taken):
            self._pending.appendleft(_Item(self._position, self._seq, rest))
            self._held += len(rest)
        return False

    def _hold(self, data: bytes, taken: int) -> bytes:
        """Give the outlet the rest of the line that *taken* bytes of *data* end in; what follows it."""
        end = data.find(b"\n", taken) + 1 or len(data)
        self._finish_line(data[taken:end])
        return data[end:]

    def _finish_line(self, rest: bytes) -> None:
        """Let the outlet hold *rest*, of a line of which it has taken the beginning, until it has sent it."""
        self._fanout.sent += len(rest)
        self.outlet.hold(rest, self._catch_up)

    def _move(self, told: Told, index: int) -> None:
        """Put the cursor in front of the event *index* of *told*."""
        self._position = told.start + index
        self._seq = told.seq_before(index)

    def _add(self, item: _Item) -> None:
        self._pending.append(item)
        self._held += len(item.data)

    def _send(self, data: bytes) -> int:
        try:
            taken = self.outlet.send(data)
        except OSError:
            return 0
        self._fanout.sent += taken
        return taken
