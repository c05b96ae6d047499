"""Snapshots of rooms: the state of a room when a program's stream of it begins, and the wait for missing lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Raw, UnsetType

from broadcast.core.errors import Busy, JournalError
from broadcast.doors.jsonrpc.claiming import CATCH_UP_SECONDS, LOOK_SECONDS
from broadcast.doors.jsonrpc.errors import RpcError, explain_rejection, refusal
from broadcast.doors.jsonrpc.line_reader import ENVELOPE_BYTES, Lines, read_lines
from broadcast.doors.jsonrpc.messages import MAX_EVENTS, MAX_MESSAGE_BYTES, SNAPSHOT_MEMBERS, JoinResult

if TYPE_CHECKING:
    from broadcast.core.events import Stored
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.session import Connection

ROOM_BYTES: Final = 512
"""Space in a snapshot for everything but the topic, the members and the events."""


def check_after(room: Room, after: int | UnsetType) -> None:
    """Raise ``RpcError`` if *after* is above the number of the last line of *room*."""
    if not isinstance(after, UnsetType) and after > room.last_seq:
        raise refusal("ahead", f"The last line of {room.name} has the number {room.last_seq}.")


class CatchUp:
    """The wait until this node has read the lines that the client of *connection* has read on another node.

    Its callbacks are arguments of ``must_wait``. If it stored them, it would form a reference cycle with their owner.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._end: float | None = None
        """Time of the clock until which this node may read the lines; None before the first wait."""
        self._is_ahead = False
        """Whether the client says that it has seen lines that the journal does not have."""

    def must_wait(
        self,
        rooms: Iterable[Room],
        after: Mapping[str, int],
        retry: Callable[[], None],
        refuse: Callable[[RpcError], None],
    ) -> bool:
        """Return whether the client must wait until this node has read lines of *rooms*.

        *after* has the number of the last line that the client has seen in each room, by its name. If the client must
        wait, *retry* is called later, and calls this method again. If the lines do not come within ``CATCH_UP_SECONDS``
        although the journal has them, *refuse* is called with the error *busy*. If the journal does not have them, the
        next result is False, and ``check_after`` rejects the numbers.
        """
        behind = [room for room in rooms if room.last_seq < after.get(room.name, 0)]
        sessions = self._connection.sessions
        if sessions.hub.other_nodes.sessions is None or not behind or self._is_ahead:
            return False
        clock = sessions.clock
        if self._end is None:
            self._end = clock.seconds() + CATCH_UP_SECONDS
        if clock.seconds() < self._end:
            clock.callLater(LOOK_SECONDS, retry)
        else:
            behind[0].read_journal(after[behind[0].name], partial(self._on_last_line, retry, refuse))
        return True

    def _on_last_line(
        self,
        retry: Callable[[], None],
        refuse: Callable[[RpcError], None],
        found: Sequence[Stored] | JournalError,
    ) -> None:
        """Go on with *found*: the last line that the client has seen, if the journal has it.

        A client whose numbers are rejected reads lines again that it has read before. So a node that is only behind,
        for example because the database was restarted, must not reject them.
        """
        if not self._connection.is_open:
            return
        if found:  # the line, or an error, after which the journal may still have it
            refuse(explain_rejection(Busy()))
        else:
            self._is_ahead = True
            retry()


def bytes_per_snapshot(rooms: int, other_bytes: int = 0) -> int:
    """Return the space for each of *rooms* snapshots in one message that also holds *other_bytes*."""
    return (MAX_MESSAGE_BYTES - ENVELOPE_BYTES - other_bytes) // max(1, rooms)


class SnapshotTaker:
    """One snapshot of *room* in at most *max_bytes*, and the stream that continues it on *connection*.

    The snapshot has all events after the number *after* if that is set, otherwise the last *replay* ones. The default
    of *replay* is the server's setting.

    The snapshot shows the room at the time when the taker is made, but some events may have to be read from the
    journal. *on_snapshot* is called with this object and the snapshot when it is complete. So the function need not
    refer to this object, which would form a reference cycle. The events of the stream wait until ``release`` is called.
    """

    def __init__(
        self,
        connection: Connection,
        room: Room,
        replay: int | UnsetType,
        after: int | UnsetType,
        max_bytes: int,
        on_snapshot: Callable[[SnapshotTaker, JoinResult], None],
    ) -> None:
        room_views = connection.sessions.room_views
        self.room = room
        self.unused_bytes = 0
        """Number of bytes that remain when the snapshot is complete."""
        self.is_cut = False
        """Whether more events would have been in the complete snapshot if they had fitted."""
        self._encoder = connection.encoder_for(room)
        self.release = connection.peer.subscribe(room.publisher, self._encoder, held=True)
        """A function that starts to send the events of the stream, unless it has ended meanwhile."""
        self._recent = room_views.recent_lines(room)
        self._last = room.last_seq
        self._topic = _fit_text(room.topic, max_bytes // 8)
        self._count = len(room.members)
        space = max_bytes - ROOM_BYTES - 2 * len(self._topic.encode())
        self._page = room_views.first_members(room, SNAPSHOT_MEMBERS, space // 2)
        self._space = space - self._page.size
        self._after = None if isinstance(after, UnsetType) else after
        if isinstance(replay, UnsetType):
            replay = connection.sessions.hub.settings.replay
        first = self._last - replay + 1 if self._after is None else self._after + 1
        self._first = max(first, self._last - MAX_EVENTS + 1, 1)
        self._on_snapshot = on_snapshot

    def take_events(self, more_bytes: int = 0) -> None:
        """Take the events, and complete the snapshot. If it is cut, this may be called again with *more_bytes*."""
        self._space += more_bytes
        if self._first > self._last:
            self._on_lines(Lines([], 0, 0, complete=True))
        else:
            self._recent.request(self._first, self._on_ready)

    def _on_ready(self, error: JournalError | None) -> None:
        lines = error or self._recent.take(self._first, self._last, self._space)
        if lines is not None:
            self._on_lines(lines)
        else:  # the room is so busy that its newest lines do not continue those that were read
            read_lines(self.room, self._encoder, self._first, self._last, self._on_lines, max_bytes=self._space)

    def _on_lines(self, lines: Lines | JournalError) -> None:
        if isinstance(lines, JournalError):
            lines = Lines([], 0, 0, complete=False)  # the client can ask again, with history
        else:
            self.is_cut = not lines.complete
        self.unused_bytes = self._space - lines.size
        events = lines.events
        first = lines.first or self._last + 1
        oldest = 1 if self._after is None else self._after + 1
        if self._after is not None and first > oldest:
            events = [Raw(self._encoder.encode_gap_in_result(oldest, first - 1)), *events]
        self._on_snapshot(
            self,
            JoinResult(
                room=self.room.name,
                last=self._last,
                topic=self._topic or None,
                count=self._count,
                members=self._page.members,
                events=events,
                more=first > oldest,
            ),
        )


def _fit_text(text: str, max_bytes: int) -> str:
    """Return as much of *text* as fits into *max_bytes* of JSON. A byte that JSON escapes takes two."""
    return text.encode()[: max_bytes // 2].decode("utf-8", "ignore")
