"""Snapshots of rooms: the state of a room at the moment when a program's stream of it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from msgspec import Raw

from broadcast.core.errors import JournalError
from broadcast.core.events import ReplayLine
from broadcast.doors.jsonrpc.messages import MAX_EVENTS, MAX_MESSAGE_BYTES, SNAPSHOT_MEMBERS, JoinResult
from broadcast.doors.jsonrpc.rooms import ENVELOPE_BYTES, LineCollector, Lines, read_lines

if TYPE_CHECKING:
    from broadcast.core.events import Gap, Stored
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.rooms import Directory

ROOM_BYTES: Final = 512
"""Space in a snapshot for everything but the topic, the members and the events."""

OnSnapshot: TypeAlias = Callable[[JoinResult], None]
"""Receives a snapshot, perhaps later."""


class Wanted(NamedTuple):
    """The events that a client wants: those after the number *after*, or the last *replay* ones if it is None."""

    replay: int
    after: int | None = None


def share_of(rooms: int, other_bytes: int = 0) -> int:
    """Return the space for each of *rooms* snapshots in one message, beside *other_bytes*."""
    return (MAX_MESSAGE_BYTES - ENVELOPE_BYTES - other_bytes) // max(1, rooms)


class SnapshotTaker:
    """One snapshot of *room* in at most *max_bytes*.

    It is taken when the taker is made, but some of its events may have to be read from the journal. *on_snapshot* is
    called when it is complete. *replay* yields the recent lines, if they are at hand.
    """

    def __init__(
        self,
        directory: Directory,
        room: Room,
        wanted: Wanted,
        max_bytes: int,
        replay: Iterable[ReplayLine | Gap],
        on_snapshot: OnSnapshot,
    ) -> None:
        self._directory = directory
        self._room = room
        self._encoder = directory.encoder_for(room)
        self._last = room.last_seq
        self._topic = _fit_text(room.topic, max_bytes // 8)
        self._count = len(room.members)
        space = max_bytes - ROOM_BYTES - 2 * len(self._topic.encode())
        self._page = directory.first_members(room, SNAPSHOT_MEMBERS, space // 2)
        self._space = space - self._page.size
        self._after = wanted.after
        first = self._last - wanted.replay + 1 if wanted.after is None else wanted.after + 1
        self._first = max(first, self._last - MAX_EVENTS + 1, 1)
        self._on_snapshot = on_snapshot
        self._take_events([line.event for line in replay if isinstance(line, ReplayLine)])

    def _take_events(self, recent: list[Stored]) -> None:
        """Take the events from *recent* lines, if these are enough, or else from the journal."""
        first, last = self._first, self._last
        if first > last or (recent and recent[0].seq <= first):
            collector = LineCollector(self._encoder, self._space, newest_first=True)
            fits = all(collector.add(line) for line in reversed(recent) if line.seq >= first)
            self._on_lines(collector.finish(complete=fits))
        else:
            read_lines(self._directory, self._room, first, last, self._on_lines, max_bytes=self._space)

    def _on_lines(self, lines: Lines | JournalError) -> None:
        if isinstance(lines, JournalError):
            lines = Lines([], 0, 0, complete=False)  # the client can ask again, with history
        events = lines.events
        first = lines.first or self._last + 1
        oldest = 1 if self._after is None else self._after + 1
        if self._after is not None and first > oldest:
            events = [Raw(self._encoder.encode_gap_in_result(oldest, first - 1)), *events]
        self._on_snapshot(
            JoinResult(
                room=self._room.name,
                last=self._last,
                topic=self._topic or None,
                count=self._count,
                members=self._page.members,
                events=events,
                more=first > oldest,
            )
        )


def _fit_text(text: str, max_bytes: int) -> str:
    """Return as much of *text* as fits into *max_bytes* of JSON. A character takes two bytes if it is quoted."""
    return text if 2 * len(text.encode()) <= max_bytes else text.encode()[: max_bytes // 2].decode("utf-8", "ignore")
