"""The methods that read: stored lines, rooms and members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct, UnsetType

from broadcast.core.errors import JournalError
from broadcast.core.private_commands import MAX_LINES, find_partner
from broadcast.core.sanitize import sanitize
from broadcast.core.search_query import parse_query
from broadcast.doors.jsonrpc import messages
from broadcast.doors.jsonrpc.accounts import own_account
from broadcast.doors.jsonrpc.encoder import encode_stored_private
from broadcast.doors.jsonrpc.errors import Code, RpcError
from broadcast.doors.jsonrpc.line_reader import LIST_BYTES, LineCollector, Lines, read_lines
from broadcast.doors.jsonrpc.messages import MAX_EVENTS, HistoryResult, MembersResult, RoomInfo, SearchResult

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.events import Stored
    from broadcast.core.interfaces import PrivateLinesCallback
    from broadcast.core.private_lines import PrivateLines
    from broadcast.core.records import PrivateLine
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection

LISTED_TOPIC_CHARS: Final = 80
"""Maximum length of a topic in ``rooms``, if the whole topics do not fit into a message."""


def read_history(connection: Connection, call: Call, params: messages.HistoryParams) -> None:
    """Answer with a range of stored lines, or with the newest private messages with a person."""
    if not isinstance(params.with_, UnsetType):
        assert not isinstance(params.last, UnsetType)
        limit = min(params.last, MAX_LINES)
        read = partial(_private_lines(connection).read_with, *_find_pair(connection, params.with_), None, limit + 1)

        def make_result(events: list[Raw], fits: bool) -> HistoryResult:
            return HistoryResult(events=events[-limit:], more=len(events) > limit or not fits)

        _answer_private(connection, call, read, make_result)
        return
    assert not isinstance(params.room, UnsetType)
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

    encoder = connection.sessions.room_views.encoder_for(room)
    read_lines(room, encoder, wanted.first, wanted.last, answer, newest_first=wanted.newest_first)


def search(connection: Connection, call: Call, params: messages.SearchParams) -> None:
    """Answer with the newest lines that hold all words."""
    query = parse_query(sanitize(params.words))
    if not isinstance(params.with_, UnsetType):
        pair = _find_pair(connection, params.with_)
        read = partial(_private_lines(connection).search, *pair, query, params.count)
        _answer_private(connection, call, read, lambda events, fits: SearchResult(events=events))  # noqa: ARG005
        return
    assert not isinstance(params.room, UnsetType)
    room = connection.session.find_room(params.room)

    def answer(found: Sequence[Stored] | JournalError) -> None:
        if isinstance(found, JournalError):
            call.fail(RpcError(Code.INTERNAL_ERROR, f"This server cannot search: {found}."))
        else:
            collector = LineCollector(connection.sessions.room_views.encoder_for(room), LIST_BYTES, newest_first=True)
            fits = all(map(collector.add, reversed(found)))
            call.succeed(SearchResult(events=collector.finish(complete=fits).events))
        connection.resume()

    connection.pause()
    room.after_barrier(partial(room.search, query, params.count, answer))


def read_inbox(connection: Connection, call: Call, _params: messages.Empty) -> None:
    """Answer with the newest stored private messages to the user."""
    read = partial(_private_lines(connection).read_inbox, own_account(connection))
    _answer_private(connection, call, read, lambda events, fits: SearchResult(events=events))  # noqa: ARG005


def _private_lines(connection: Connection) -> PrivateLines:
    return connection.sessions.hub.private_lines


def _find_pair(connection: Connection, name: str) -> tuple[Account, Account]:
    """Return the own account, and that of the person *name*. Raises ``RejectedError``."""
    own = own_account(connection)
    return own, find_partner(connection.sessions.hub, sanitize(name))


def _answer_private(
    connection: Connection,
    call: Call,
    read: Callable[[PrivateLinesCallback], None],
    make_result: Callable[[list[Raw], bool], Struct],
) -> None:
    """Answer with the private lines that *read* finds: the newest ones that fit into a message."""

    def on_result(lines: Sequence[PrivateLine] | JournalError) -> None:
        if isinstance(lines, JournalError):
            call.fail(RpcError(Code.INTERNAL_ERROR, f"The private messages cannot be read: {lines}."))
        else:
            events = [encode_stored_private(line) for line in reversed(lines)]
            sizes = accumulate(map(_size, events))
            fitting = [event for event, size in zip(events, sizes, strict=True) if size <= LIST_BYTES]
            call.succeed(make_result(fitting[::-1], len(fitting) == len(events)))
        connection.resume()

    connection.pause()
    read(on_result)


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
        page = connection.sessions.room_views.members(room, after, params.count, LIST_BYTES)
        return MembersResult(count=len(room.members), members=page.members, more=page.more)

    call.succeed_lazily(make_result)
