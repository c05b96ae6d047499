"""Pages of stored lines, which clients share: those that come back together ask for the same lines."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from weakref import ref

from msgspec import Raw

from broadcast.core.errors import JournalError
from broadcast.core.time_slice import CallSoon, TimeSlice

if TYPE_CHECKING:
    from broadcast.core.events import Stored
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.encoder import RoomEncoder

PAGE_LINES: Final = 64
"""Number of lines that are read from the journal at once: about as many as fit into a message if they are long."""
KEPT_PAGES: Final = 32
"""Number of pages in memory. They take at most 8 MiB, and 300 KiB if the lines are short."""


class Line(NamedTuple):
    """A stored line as an event of a result."""

    seq: int
    event: Raw


OnPage: TypeAlias = Callable[[Sequence[Line] | JournalError], None]
"""Receives a page, or the reason why it cannot be read."""


class _Key(NamedTuple):
    """The room of a page, and the number of the line before its first one."""

    room: ref[Room]
    start: int


class _Call(NamedTuple):
    """A client that waits for the lines of a page up to the number *last*."""

    last: int
    on_page: OnPage


class PageReader:
    """Reads pages of lines from the journal, each only once for all clients that want it at the same time.

    The journal reads one page after the other, with rests between them. If a thousand clients come back at once, it
    would take a minute to read the same page for each. The last pages that were read stay in memory. The clients are
    served in turn, within a time slice of each turn of the reactor.
    """

    def __init__(self, call_soon: CallSoon, now: Callable[[], float]) -> None:
        self._pages: OrderedDict[_Key, Sequence[Line]] = OrderedDict()
        """The pages in memory. The first one was not used for the longest time."""
        self._waiting: dict[_Key, list[_Call]] = {}
        """The clients that wait for a page that is being read."""
        self._ready: deque[Callable[[], None]] = deque()
        """The calls with pages that are at hand."""
        self._slice = TimeSlice(self._serve, call_soon, now)

    def read(self, room: Room, encoder: RoomEncoder, start: int, last: int, on_page: OnPage) -> None:
        """Call *on_page* with the lines after *start*, at least up to *last*: at once if they are in memory.

        *start* is a multiple of ``PAGE_LINES``, and *last* is in this page, and at most the last line of *room*.
        """
        key = _Key(ref(room), start)
        page = self._pages.get(key)
        if page and page[-1].seq >= last:
            self._pages.move_to_end(key)
            on_page(page)
        elif key in self._waiting:
            self._waiting[key].append(_Call(last, on_page))
        else:
            self._waiting[key] = [_Call(last, on_page)]
            self._read(key, room, encoder)

    def _read(self, key: _Key, room: Room, encoder: RoomEncoder) -> None:
        last = min(key.start + PAGE_LINES, room.last_seq)
        room.history(key.start + 1, last, partial(self._on_lines, key, room, encoder, last))

    def _on_lines(
        self, key: _Key, room: Room, encoder: RoomEncoder, last: int, lines: Sequence[Stored] | JournalError
    ) -> None:
        page: Sequence[Line] | JournalError = (
            lines
            if isinstance(lines, JournalError)
            else [Line(line.seq, Raw(encoder.encode_in_result(line))) for line in lines]
        )
        if not isinstance(page, JournalError):
            self._pages[key] = page
            self._pages.move_to_end(key)
            if len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)
        waiting = self._waiting.pop(key)
        if later := [call for call in waiting if call.last > last]:  # they came while an unfinished page was read
            self._waiting[key] = later
            self._read(key, room, encoder)
        first, *others = (call.on_page for call in waiting if call.last <= last)
        if others:
            # The journal rests in proportion to the duration of this call, so only one client is served in it.
            self._ready.extend(partial(on_page, page) for on_page in others)
            self._slice.use_next_turn()
        first(page)

    def _serve(self) -> None:
        """Make the waiting calls until the time slice of this turn is used up."""
        try:
            while self._ready and not self._slice.exhausted():
                self._ready.popleft()()
        finally:
            if self._ready:
                self._slice.use_next_turn()
