"""Rooms as programs see them: encoders, pages of members, and stored lines that fit into one message."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from msgspec import Raw

from broadcast.core.errors import JournalError
from broadcast.core.nicknames import casefold_key
from broadcast.doors.jsonrpc.encoder import RoomEncoder, SessionIds, encode_line
from broadcast.doors.jsonrpc.messages import MAX_MESSAGE_BYTES, MemberInfo
from broadcast.doors.jsonrpc.pages import PAGE_LINES, Line, PageReader

if TYPE_CHECKING:
    from broadcast.core.events import Stored
    from broadcast.core.membership import Membership
    from broadcast.core.room import Room
    from broadcast.core.time_slice import CallSoon

ENVELOPE_BYTES: Final = 1024
"""Space in a message for everything but lists: the id, the names of members, numbers."""
LIST_BYTES: Final = MAX_MESSAGE_BYTES - ENVELOPE_BYTES
"""Space in a message for lists, with the commas."""


class MemberPage(NamedTuple):
    """Some members of a room by nickname, as they are encoded."""

    members: list[Raw]
    size: int
    """Number of bytes of *members*, with a comma each."""
    more: bool
    """Whether members follow."""


class _PageKey(NamedTuple):
    """The state of a room, the second, and the limits of a page. The same ones have the same page."""

    version: int
    second: int
    most: int
    max_bytes: int


class Directory:
    """The encoders and the members of all rooms.

    *call_soon* schedules calls for a later turn. *now* returns monotonic seconds, *wall_clock* the time of day in
    seconds since the epoch.
    """

    def __init__(
        self, ids: SessionIds, call_soon: CallSoon, now: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        self.pages = PageReader(call_soon, now)
        self._ids = ids
        self._now = now
        self._wall_clock = wall_clock
        self._encoders: WeakKeyDictionary[Room, RoomEncoder] = WeakKeyDictionary()
        self._sorted: WeakKeyDictionary[Room, tuple[int, list[tuple[str, Membership]]]] = WeakKeyDictionary()
        """The members of rooms by the comparison key of their nickname, and the version of the room at that time."""
        self._first_pages: WeakKeyDictionary[Room, tuple[_PageKey, MemberPage]] = WeakKeyDictionary()
        """The last first page of each room. Many clients that join or come back together receive the same one."""

    def encoder_for(self, room: Room) -> RoomEncoder:
        """Return the encoder for *room*, the same one each time: subscribers with one encoder share its bytes."""
        encoder = self._encoders.get(room)
        if encoder is None:
            encoder = self._encoders[room] = RoomEncoder(room.name, self._ids, self._now)
        return encoder

    def first_members(self, room: Room, count: int, max_bytes: int) -> MemberPage:
        """Return at most *count* of the first members of *room*, which take at most *max_bytes*."""
        key = _PageKey(room.presence_version, int(self._wall_clock()), count, max_bytes)
        known, page = self._first_pages.get(room, (None, None))
        if page is None or key != known:
            page = self.members(room, "", count, max_bytes)
            self._first_pages[room] = key, page
        return page

    def members(self, room: Room, after: str, count: int, max_bytes: int) -> MemberPage:
        """Return at most *count* members of *room* that follow the nickname *after*, and take at most *max_bytes*."""
        everybody = self._sort(room)
        now = self._wall_clock()
        start = bisect_right(everybody, casefold_key(after), key=itemgetter(0)) if after else 0
        page: list[Raw] = []
        size = 0
        for _, membership in everybody[start : start + count]:
            encoded = encode_line(self._describe(membership, now))[:-1]
            if size + len(encoded) + 1 > max_bytes:
                break
            size += len(encoded) + 1
            page.append(Raw(encoded))
        return MemberPage(page, size, start + len(page) < len(everybody))

    def _sort(self, room: Room) -> list[tuple[str, Membership]]:
        version, members = self._sorted.get(room, (-1, []))
        if version != room.presence_version:
            members = [(casefold_key(other.announced_nick), other) for other in room.members.values()]
            members.sort(key=itemgetter(0))
            self._sorted[room] = room.presence_version, members
        return members

    def _describe(self, membership: Membership, now: float) -> MemberInfo:
        member = membership.member
        return MemberInfo(
            nick=membership.announced_nick,
            session=self._ids.of(member.id),
            away=member.away_reason if member.away else None,
            idle=max(0, int(now - member.last_active)),
        )


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
        self.encoder = encoder
        self._max_bytes = max_bytes
        self._newest_first = newest_first
        self._events: list[Raw] = []
        self._size = 0
        self._first = 0

    def add(self, line: Stored) -> bool:
        """Add *line*, if it fits. Return whether it does."""
        return self.add_encoded(Line(line.seq, Raw(self.encoder.encode_in_result(line))))

    def add_encoded(self, line: Line) -> bool:
        """Add *line*, if it fits. Return whether it does."""
        size = len(memoryview(line.event)) + 1
        if self._size + size > self._max_bytes:
            return False
        self._size += size
        if self._newest_first or not self._events:
            self._first = line.seq
        self._events.append(line.event)
        return True

    def finish(self, *, complete: bool) -> Lines:
        """Return the events."""
        events = self._events[::-1] if self._newest_first else self._events
        return Lines(events, self._size, self._first, complete)


class LineReader:
    """Reads the lines *first* to *last* of *room* page by page into *collector*, then calls *on_lines* with them.

    Pages begin after a multiple of ``PAGE_LINES``, so that clients with other numbers can share them.
    """

    def __init__(
        self,
        pages: PageReader,
        room: Room,
        collector: LineCollector,
        first: int,
        last: int,
        on_lines: OnLines,
        *,
        newest_first: bool,
    ) -> None:
        self._pages = pages
        self._room = room
        self._collector = collector
        self._first = first
        self._last = last
        self._on_lines = on_lines
        self._newest_first = newest_first

    def start(self) -> None:
        """Read the next page, if there is one."""
        if self._first > self._last:
            self._on_lines(self._collector.finish(complete=True))
            return
        index = (self._last if self._newest_first else self._first) - 1
        start = index - index % PAGE_LINES
        last = min(start + PAGE_LINES, self._last)
        self._pages.read(self._room, self._collector.encoder, start, last, self._on_page)

    def _on_page(self, page: Sequence[Line] | JournalError) -> None:
        if isinstance(page, JournalError):
            self._on_lines(page)
            return
        wanted = [line for line in page if self._first <= line.seq <= self._last]
        for line in reversed(wanted) if self._newest_first else wanted:
            if not self._collector.add_encoded(line):
                self._on_lines(self._collector.finish(complete=False))
                return
        if self._newest_first:
            self._last -= (self._last - 1) % PAGE_LINES + 1
        else:
            self._first += PAGE_LINES - (self._first - 1) % PAGE_LINES
        self.start()


def read_lines(
    directory: Directory,
    room: Room,
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
    collector = LineCollector(directory.encoder_for(room), max_bytes, newest_first=newest_first)
    LineReader(directory.pages, room, collector, first, last, on_lines, newest_first=newest_first).start()
