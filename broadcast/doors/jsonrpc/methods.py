"""The methods of a program that has said hello.

A method answers its call at once or later. If it answers later, and the next request could see its effects, it pauses
the connection until then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.events import Action, Message, StoreFailed, TopicChanged
from broadcast.core.nicknames import casefold_key, reject_controls
from broadcast.core.rooms import fold_room_name
from broadcast.core.sanitize import sanitize
from broadcast.doors.jsonrpc import accounts, messages
from broadcast.doors.jsonrpc.commands import run_command
from broadcast.doors.jsonrpc.encoder import describe_loss
from broadcast.doors.jsonrpc.errors import RpcError, explain_rejection, refusal, session_gone, uid_unknown
from broadcast.doors.jsonrpc.joining import join
from broadcast.doors.jsonrpc.private_messages import FirstTell
from broadcast.doors.jsonrpc.reading import list_members, list_rooms, read_history, read_inbox, search
from broadcast.doors.jsonrpc.responses import reject
from broadcast.doors.jsonrpc.session import MAX_TELL_UIDS
from broadcast.doors.jsonrpc.uploads import open_upload

if TYPE_CHECKING:
    from broadcast.core.errors import UidReused
    from broadcast.core.events import Stored
    from broadcast.core.private_messages import Sent
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.responses import Call
    from broadcast.doors.jsonrpc.session import Connection, ProgramSession


def _post(kind: type[Message | Action], connection: Connection, call: Call, params: messages.SayParams) -> None:
    """Append a line to the stream of a room. The call is answered once the line is stored and delivered."""
    session, uid = connection.session, params.uid
    if uid:
        call.uid = uid
    try:
        room = session.find_room(params.room)
    except RpcError:
        if uid and _answer_outside(kind, connection, call, params, uid):
            return
        raise
    text = session.clean_text(params.text)
    member = session.member
    on_stored = partial(_answer_stored, call) if call.is_request else None
    event = kind(member.id, member.nick, text, connection.sessions.wall_clock(), uid=uid or "", on_stored=on_stored)
    if uid and not room.knows_uids:
        connection.pause()
        room.load_uids(partial(_post_with_uid, connection, call, session, room, event))
    else:
        _append(connection, call, session, room, event)


def _append(connection: Connection, call: Call, session: ProgramSession, room: Room, event: Stored) -> None:
    """Append a line, unless the room has its uid already, or the session may not speak. Raises ``RejectedError``."""
    moderation = connection.sessions.hub.moderation
    answer = partial(_answer_repetition, connection, call, room)
    if moderation.is_active:
        if event.uid and room.answer_repetition(event, answer):
            return
        moderation.check_line(session.member, room.name, event.at)
    room.post(event, answer)


def _answer_outside(
    kind: type[Message | Action], connection: Connection, call: Call, params: messages.SayParams, uid: str
) -> bool:
    """Answer a line for a room that the session has left, if the room knows its uid. Return whether it does."""
    session = connection.session
    room = connection.sessions.hub.rooms.get(fold_room_name(params.room))
    if room is None:
        return False
    event = kind(session.id, session.member.nick, session.clean_text(params.text), at=0.0, uid=uid)
    return room.answer_repetition(event, partial(_answer_repetition, connection, call, room))


def _post_with_uid(
    connection: Connection, call: Call, session: ProgramSession, room: Room, event: Stored, error: JournalError | None
) -> None:
    """Append a line with a uid, once the uids of the room have been loaded."""
    if session.ending:
        call.fail(session_gone())
    elif error is not None:
        call.fail(uid_unknown(error))
    else:
        try:
            # Meanwhile, the session may have left the room on another connection.
            _append(connection, call, session, session.find_room(room.name), event)
        except RejectedError as rejection:
            reject(connection.sessions.hub, call, rejection)
        except RpcError as refused:
            call.fail(refused)
    connection.resume()


def _answer_stored(call: Call, event: Stored | StoreFailed | TopicChanged) -> None:
    if isinstance(event, StoreFailed):
        call.fail(refusal("not-kept", describe_loss(event)))
    elif isinstance(event, TopicChanged):
        call.succeed()
    else:
        call.succeed(messages.SayResult(seq=event.seq, at=round(event.at, 3)))


def _answer_repetition(
    connection: Connection, call: Call, room: Room, first: Stored | StoreFailed | UidReused | JournalError
) -> None:
    """Answer a call whose uid is known, with the *first* line that has it, or with an error."""
    if isinstance(first, RejectedError):
        call.fail(explain_rejection(first))
    elif isinstance(first, JournalError):
        call.fail(uid_unknown(first))
    elif isinstance(first, StoreFailed) or call.is_request:
        _answer_stored(call, first)
    else:
        # The stream of the room may not have reached this line yet, and a program counts the lines that it has read.
        line = connection.encoder_for(room).encode(first)
        room.after_barrier(partial(connection.peer.send_in_room, room.publisher, line))


def _clean_leave_reason(connection: Connection, text: str | None) -> str:
    """Return the reason *text* as others read it: nothing of people who are muted. Raises ``RpcError``."""
    session = connection.session
    is_muted = connection.sessions.hub.moderation.is_muted(session.member, connection.sessions.wall_clock())
    reason = session.clean_reason(text)
    return "" if is_muted else reason


def _check_speech(connection: Connection) -> None:
    """Raise ``Muted`` if others must not read texts of the session."""
    sessions = connection.sessions
    sessions.hub.moderation.check_speech(connection.session.member, sessions.wall_clock())


def _leave(connection: Connection, call: Call, params: messages.LeaveParams) -> None:
    session = connection.session
    room = session.find_room(params.room)
    reason = _clean_leave_reason(connection, params.reason)
    connection.pause()

    def answer() -> None:
        call.succeed()
        connection.resume()

    session.leave(room, reason, answer)


def _tell(connection: Connection, call: Call, params: messages.TellParams) -> None:
    others, recipient = connection.sessions.hub.other_nodes, sanitize(params.to).strip()
    if others.is_certain(recipient):
        _tell_now(connection, call, params, recipient)
    else:
        connection.pause()
        others.look_up([recipient], partial(_tell_later, connection, connection.session, call, params, recipient))


def _tell_later(
    connection: Connection, session: ProgramSession, call: Call, params: messages.TellParams, recipient: str
) -> None:
    """Send a private message for which the connection has waited."""
    connection.ready = True
    try:
        if session.connection is not connection:
            raise session_gone()
        _tell_now(connection, call, params, recipient)
    except RejectedError as error:
        reject(connection.sessions.hub, call, error)
    except RpcError as error:
        call.fail(error)
    if connection.ready:
        connection.resume()


def _tell_now(connection: Connection, call: Call, params: messages.TellParams, recipient: str) -> None:
    session, uid = connection.session, params.uid
    if uid:
        call.uid = uid
    text = session.clean_text(params.text)
    # A digest, because the texts of all messages that a session remembers would take four megabytes.
    # It is the same on all nodes.
    digest = int.from_bytes(blake2b(f"{casefold_key(recipient)}\0{text}".encode(), digest_size=8).digest())
    if uid and (known := session.tell_uids.get(uid)) is not None:
        if known.digest != digest:
            raise refusal("uid-reused", "Another private message of this session has the same uid.")
        known.answer(call)
        return
    _check_speech(connection)
    first = FirstTell(digest)
    first.answer(call)
    _send_first(connection, first, recipient, text, uid or "")
    if uid:
        session.tell_uids[uid] = first
        if len(session.tell_uids) > MAX_TELL_UIDS:
            del session.tell_uids[next(iter(session.tell_uids))]


def _send_first(connection: Connection, first: FirstTell, recipient: str, text: str, uid: str) -> None:
    """Send a private message for the first time, and answer the calls of *first*. Raises ``RejectedError``."""
    hub, session = connection.sessions.hub, connection.session

    def on_stored(sent: Sent | RejectedError) -> None:
        if isinstance(sent, RejectedError):
            hub.rejections[sent.kind] += 1
            session.tell_uids.pop(uid, None)
            first.fail(explain_rejection(sent))
            connection.resume()
        elif not _end_tell(connection, first, sent):
            connection.resume()

    at = connection.sessions.wall_clock()
    sent = hub.private_messages.send(session.member, hub.people.find_recipient(recipient), text, at, on_stored, uid)
    if sent is None:
        connection.pause()
    else:
        _end_tell(connection, first, sent)


def _end_tell(connection: Connection, tell: FirstTell, sent: Sent) -> bool:
    """Answer the calls of *tell*. If the recipient reads slowly, pause the connection for a time, and return True."""
    to, room = sent.to, sent.room
    if to is None:
        tell.succeed(messages.TellResult(kept=True))
        return False
    tell.succeed(messages.TellResult(away=to.away_reason) if to.away else messages.TellResult())
    if room is None or not connection.sessions.hub.private_messages.should_throttle_sender(to):
        return False
    connection.pause()
    room.after_barrier(connection.resume)  # the barrier comes after these private messages
    return True


def _topic(connection: Connection, call: Call, params: messages.TopicParams) -> None:
    session = connection.session
    room = session.find_room(params.room)
    text = "" if params.text is None else session.clean_text(params.text).strip()
    on_stored = partial(_answer_stored, call) if call.is_request else None
    sessions = connection.sessions
    sessions.hub.change_topic(session.member, room, text, sessions.wall_clock(), on_stored)


def _nick(connection: Connection, call: Call, params: messages.NickParams) -> None:
    hub, member = connection.sessions.hub, connection.session.member
    reject_controls(params.nick)
    _check_speech(connection)

    def renamed(error: RejectedError | None) -> None:
        if error is None:
            call.succeed(messages.NickResult(nick=member.nick))
        else:
            reject(hub, call, error)
        if not connection.ready:
            connection.resume()

    if not hub.rename(member, sanitize(params.nick), renamed):
        connection.pause()


def _away(connection: Connection, call: Call, params: messages.AwayParams) -> None:
    session = connection.session
    reason = session.clean_reason(params.reason).strip()
    if reason:
        _check_speech(connection)
    connection.sessions.hub.set_away(session.member, params.reason is not None, reason)
    call.succeed()


def _command(connection: Connection, call: Call, params: messages.CommandParams) -> None:
    room = connection.session.find_room(params.room)
    run_command(connection, call, room, params.line)


def _ping(_connection: Connection, call: Call, _params: messages.Empty) -> None:
    call.succeed()


def _quit(connection: Connection, call: Call, params: messages.QuitParams) -> None:
    session = connection.session
    reason = _clean_leave_reason(connection, params.reason)
    connection.pause()

    def end() -> None:
        if session.connection is connection:
            session.on_end = call.succeed  # the connection closes after that
            session.end(reason)

    call.when_next(end)


Handler: TypeAlias = "Callable[[Connection, Call, Any], None]"
"""Executes one call of a method. It may raise ``RpcError`` or ``RejectedError`` before it has changed anything."""

HANDLERS: Final[Mapping[str, Handler]] = {
    "join": join,
    "leave": _leave,
    "say": partial(_post, Message),
    "emote": partial(_post, Action),
    "upload": open_upload,
    "tell": _tell,
    "topic": _topic,
    "nick": _nick,
    "away": _away,
    "history": read_history,
    "search": search,
    "inbox": read_inbox,
    "rooms": list_rooms,
    "members": list_members,
    "command": _command,
    "ping": _ping,
    "quit": _quit,
    "register": accounts.register,
    "login": accounts.login,
    "oidc": accounts.begin_oidc,
    "logout": accounts.logout,
    "set_password": accounts.set_password,
    "drop": accounts.drop,
}
