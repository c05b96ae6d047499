"""The newest lines of a room as they are encoded: clients that come back together share one read of the journal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Raw

from broadcast.core.errors import JournalError
from broadcast.doors.jsonrpc.line_reader import LIST_BYTES, Lines, read_lines
from broadcast.doors.jsonrpc.messages import MAX_EVENTS

if TYPE_CHECKING:
    from broadcast.core.room import Room
    from broadcast.core.time_slice import CallSoon
    from broadcast.doors.jsonrpc.encoder import RoomEncoder

MOST_LINES: Final = 2 * MAX_EVENTS
"""Maximum number of lines that are held: twice that of a result, because a waiting snapshot ends at an older line."""
MOST_BYTES: Final = 2 * LIST_BYTES
"""Maximum size of these lines, in bytes."""
ANSWERS_PER_TURN: Final = 4
"""Maximum number of requests that are finished in one turn of the reactor."""

OnReady: TypeAlias = Callable[[JournalError | None], None]
"""Called once the lines have been read, or with the reason why that has failed."""


class RecentLines:
    """The newest lines of *room*, without a gap between them, as events of results.

    *call_soon* runs a function in a later turn of the reactor.
    """

    def __init__(self, room: Room, encoder: RoomEncoder, call_soon: CallSoon) -> None:
        self._room = room
        self._encoder = encoder
        self._call_soon = call_soon
        self._events: list[Raw] = []
        self._first = room.last_seq + 1
        """Number of the first line."""
        self._start = 0
        """Position of the first event among all events so far, each with a comma."""
        self._ends: list[int] = []
        """The position after each event."""
        self._reading = False
        self._requests: list[tuple[int, OnReady]] = []
        """The first numbers of the requests that wait for the journal, and their callbacks."""
        self._ready: list[Callable[[], None]] = []
        """Callbacks of requests whose lines have been read."""

    def update(self) -> None:
        """Add the newest lines, which the room has in memory. If they do not continue the others, forget the others."""
        recent = self._room.recent_lines
        oldest = recent[0].seq if recent else self._room.last_seq + 1
        following = self._first + len(self._events)
        if oldest > following:
            self._events, self._ends, self._start = [], [], 0
            self._first = following = oldest
        for line in islice(recent, following - oldest, None):
            self._add(Raw(self._encoder.encode_in_result(line)))
        self._trim()

    def _add(self, event: Raw) -> None:
        self._events.append(event)
        self._ends.append((self._ends[-1] if self._ends else self._start) + len(memoryview(event)) + 1)

    def _trim(self) -> None:
        """Forget the oldest lines, if there are too many."""
        if not self._events:
            return
        surplus = max(len(self._events) - MOST_LINES, self._index_from(self._ends[-1] - MOST_BYTES))
        if surplus > 0:
            self._start = self._ends[surplus - 1]
            self._first += surplus
            del self._events[:surplus], self._ends[:surplus]

    def _index_from(self, position: int) -> int:
        """Return the index of the first event that begins at *position* or later."""
        return 0 if self._start >= position else bisect_left(self._ends, position) + 1

    def request(self, first: int, on_ready: OnReady) -> None:
        """Call *on_ready* when the lines from *first* on have been read, as far as they fit into a result."""
        if first >= self._first:
            on_ready(None)
        else:
            self._requests.append((first, on_ready))
            self._read_next()

    def _read_next(self) -> None:
        """Read the lines for all requests, unless a read is under way."""
        if self._requests and not self._reading:
            self._reading = True
            first = min(first for first, _ in self._requests)
            read_lines(self._room, self._encoder, first, self._first - 1, partial(self._on_read, first, self._first))

    def _on_read(self, first: int, following: int, lines: Lines | JournalError) -> None:
        """Add the lines before *following*, and finish the requests from *first* on."""
        self._reading = False
        error = lines if isinstance(lines, JournalError) else None
        if not isinstance(lines, JournalError) and lines.first + len(lines.events) == following == self._first:
            self._first = lines.first
            self._events[:0] = lines.events
            self._start = 0
            self._ends = list(accumulate(len(memoryview(event)) + 1 for event in self._events))
            self._trim()
        self._ready += [partial(on_ready, error) for wanted, on_ready in self._requests if wanted >= first]
        self._requests = [request for request in self._requests if request[0] < first]
        self._read_next()
        self._answer()

    def _answer(self) -> None:
        """Finish some requests. The others have their turn later, because a result can take a millisecond."""
        ready, self._ready = self._ready[:ANSWERS_PER_TURN], self._ready[ANSWERS_PER_TURN:]
        if self._ready:
            self._call_soon(self._answer)
        for on_ready in ready:
            on_ready()

    def take(self, first: int, last: int, max_bytes: int) -> Lines | None:
        """Return the lines *first* to *last* that fit into *max_bytes*, the newest ones if they do not all fit.

        There is one at least: *first* is not above *last*. Return None if some of these are not here.
        """
        stop = last + 1 - self._first
        if not 0 < stop <= len(self._events):
            return None
        begin = max(first - self._first, self._index_from(self._ends[stop - 1] - max_bytes))
        if begin == 0 and first < self._first:
            return None
        events = self._events[begin:stop]
        size = self._ends[stop - 1] - (self._ends[begin - 1] if begin else self._start)
        return Lines(events, size, self._first + begin if events else 0, self._first + begin == first)
