"""Rooms as programs see them: their encoders, their members, and their newest lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from msgspec import Raw

from broadcast.core.nicknames import casefold_key
from broadcast.doors.jsonrpc.encoder import FramedEncoder, FrameLine, RoomEncoder, encode_line, public_id
from broadcast.doors.jsonrpc.messages import MemberInfo
from broadcast.doors.jsonrpc.recent_lines import RecentLines

if TYPE_CHECKING:
    from broadcast.core.events import FileInfo
    from broadcast.core.membership import Membership
    from broadcast.core.room import Room
    from broadcast.core.time_slice import CallSoon

MOST_ROOMS: Final = 8
"""Maximum number of rooms whose newest lines are held, half a megabyte each at most."""


class MemberPage(NamedTuple):
    """Some members of a room by nickname, as they are encoded."""

    members: list[Raw]
    size: int
    """Number of bytes of *members*, with a comma each."""
    more: bool
    """Whether members follow."""


class _PageKey(NamedTuple):
    """The key of a page: the version of the room, the second, and the limits. An equal key has an equal page."""

    version: int
    second: int
    most: int
    max_bytes: int


class RoomViews:
    """The encoders and the members of all rooms.

    *now* returns monotonic seconds, *wall_clock* the time of day in seconds since the epoch. *call_soon* runs a
    function in a later turn of the reactor. *file_url* is for the encoders.
    """

    def __init__(
        self,
        now: Callable[[], float],
        wall_clock: Callable[[], float],
        call_soon: CallSoon,
        file_url: Callable[[FileInfo], str],
    ) -> None:
        self._call_soon = call_soon
        self._file_url = file_url
        self._now = now
        self._wall_clock = wall_clock
        self._encoders: WeakKeyDictionary[Room, dict[FrameLine | None, RoomEncoder]] = WeakKeyDictionary()
        self._sorted: WeakKeyDictionary[Room, tuple[int, list[tuple[str, Membership]]]] = WeakKeyDictionary()
        """The members of rooms by the comparison key of their nickname, and the version of the room at that time."""
        self._first_pages: WeakKeyDictionary[Room, tuple[_PageKey, MemberPage]] = WeakKeyDictionary()
        """The last first page of each room. Many clients that join or come back together receive the same one."""
        self._recent_lines: dict[Room, RecentLines] = {}
        """The newest lines of the rooms that clients have asked for last. The latest room is the last one."""

    def encoder_for(self, room: Room, frame: FrameLine | None = None) -> RoomEncoder:
        """Return the encoder for *room*, the same one each time: subscribers with one encoder share its bytes.

        With *frame*, the events of the stream are framed lines.
        """
        encoders = self._encoders.setdefault(room, {})
        encoder = encoders.get(frame)
        if encoder is None:
            if frame is None:
                encoder = RoomEncoder(room.name, self._now, self._file_url)
            else:
                encoder = FramedEncoder(room.name, self._now, self._file_url, frame)
            encoders[frame] = encoder
        return encoder

    def recent_lines(self, room: Room) -> RecentLines:
        """Return the newest lines of *room*, up to its last one."""
        recent = self._recent_lines.pop(room, None) or RecentLines(room, self.encoder_for(room), self._call_soon)
        self._recent_lines[room] = recent
        if len(self._recent_lines) > MOST_ROOMS:
            del self._recent_lines[next(iter(self._recent_lines))]
        recent.update()
        return recent

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
            session=public_id(member.id),
            away=member.away_reason if member.away else None,
            idle=max(0, int(now - member.last_active)),
        )
