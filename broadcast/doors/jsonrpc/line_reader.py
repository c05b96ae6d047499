"""Stored lines as events of a result, as many as fit into one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from msgspec import Raw

from broadcast.core.errors import JournalError
from broadcast.doors.jsonrpc.encoder import RoomEncoder
from broadcast.doors.jsonrpc.messages import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from broadcast.core.events import Stored
    from broadcast.core.room import Room

PAGE_LINES: Final = 64
"""Number of lines that are read from the journal at once: about as many as fit into a message if they are long."""
ENVELOPE_BYTES: Final = 1024
"""Space in a message for everything but lists: the id, the names of members, numbers."""
LIST_BYTES: Final = MAX_MESSAGE_BYTES - ENVELOPE_BYTES
"""Space in a message for lists, with the commas."""


class Lines(NamedTuple):
    """Stored lines of a room as events of a result, in ascending order."""

    events: list[Raw]
    size: int
    """Number of bytes of *events*, with a comma each."""
    first: int
    """Number of the first event; 0 if there is none."""
    complete: bool
    """Whether these are all lines that were asked for."""


OnLines: TypeAlias = Callable[[Lines | JournalError], None]
"""Receives lines, or the reason why they cannot be read."""


class LineCollector:
    """Events of a result that fit into *max_bytes*. They are added in descending order if *newest_first*."""

    def __init__(self, encoder: RoomEncoder, max_bytes: int, *, newest_first: bool) -> None:
        self._encoder = encoder
        self._max_bytes = max_bytes
        self.newest_first = newest_first
        self._events: list[Raw] = []
        self._size = 0
        self._first = 0

    def add(self, line: Stored) -> bool:
        """Add *line*, if it fits. Return whether it does."""
        encoded = self._encoder.encode_in_result(line)
        if self._size + len(encoded) + 1 > self._max_bytes:
            return False
        self._size += len(encoded) + 1
        if self.newest_first or not self._events:
            self._first = line.seq
        self._events.append(Raw(encoded))
        return True

    def finish(self, *, complete: bool) -> Lines:
        """Return the events."""
        events = self._events[::-1] if self.newest_first else self._events
        return Lines(events, self._size, self._first, complete)


class _LineReader:
    """One read of the lines *first* to *last* of *room* into *collector*, page by page, and then to *on_lines*."""

    def __init__(self, room: Room, collector: LineCollector, first: int, last: int, on_lines: OnLines) -> None:
        self._room = room
        self._collector = collector
        self._first = first
        self._last = last
        self._on_lines = on_lines

    def start(self) -> None:
        """Read the next page, if there is one."""
        first, last = self._first, self._last
        if first > last:
            self._on_lines(self._collector.finish(complete=True))
        elif self._collector.newest_first:
            self._room.history(max(first, last - PAGE_LINES + 1), last, self._on_page)
        else:
            self._room.history(first, min(last, first + PAGE_LINES - 1), self._on_page)

    def _on_page(self, page: Sequence[Stored] | JournalError) -> None:
        if isinstance(page, JournalError):
            self._on_lines(page)
            return
        for line in reversed(page) if self._collector.newest_first else page:
            if not self._collector.add(line):
                self._on_lines(self._collector.finish(complete=False))
                return
        if self._collector.newest_first:
            self._last -= PAGE_LINES
        else:
            self._first += PAGE_LINES
        self.start()


def read_lines(
    room: Room,
    encoder: RoomEncoder,
    first: int,
    last: int,
    on_lines: OnLines,
    *,
    max_bytes: int = LIST_BYTES,
    newest_first: bool = True,
) -> None:
    """Read the lines *first* to *last* of *room*, and call *on_lines* with those that fit into *max_bytes*.

    If they do not all fit, these are the newest ones, or else the oldest ones.
    """
    collector = LineCollector(encoder, max_bytes, newest_first=newest_first)
    _LineReader(room, collector, first, last, on_lines).start()
