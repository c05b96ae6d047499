"""The methods that read: stored lines, rooms and members."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from broadcast.core.errors import JournalError
from broadcast.core.sanitize import sanitize
from broadcast.core.search_query import parse_query
from broadcast.doors.jsonrpc import messages
from broadcast.doors.jsonrpc.errors import Code, RpcError
from broadcast.doors.jsonrpc.line_reader import LIST_BYTES, LineCollector, Lines, read_lines
from broadcast.doors.jsonrpc.messages import MAX_EVENTS, HistoryResult, MembersResult, RoomInfo, SearchResult

if TYPE_CHECKING:
    from broadcast.core.events import Stored
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection

LISTED_TOPIC_CHARS: Final = 80
"""Maximum length of a topic in ``rooms``, if the whole topics do not fit into a message."""


def read_history(connection: Connection, call: Call, params: messages.HistoryParams) -> None:
    """Answer with a range of stored lines."""
    room = connection.session.find_room(params.room)
    connection.pause()
    room.after_barrier(partial(_read_range, connection, call, params, room))  # earlier lines are part of it


class _Range(NamedTuple):
    """The lines *first* to *last* of a room, of which the newest or the oldest ones count if they do not all fit."""

    first: int
    last: int
    newest_first: bool
    more: bool
    """Whether the room has more lines in the direction of the request."""


def _find_range(params: messages.HistoryParams, newest: int) -> _Range:
    """Return the range for which *params* ask in a room whose last line is *newest*."""
    count = messages.DEFAULT_EVENTS if isinstance(params.count, UnsetType) else params.count
    if not isinstance(params.last, UnsetType):
        first = max(newest - params.last + 1, 1)
        return _Range(first, newest, True, first > 1)
    if not isinstance(params.before, UnsetType):
        end = min(params.before - 1, newest)
        first = max(end - count + 1, 1)
        return _Range(first, end, True, first > 1)
    if not isinstance(params.after, UnsetType):
        first, end = params.after + 1, newest
    else:
        assert not isinstance(params.from_, UnsetType)
        assert not isinstance(params.to, UnsetType)
        first, end, count = params.from_, min(params.to, newest), MAX_EVENTS
    last = min(end, first + count - 1)
    return _Range(first, last, False, last < end)


def _read_range(connection: Connection, call: Call, params: messages.HistoryParams, room: Room) -> None:
    wanted = _find_range(params, room.last_seq)

    def answer(lines: Lines | JournalError) -> None:
        if isinstance(lines, JournalError):
            call.fail(RpcError(Code.INTERNAL_ERROR, f"The history cannot be read: {lines}."))
        else:
            more = bool(lines.events) and (wanted.more or not lines.complete)
            call.succeed(HistoryResult(events=lines.events, more=more))
        connection.resume()

    encoder = connection.sessions.directory.encoder_for(room)
    read_lines(room, encoder, wanted.first, wanted.last, answer, newest_first=wanted.newest_first)


def search(connection: Connection, call: Call, params: messages.SearchParams) -> None:
    """Answer with the newest lines that hold all words."""
    room = connection.session.find_room(params.room)
    query = parse_query(sanitize(params.words))

    def answer(found: Sequence[Stored] | JournalError) -> None:
        if isinstance(found, JournalError):
            call.fail(RpcError(Code.INTERNAL_ERROR, f"This server cannot search: {found}."))
        else:
            collector = LineCollector(connection.sessions.directory.encoder_for(room), LIST_BYTES, newest_first=True)
            fits = all(map(collector.add, reversed(found)))
            call.succeed(SearchResult(events=collector.finish(complete=fits).events))
        connection.resume()

    connection.pause()
    room.after_barrier(partial(room.search, query, params.count, answer))


def list_rooms(connection: Connection, call: Call, _params: messages.Empty) -> None:
    """Answer with the open rooms that fit into a message, the largest first."""
    rooms = sorted(connection.sessions.hub.rooms.values(), key=lambda room: (-len(room.members), room.name))
    listed = [_describe_room(room, room.topic) for room in rooms]
    if sum(map(_size, listed)) > LIST_BYTES:
        listed = [_describe_room(room, room.topic[:LISTED_TOPIC_CHARS]) for room in rooms]
    sizes = accumulate(map(_size, listed))
    call.succeed([room for room, size in zip(listed, sizes, strict=True) if size <= LIST_BYTES])


def _describe_room(room: Room, topic: str) -> Raw:
    info = RoomInfo(room=room.name, members=len(room.members), last=room.last_seq, topic=topic or None)
    return Raw(msgspec.json.encode(info))


def _size(encoded: Raw) -> int:
    return len(memoryview(encoded)) + 1


def list_members(connection: Connection, call: Call, params: messages.MembersParams) -> None:
    """Answer with a page of members, as many as fit into a message."""
    room = connection.session.find_room(params.room)
    after = sanitize(params.after).strip()

    def make_result() -> MembersResult:
        page = connection.sessions.directory.members(room, after, params.count, LIST_BYTES)
        return MembersResult(count=len(room.members), members=page.members, more=page.more)

    call.succeed_lazily(make_result)
