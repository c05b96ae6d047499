"""The session of a program: a member that outlives its connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from weakref import proxy

from broadcast.core.directory import SERVER_STOPPED
from broadcast.core.errors import NotHere
from broadcast.core.remote_listener import ignore_outcome
from broadcast.core.rooms import call_after_barriers, fold_room_name
from broadcast.core.sanitize import sanitize
from broadcast.core.session import CONNECTION_LOST
from broadcast.doors.jsonrpc.encoder import encode_notification, public_id
from broadcast.doors.jsonrpc.errors import refusal
from broadcast.doors.jsonrpc.notifications import Announced
from broadcast.doors.jsonrpc.private_messages import PrivateMessages

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

    from broadcast.core.directory import OnDirectory
    from broadcast.core.errors import JournalError
    from broadcast.core.events import Gap, Notice, PrivateMessage, ReplayLine
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Callback
    from broadcast.core.membership import Member
    from broadcast.core.records import PrivateLine
    from broadcast.core.room import Room
    from broadcast.core.source import Source
    from broadcast.core.time_slice import CallSoon
    from broadcast.delivery.multi_room_peer import MultiRoomPeer
    from broadcast.doors.jsonrpc.encoder import RoomEncoder
    from broadcast.doors.jsonrpc.private_messages import FirstTell
    from broadcast.doors.jsonrpc.room_views import RoomViews

MAX_TELL_UIDS: Final = 1_000
"""Maximum number of uids of private messages that a session remembers."""
RESUMED_ELSEWHERE: Final = "resumed elsewhere"
"""The reason of the ``goodbye`` to a client whose session goes on with another connection."""

MOVED: Final = "the session has moved to another server"
"""The reason of the ``goodbye`` to a client that has to come back for its session once more."""


class Connection(Protocol):
    """The connection of a session, on which its requests arrive."""

    ready: bool
    """Whether the next request can be handled."""
    encode_notice: Callable[[Notice], bytes]
    """Returns a notice as a line of the line protocol."""

    @property
    def sessions(self) -> SessionRegistry:
        """The owner of all sessions."""

    @property
    def session(self) -> ProgramSession:
        """The session. It can end, or move to another connection, while a request waits."""

    @property
    def peer(self) -> MultiRoomPeer:
        """The delivery to the client, with one stream for each room."""

    @property
    def is_open(self) -> bool:
        """Whether the connection has not ended."""

    @property
    def is_gone(self) -> bool:
        """Whether the connection is gone, and the requests from before are still handled."""

    @property
    def address(self) -> IAddress:
        """The address of the client."""

    @property
    def source(self) -> Source:
        """The origin of the connection."""

    def encoder_for(self, room: Room) -> RoomEncoder:
        """Return the encoder for the stream of *room* to the client."""

    def send(self, line: bytes) -> None:
        """Append *line* to the responses. It may also be several lines, or none."""

    def pause(self) -> None:
        """Handle no further request until ``resume``."""

    def resume(self) -> None:
        """Handle the next request."""

    def session_ended(self) -> None:
        """Close, because the session has left its rooms."""

    def session_taken(self, reason: str, *, reconnect: bool = False) -> None:
        """Close with a ``goodbye`` because of *reason*: the session goes on without this connection, or has ended."""


class SessionRegistry(Protocol):
    """The owner of all sessions, and the objects that they share."""

    hub: Hub
    clock: IReactorTime
    call_soon: CallSoon
    wall_clock: Callable[[], float]
    room_views: RoomViews

    def begin_waiting(self, session: ProgramSession) -> None:
        """Count *session* toward the limits of connections until ``end_waiting``."""

    def end_waiting(self, session: ProgramSession) -> None:
        """Stop counting *session*."""

    def begin_leave(self, session: ProgramSession, reason: str) -> None:
        """Void the token of *session*, and log that it leaves."""

    def remove(self, session: ProgramSession) -> None:
        """Free *session*, which has left all rooms."""

    def publish(self, session: ProgramSession, on_published: Callback) -> None:
        """Tell the other nodes of *session*, so that it can go on there. Then call *on_published*."""

    def park(self, session: ProgramSession, on_parked: OnDirectory) -> None:
        """Give *session* up, for another node. Call *on_parked* once that has happened, or has failed."""

    def give_away(self, session: ProgramSession, reason: str) -> None:
        """Free *session*, which another node has now or can claim, and log that it leaves because of *reason*."""


class ProgramSession:
    """A program with a nickname, in any number of rooms, with or without a connection.

    *grace* is the time for which it remains without a connection, in seconds. ``begin`` is called first, then
    ``attach``.
    """

    member: Member
    """The member that the session is."""
    first_nick: str
    """The nickname with which the session began."""
    private: PrivateMessages
    """The private messages to the session. They are held until the client has received the result of ``hello``."""
    address: IAddress
    """The address of the last client."""

    def __init__(
        self,
        sessions: SessionRegistry,
        token: str,
        grace: float,
        id_: int | None = None,
    ) -> None:
        self.id = sessions.hub.next_session_id() if id_ is None else id_
        self.token = token
        """The secret that resumes the session."""
        self.has_client_token = False
        """Whether a client has been sent the token, and so can resume the session."""
        self.grace = grace
        self.attempt = 0
        """The highest attempt to resume the session so far."""
        self.connection: Connection | None = None
        self.ending = False
        """Whether the session is leaving its rooms, or has left them."""
        self._is_stopping = False
        """Whether the session is parked because the server stops."""
        self.on_end: Callable[[], None] | None = None
        """A function that is called when the session has left all rooms, before its connection closes."""
        self.tell_uids: dict[str, FirstTell] = {}
        """The last private messages that had a uid, by their uid."""
        self._checks = 0
        """Number of passwords of this session that are being checked."""
        self._when_checked: list[Callable[[], None]] = []
        self._sessions = sessions
        self._hub = sessions.hub
        self._on_joined: dict[str, Callable[[], None]] = {}
        """The callbacks for rooms that the session is joining."""
        self._on_left: dict[str, Callable[[], None]] = {}
        """The callbacks for rooms that the session is leaving."""
        self._grace_end: IDelayedCall | None = None
        self._rooms_to_leave = 0
        """Number of rooms that the session is leaving: some of their members have not been notified yet."""

    def begin(self, member: Member) -> None:
        """Begin as *member*, which refers to this session weakly, because the door owns it until its end."""
        self.member = member
        member.last_active = self._sessions.wall_clock()
        self.first_nick = member.nick
        self.private = PrivateMessages(self._hub, member)
        member.resumable = proxy(self)

    @property
    def public_id(self) -> str:
        """The id of the session, as programs see it."""
        return public_id(self.id)

    def find_room(self, name: str) -> Room:
        """Return the room *name*, which this session is in. Raises ``RpcError``."""
        name = fold_room_name(name)
        if name not in self.member.memberships:
            raise refusal("not-in-room", f"You are not in {name[:32]}.")
        return self._hub.rooms[name]

    def clean_text(self, text: str) -> str:
        """Return *text* without control characters. Raises ``RpcError`` if it is too long, or the result is blank."""
        clean = self.clean_reason(text)
        if not clean.strip():
            raise refusal("empty", "The text is empty.")
        return clean

    def clean_reason(self, text: str | None) -> str:
        """Return *text* without control characters, or an empty text. Raises ``RpcError`` if it is too long."""
        if not text:
            return ""
        limit = self._hub.settings.limits.line_bytes
        if len(text) * 4 > limit and len(text.encode()) > limit:
            raise refusal("too-long", f"A text holds at most {limit} bytes.", limit=limit)
        if not text.isprintable():
            text = text.replace("\r", " ").replace("\n", " ")
        return sanitize(text)

    # Passwords

    def begin_check(self) -> None:
        """Note that a password is being checked."""
        self._checks += 1

    def end_check(self) -> None:
        """Note that a password was checked, and run what waits for that."""
        self._checks -= 1
        if not self._checks:
            calls, self._when_checked = self._when_checked, []
            for call in calls:
                call()

    def wait_for_checks(self, call: Callable[[], None]) -> bool:
        """Call *call* when no password is being checked any more. Return False, without a call, if none is."""
        if self._checks:
            self._when_checked.append(call)
        return self._checks > 0

    # Rooms

    def join(self, room: Room, on_joined: Callable[[], None]) -> None:
        """Join *room*. Call *on_joined* when its stream begins, unless the session ends before."""
        self._on_joined[room.name] = on_joined
        room.enter(self.member)

    def when_joined(self, room: Room, on_joined: Callable[[], None]) -> None:
        """Call *on_joined* in place of the callback of ``join``, or at once if the session is in *room*."""
        if room.name in self._on_joined:
            self._on_joined[room.name] = on_joined
        else:
            on_joined()

    def leave(self, room: Room, reason: str, on_left: Callable[[], None]) -> None:
        """Leave *room*. Call *on_left* once everybody has been notified, unless the session ends before."""
        self._on_left[room.name] = on_left
        self._rooms_to_leave += 1
        room.leave(self.member, reason)

    def _end_stream(self, room: str) -> None:
        if self.connection is not None and room in self._hub.rooms:
            self.connection.peer.unsubscribe(self._hub.rooms[room].publisher)

    # Callbacks of the core

    @property
    def congested(self) -> bool:
        """Whether the client reads so slowly that nothing more should be queued for it alone."""
        return self.connection is not None and self.connection.peer.congested

    def joined(self, room: str, _replay: Iterator[ReplayLine | Gap]) -> None:
        """Continue the request to join *room*; see ``MemberListener``."""
        on_joined = self._on_joined.pop(room)
        if not self.ending:
            on_joined()

    def leave_delivered(self, room: str) -> None:
        """Continue the request to leave *room*, or end; see ``MemberListener``."""
        if room not in self.member.memberships:  # the session may have joined it again on another connection
            self._end_stream(room)
        on_left = self._on_left.pop(room, None)
        if on_left is not None:
            on_left()
        self._rooms_to_leave -= 1
        if self.ending and not self._rooms_to_leave:
            self._finish()

    def receive_private(self, message: PrivateMessage) -> None:
        """Send a private message, or hold it for the next connection; see ``MemberListener``."""
        self.private.receive(message)

    def private_sent(self, line: PrivateLine) -> None:
        """Do nothing: private messages do not come in the streams of rooms; see ``MemberListener``."""

    def send_waiting(self) -> None:
        """Send the private messages that wait for the account to which the session has logged in."""
        connection = self.connection
        if connection is None:
            return

        def on_result(lines: Sequence[PrivateLine] | JournalError) -> None:
            if self.connection is connection and not connection.is_gone:
                self.private.resume(connection.send, lines)

        self.private.hold(is_away=False)
        self.private.read_waiting(on_result)

    # The connection

    def attach(self, connection: Connection) -> None:
        """Continue on *connection*. The connection before it closes."""
        before, self.connection = self.connection, connection
        self.private.hold(is_away=False)
        self._stop_waiting()
        self.address = connection.address
        self.member.source = connection.source
        if before is not None:
            before.session_taken(RESUMED_ELSEWHERE)

    def connection_ended(self, connection: Connection, reason: str) -> None:
        """Wait for the next connection, or end because of *reason* if there is no grace."""
        if self.connection is not connection:
            return
        self.connection = None
        self.private.hold(is_away=True)
        if self.ending:
            return
        if self.grace:
            self.begin_grace()
        else:
            self.end(reason)

    def begin_grace(self) -> None:
        """Wait for the next connection."""
        self._grace_end = self._sessions.clock.callLater(self.grace, self.end, CONNECTION_LOST)
        self._sessions.begin_waiting(self)
        self.publish(lambda: None)

    def _stop_waiting(self) -> None:
        timer, self._grace_end = self._grace_end, None
        if timer is not None:
            if timer.active():
                timer.cancel()
            self._sessions.end_waiting(self)

    def publish(self, on_published: Callback) -> None:
        """Let the client come back to another node, too. Call *on_published* when it can do that.

        It is also called if the database of the nodes is away. Until the next call, the client can come back to this
        node only.
        """
        self._sessions.publish(self, on_published)

    # Other nodes

    @property
    def is_waiting(self) -> bool:
        """Whether the session waits for its next connection."""
        return self._grace_end is not None

    def save(self) -> str:
        """Return what another node must know to go on with the session."""
        return self.private.save(self.tell_uids)

    def restore(self, memory: str, received: int) -> None:
        """Go on with *memory* of another node. The client has received the private messages up to *received*."""
        self.tell_uids = self.private.restore(memory, received)

    def hand_over(self, attempt: int, on_parked: OnDirectory) -> None:
        """Give the session up, because its client has come back to another node with *attempt*; see ``Resumable``.

        The connection closes. What it had sent, and what the session is appending, comes first.
        """
        if attempt <= self.attempt:  # the client has come back to this node meanwhile
            on_parked(_cannot_move())
            return
        connection, self.connection = self.connection, None
        if connection is not None and not self.ending:
            connection.session_taken(RESUMED_ELSEWHERE)
            self.private.hold(is_away=True)
            self.begin_grace()
        call_after_barriers([*self._hub.rooms_of(self.member)], partial(self._park, on_parked))

    def _park(self, on_parked: OnDirectory) -> None:
        if self.ending or self.connection is not None or self._on_joined or self._rooms_to_leave:
            on_parked(_cannot_move())
        else:
            self._sessions.park(self, on_parked)

    def lose(self) -> None:
        """Drop the session, which another node has now or can claim; see ``Resumable``."""
        connection, self.connection = self.connection, None
        self._stop_waiting()
        self._sessions.give_away(self, SERVER_STOPPED if self._is_stopping else RESUMED_ELSEWHERE)
        for message in self.private.take_held():  # those that have come since ``save``
            self.member.listener.receive_private(message)
        # A server that stops closes all connections itself, and tells the reason. Otherwise, the client comes back: the
        # others may have removed this server. A client that has come back to another one reads this no more.
        if connection is not None and not self._is_stopping:
            connection.session_taken(MOVED, reconnect=True)

    def stop(self) -> None:
        """Let another node take the session over, if a client can resume it; see ``Resumable``."""
        if self.has_client_token and self.grace and not self.ending:
            self._is_stopping = True
            self._sessions.park(self, ignore_outcome)

    # The end

    def abandon(self) -> None:
        """End without leaving any room, because the server forgets all rooms. No connection has the session."""
        self.ending = True
        self._stop_waiting()

    def end(self, reason: str) -> None:
        """Leave all rooms, then close the connection. The token is void at once."""
        if self.ending:
            return
        self.ending = True
        self._stop_waiting()
        self._sessions.begin_leave(self, reason)
        self._rooms_to_leave += len(self.member.memberships)
        self._hub.remove(self.member, reason)
        if not self._rooms_to_leave:
            self._finish()

    def notify(self, text: str) -> None:
        """Send *text* as the server, if there is a connection; see ``MemberListener``."""
        if self.connection is not None:
            self.connection.send(encode_notification(Announced(room=None, text=text)))

    def disconnect(self, reason: str, notice: str) -> None:
        """End because of *reason*, and close the connection with *notice*; see ``MemberListener``."""
        connection, self.connection = self.connection, None
        self.end(reason)
        if connection is not None:
            connection.session_taken(notice)

    def _finish(self) -> None:
        self._sessions.remove(self)
        if self.on_end is not None:
            self.on_end()
        if self.connection is not None:
            self.connection.session_ended()


def _cannot_move() -> NotHere:
    return NotHere("the session is not to be moved now.")
