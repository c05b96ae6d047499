"""The methods of a program that has said hello.

A method answers its call at once or later. A method that answers later, and whose effects the next request could see,
pauses the input until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec
from msgspec import Raw, UnsetType

from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.events import Action, Message, StoreFailed, TopicChanged
from broadcast.core.nicknames import reject_controls
from broadcast.core.sanitize import sanitize
from broadcast.core.search_query import parse_query
from broadcast.doors.jsonrpc import messages
from broadcast.doors.jsonrpc.commands import run_command
from broadcast.doors.jsonrpc.encoder import describe_loss
from broadcast.doors.jsonrpc.errors import Code, RpcError, explain_rejection, refusal
from broadcast.doors.jsonrpc.messages import (
    MAX_EVENTS,
    MAX_ROOMS,
    HistoryResult,
    JoinResult,
    MembersResult,
    NickResult,
    RoomInfo,
    SayResult,
    SearchResult,
    TellResult,
)
from broadcast.doors.jsonrpc.rooms import LIST_BYTES, LineCollector, Lines, read_lines
from broadcast.doors.jsonrpc.session import TELL_UIDS, Connection
from broadcast.doors.jsonrpc.snapshots import SnapshotTaker, Wanted, share_of

if TYPE_CHECKING:
    from broadcast.core.errors import UidReused
    from broadcast.core.events import Gap, ReplayLine, Stored
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.commands import FormatNotice
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import ProgramSession
    from broadcast.doors.jsonrpc.sessions import Sessions

LISTED_TOPIC_CHARS: Final = 80
"""Maximum length of a topic in ``rooms``, if the whole topics do not fit into a message."""


class Context(Connection, Protocol):
    """The connection on which a request has arrived."""

    sessions: Sessions
    format_notice: FormatNotice

    @property
    def session(self) -> ProgramSession:
        """The session of the connection. It can end, or move to another connection, while a request waits."""

    def pause(self) -> None:
        """Handle no further request until ``resume``."""

    def resume(self) -> None:
        """Handle the next request."""


def _say(context: Context, call: Call, params: messages.SayParams) -> None:
    _post(context, call, params, Message)


def _emote(context: Context, call: Call, params: messages.SayParams) -> None:
    _post(context, call, params, Action)


def _post(context: Context, call: Call, params: messages.SayParams, kind: type[Message | Action]) -> None:
    """Append a line to the stream of a room. The call is answered once the line is stored and delivered."""
    session, uid = context.session, params.uid
    if uid:
        call.uid = uid
    room = session.find_room(params.room)
    text = session.clean_text(params.text)
    member = session.member
    on_stored = partial(_answer_stored, call) if call.is_request else None
    event = kind(member.id, member.nick, text, context.sessions.wall_clock(), uid=uid or "", on_stored=on_stored)
    if uid and not room.knows_uids:
        context.pause()
        room.load_uids(partial(_post_with_uid, context, call, session, room, event))
    else:
        room.post(event, partial(_answer_repetition, context, call, room))


def _post_with_uid(
    context: Context, call: Call, session: ProgramSession, room: Room, event: Stored, error: JournalError | None
) -> None:
    """Append the first line with a uid, now that the uids of the room are known."""
    if session.ending:
        call.fail(_session_gone())
    elif error is None:
        room.post(event, partial(_answer_repetition, context, call, room))
    else:
        call.fail(_not_kept(f"Not kept: {error}. Try again later."))
    context.resume()


def _answer_stored(call: Call, event: Stored | StoreFailed | TopicChanged) -> None:
    if isinstance(event, StoreFailed):
        call.fail(_not_kept(describe_loss(event)))
    elif isinstance(event, TopicChanged):
        call.succeed()
    else:
        call.succeed(SayResult(seq=event.seq, at=round(event.at, 3)))


def _answer_repetition(
    context: Context, call: Call, room: Room, first: Stored | StoreFailed | UidReused | JournalError
) -> None:
    """Answer a call that repeats the line *first*, or one that does not."""
    if isinstance(first, RejectedError):
        call.fail(explain_rejection(first))
    elif isinstance(first, JournalError):
        call.fail(_not_kept(f"Not kept: {first}. Try again later."))
    elif isinstance(first, StoreFailed):
        call.fail(_not_kept(describe_loss(first)))
    elif call.is_request:
        _answer_stored(call, first)
    else:
        # The stream of the room may not have reached this line yet, and a program counts the lines that it has read.
        line = context.sessions.directory.encoder_for(room).encode(first)
        room.after_barrier(partial(context.peer.send_in_room, room.publisher, line))


def _not_kept(text: str) -> RpcError:
    return refusal("not-kept", text)


def _join(context: Context, call: Call, params: messages.JoinParams) -> None:
    session = context.session
    if (name := params.room.strip()).lower() in session.member.memberships:
        room = session.find_room(name)
        if not isinstance(params.after, UnsetType) and params.after > room.last_seq:
            raise _ahead(room)
        context.pause()
        context.peer.unsubscribe(room.publisher)  # the stream begins anew, after the new snapshot
        _begin_stream(context, call, params, room, iter(()))
    elif len(session.member.memberships) >= MAX_ROOMS:
        raise refusal("room-refused", f"A session can be in {MAX_ROOMS} rooms.")
    else:
        context.pause()
        context.sessions.hub.open_rooms([params.room], partial(_on_room, context, call, params, session))


def _on_room(
    context: Context,
    call: Call,
    params: messages.JoinParams,
    session: ProgramSession,
    rooms: Sequence[Room] | RejectedError,
) -> None:
    error = None
    if isinstance(rooms, RejectedError):
        error = explain_rejection(rooms)
    elif session.connection is not context:
        error = _session_gone()
    elif not isinstance(params.after, UnsetType) and params.after > rooms[0].last_seq:
        error = _ahead(rooms[0])
    if error is not None:
        call.fail(error)
        context.resume()
    elif not isinstance(rooms, RejectedError):
        session.join(rooms[0], partial(_begin_stream, context, call, params, rooms[0]))


def _session_gone() -> RpcError:
    """Return the error for a request whose session has ended, or continues on another connection."""
    return RpcError(Code.INTERNAL_ERROR, "The session is not here any more.")


def _ahead(room: Room) -> RpcError:
    return refusal("ahead", f"The last line of {room.name} has the number {room.last_seq}.")


def _begin_stream(
    context: Context, call: Call, params: messages.JoinParams, room: Room, replay: Iterator[ReplayLine | Gap]
) -> None:
    """Begin the stream of *room*, and take the snapshot that precedes it."""
    directory = context.sessions.directory
    context.peer.subscribe(room.publisher, directory.encoder_for(room), held=True)
    default = context.sessions.hub.settings.replay
    wanted = Wanted(
        default if isinstance(params.replay, UnsetType) else params.replay,
        None if isinstance(params.after, UnsetType) else params.after,
    )
    SnapshotTaker(directory, room, wanted, share_of(1), replay, partial(_answer_join, context, call, room))


def _answer_join(context: Context, call: Call, room: Room, snapshot: JoinResult) -> None:
    call.succeed(snapshot)
    context.peer.release(room.publisher)
    context.resume()


def _leave(context: Context, call: Call, params: messages.LeaveParams) -> None:
    session = context.session
    room = session.find_room(params.room)
    reason = session.clean_reason(params.reason)
    context.pause()

    def answer() -> None:
        call.succeed()
        context.resume()

    session.leave(room, reason, answer)


def _tell(context: Context, call: Call, params: messages.TellParams) -> None:
    session, uid = context.session, params.uid
    if uid:
        call.uid = uid
        if uid in session.told_uids:
            call.succeed(session.told_uids[uid])
            return
    text = session.clean_text(params.text)
    hub = context.sessions.hub
    to = hub.find(sanitize(params.to))
    room = hub.send_private(session.member, to, text, context.sessions.wall_clock())
    result = TellResult(away=to.away_reason) if to.away else TellResult()
    if uid:
        session.told_uids[uid] = result
        if len(session.told_uids) > TELL_UIDS:
            del session.told_uids[next(iter(session.told_uids))]
    call.succeed(result)
    if room is not None and hub.should_throttle_sender(to):
        context.pause()
        room.after_barrier(context.resume)  # the barrier comes after these private messages


def _topic(context: Context, call: Call, params: messages.TopicParams) -> None:
    session = context.session
    room = session.find_room(params.room)
    text = "" if params.text is None else session.clean_text(params.text).strip()
    room.change_topic(session.member, text, partial(_answer_stored, call) if call.is_request else None)


def _nick(context: Context, call: Call, params: messages.NickParams) -> None:
    member = context.session.member
    reject_controls(params.nick)
    context.sessions.hub.rename(member, sanitize(params.nick))
    call.succeed(NickResult(nick=member.nick))


def _away(context: Context, call: Call, params: messages.AwayParams) -> None:
    session = context.session
    reason = session.clean_reason(params.reason).strip()
    context.sessions.hub.set_away(session.member, params.reason is not None, reason)
    call.succeed()


def _history(context: Context, call: Call, params: messages.HistoryParams) -> None:
    room = context.session.find_room(params.room)
    context.pause()
    room.after_barrier(partial(_read_history, context, call, params, room))  # earlier lines are part of it


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


def _read_history(context: Context, call: Call, params: messages.HistoryParams, room: Room) -> None:
    wanted = _find_range(params, room.last_seq)

    def answer(lines: Lines | JournalError) -> None:
        if isinstance(lines, JournalError):
            call.fail(RpcError(Code.INTERNAL_ERROR, f"The history cannot be read: {lines}."))
        else:
            more = bool(lines.events) and (wanted.more or not lines.complete)
            call.succeed(HistoryResult(events=lines.events, more=more))
        context.resume()

    directory = context.sessions.directory
    read_lines(directory, room, wanted.first, wanted.last, answer, newest_first=wanted.newest_first)


def _search(context: Context, call: Call, params: messages.SearchParams) -> None:
    room = context.session.find_room(params.room)
    query = parse_query(sanitize(params.words))

    def answer(found: Sequence[Stored] | JournalError) -> None:
        if isinstance(found, JournalError):
            call.fail(RpcError(Code.INTERNAL_ERROR, f"This server cannot search: {found}."))
        else:
            collector = LineCollector(context.sessions.directory.encoder_for(room), LIST_BYTES, newest_first=True)
            fits = all(map(collector.add, reversed(found)))
            call.succeed(SearchResult(events=collector.finish(complete=fits).events))
        context.resume()

    context.pause()
    room.after_barrier(partial(room.search, query, params.count, answer))


def _rooms(context: Context, call: Call, _params: messages.Empty) -> None:
    rooms = sorted(context.sessions.hub.rooms.values(), key=lambda room: (-len(room.members), room.name))
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


def _members(context: Context, call: Call, params: messages.MembersParams) -> None:
    room = context.session.find_room(params.room)
    page = context.sessions.directory.members(room, sanitize(params.after), params.count, LIST_BYTES)
    call.succeed(MembersResult(count=len(room.members), members=page.members, more=page.more))


def _command(context: Context, call: Call, params: messages.CommandParams) -> None:
    room = context.session.find_room(params.room)
    run_command(context, call, room, params.line)


def _ping(_context: Context, call: Call, _params: messages.Empty) -> None:
    call.succeed()


def _quit(context: Context, call: Call, params: messages.QuitParams) -> None:
    session = context.session
    reason = session.clean_reason(params.reason)
    context.pause()
    session.on_end = call.succeed  # the connection closes after that
    session.end(reason)


Handler: TypeAlias = "Callable[[Context, Call, Any], None]"
"""Executes one call of a method. It may raise ``RpcError`` or ``RejectedError`` before it has changed anything."""

HANDLERS: Final[Mapping[str, Handler]] = {
    "join": _join,
    "leave": _leave,
    "say": _say,
    "emote": _emote,
    "tell": _tell,
    "topic": _topic,
    "nick": _nick,
    "away": _away,
    "history": _history,
    "search": _search,
    "rooms": _rooms,
    "members": _members,
    "command": _command,
    "ping": _ping,
    "quit": _quit,
}
