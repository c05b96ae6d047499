"""The request ``hello``: it begins a session, or resumes one. It succeeds as a whole or changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from broadcast.core.directory import FoundSession
from broadcast.core.errors import PasswordNeeded, RejectedError, WrongPassword
from broadcast.core.nicknames import reject_controls
from broadcast.core.oidc_login import IdentityLogin
from broadcast.core.rooms import fold_room_name
from broadcast.core.sanitize import sanitize
from broadcast.core.session import CONNECTION_LOST
from broadcast.doors.jsonrpc.accounts import (
    NOT_ENCRYPTED,
    TLS_ONLY,
    account_name,
    check_safety,
    parse_existing,
    password_safety,
)
from broadcast.doors.jsonrpc.claiming import SessionClaim
from broadcast.doors.jsonrpc.errors import Code, RpcError, explain_rejection, refusal, session_gone
from broadcast.doors.jsonrpc.messages import (
    MAX_ROOMS,
    PROTOCOL_VERSION,
    HelloParams,
    HelloResult,
    JoinResult,
    Resume,
    ServerLimits,
)
from broadcast.doors.jsonrpc.snapshots import CatchUp, SnapshotTaker, bytes_per_snapshot, check_after

if TYPE_CHECKING:
    from broadcast.core.accounts import Account
    from broadcast.core.errors import JournalError
    from broadcast.core.records import PrivateLine
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.session import Connection, ProgramSession
    from broadcast.doors.jsonrpc.sessions import Sessions


class Hello:
    """One ``hello`` on *connection*.

    The connection is paused until the end. *on_session* is called with the session as soon as it belongs to the
    connection, and *on_result* with the result. If hello is refused, only *on_error* is called. ``run`` may call any of
    them.
    """

    def __init__(
        self,
        sessions: Sessions,
        connection: Connection,
        params: HelloParams,
        on_session: Callable[[ProgramSession], None],
        on_result: Callable[[HelloResult], None],
        on_error: Callable[[RpcError], None],
    ) -> None:
        self._sessions = sessions
        self._hub = sessions.hub
        self._connection = connection
        self._params = params
        self._on_session = on_session
        self._on_result = on_result
        self._on_error = on_error
        self._account: Account | None = None
        """The account whose password, or remembered login, the client has sent."""
        self._login: str | UnsetType = UNSET
        """The remembered login that was made for the client."""
        self._rooms: Sequence[Room] = ()
        self._snapshots: dict[str, JoinResult] = {}
        """The snapshots that are complete, by room."""
        self._takers: list[SnapshotTaker] = []
        """The takers of all snapshots, until all are complete for the first time."""
        self._releases: list[Callable[[], None]] = []
        """Functions that release the streams of the rooms."""
        self._after: Mapping[str, int] = {}
        """Number of the last line that the client has seen in each room, if it asks to resume."""
        self._catch_up = CatchUp(connection)
        self.sends_token = False
        """Whether the client receives the result, and with it the token of the session."""
        self._is_published = True
        """Whether another node could resume the session now, if this one were killed."""
        self._resumed = False
        self._last_private = 0
        """Number of the last private message that the client has seen of the resumed session."""

    def run(self) -> None:
        """Check the parameters, then resume the session or open its rooms."""
        self._connection.pause()
        self._begin_or_refuse()

    def _begin_or_refuse(self) -> None:
        if not self._connection.is_open:
            return
        try:
            self._begin()
        except RpcError as error:
            self._refuse(error)

    def _refuse(self, error: RpcError) -> None:
        self._on_error(error)
        self._connection.resume()

    def _begin(self) -> None:
        params = self._params
        if params.protocol != PROTOCOL_VERSION:
            raise refusal(
                "protocol",
                f"This server speaks version {PROTOCOL_VERSION} of the protocol.",
                supported=[PROTOCOL_VERSION],
            )
        resume = params.resume
        if isinstance(resume, UnsetType):
            self._check_password()
            return
        if resume.journal != self._hub.journal_id:
            raise refusal("other-journal", "The numbers are of another journal. Start without resume.")
        self._after = {fold_room_name(name): last for name, last in resume.rooms.items()}
        session, shared = self._sessions.find(resume.token), self._sessions.shared
        if session is None and shared is not None:
            SessionClaim(self._sessions, shared, self._connection, resume, partial(self._on_found, resume)).run()
        else:
            self._resume_or_begin(session, resume)

    def _on_found(self, resume: Resume, found: ProgramSession | FoundSession | RejectedError | None) -> None:
        """Continue with the session that was *found* on any node, or with the reason why it cannot be resumed here."""
        if not self._connection.is_open:
            return
        try:
            if isinstance(found, RejectedError):
                raise explain_rejection(found)
            self._resume_or_begin(found, resume)
        except RpcError as error:
            self._refuse(error)

    def _resume_or_begin(self, session: ProgramSession | FoundSession | None, resume: Resume) -> None:
        """Resume *session*, or begin a new one if it is None. Raises ``RpcError``."""
        if session is None:
            self._check_password()
        elif isinstance(session, FoundSession) or resume.attempt <= session.attempt:
            raise refusal("stale", f"Attempt {session.attempt} to resume this session came before.")
        elif not session.wait_for_checks(self._begin_or_refuse):  # their result says which account the session has
            self._resume(session, resume)

    def _check_numbers(self, rooms: Iterable[Room]) -> None:
        for room in rooms:
            check_after(room, self._after.get(room.name, 0))

    # A new session

    def _check_password(self) -> None:
        """Check the password or the remembered login, if there is one, then open the rooms."""
        nick, password, login = self._params.nick, self._params.password, self._params.login
        if isinstance(nick, UnsetType):
            raise RpcError(Code.INVALID_PARAMS, "Object missing required field `nick`.")
        source, authenticator = self._connection.source, self._hub.authenticator
        try:
            if not isinstance(password, UnsetType):
                check_safety(self._hub, source)
                authenticator.reject_if_busy()
                authenticator.login(sanitize(nick), parse_existing(password), source, self._on_account)
                return
            if not isinstance(login, UnsetType):
                check_safety(self._hub, source)
                identity = authenticator.one_time.take(login)
                if identity is not None:
                    IdentityLogin(self._hub, None, self._on_account).identify(identity)
                    return
                self._account = authenticator.login_remembered(sanitize(nick), login)
        except RejectedError as error:
            raise explain_rejection(error) from error
        self._open_rooms()

    def _on_account(self, account: Account | RejectedError) -> None:
        if not self._connection.is_open:
            return
        try:
            if isinstance(account, RejectedError):
                raise explain_rejection(account)
            if self._connection.is_gone:
                raise session_gone()  # this hello must not end another session of the account
            self._account = account
            self._open_rooms()
        except RpcError as error:
            self._refuse(error)

    def _open_rooms(self) -> None:
        typed = self._params.rooms
        names = (self._hub.settings.lobby,) if isinstance(typed, UnsetType) else typed
        names = [*dict.fromkeys(map(fold_room_name, names))]
        if len(names) > MAX_ROOMS:
            raise refusal("room-refused", f"A session can be in {MAX_ROOMS} rooms.")
        self._hub.rooms.open_all(names, self._on_rooms)

    def _on_rooms(self, rooms: Sequence[Room] | RejectedError) -> None:
        if not self._connection.is_open:
            return
        try:
            if isinstance(rooms, RejectedError):
                raise explain_rejection(rooms)
            if not self._catch_up.must_wait(rooms, self._after, self._open_rooms, self._refuse):
                self._open_session(rooms)
        except RpcError as error:
            self._refuse(error)

    def _open_session(self, rooms: Sequence[Room]) -> None:
        self._check_numbers(rooms)
        connection, account, nick = self._connection, self._account, self._params.nick
        assert not isinstance(nick, UnsetType)
        self._hub.rooms.reserve(rooms)
        try:
            if account is not None and self._hub.accounts.get(account.id) is not account:
                raise WrongPassword  # the account was deleted while the rooms were opened
            reject_controls(nick)
            name = sanitize(nick) if account is None else account.name
            grace, on_opened = self._limit_grace(inf), partial(self._on_opened, rooms)
            self._sessions.open(name, grace, connection.address, connection.source, account, on_opened)
        except RejectedError as error:
            self._hub.rooms.end_reservations(rooms)
            raise self._explain(error) from error

    def _on_opened(self, rooms: Sequence[Room], session: ProgramSession | RejectedError) -> None:
        if not isinstance(session, RejectedError):
            if self._connection.is_open:
                self._attach(session, rooms, session.join)
            else:
                session.end(CONNECTION_LOST)
        elif self._connection.is_open:
            self._refuse(self._explain(session))
        self._hub.rooms.end_reservations(rooms)

    def _explain(self, error: RejectedError) -> RpcError:
        return self._ask_password(error) if isinstance(error, PasswordNeeded) else explain_rejection(error)

    def _ask_password(self, needed: PasswordNeeded) -> RpcError:
        """Return the error that asks for a password, with a warning if others may read it."""
        safety = password_safety(self._hub, self._connection.source)
        if safety == "refused":
            return refusal("not-permitted", f"{needed}".rstrip(".") + f", and {TLS_ONLY}")
        return refusal("password-needed", f"{needed} {NOT_ENCRYPTED}" if safety == "readable" else f"{needed}")

    # A resumed session

    def _resume(self, session: ProgramSession, resume: Resume) -> None:
        try:
            self._hub.check_address(self._connection.source.address)
        except RejectedError as error:
            raise explain_rejection(error) from error
        rooms = list(self._hub.rooms_of(session.member))
        if self._catch_up.must_wait(rooms, self._after, self._begin_or_refuse, self._refuse):
            return
        self._check_numbers(rooms)
        session.attempt = resume.attempt
        session.grace = self._limit_grace(session.grace)
        self._resumed = True
        self._last_private = resume.told
        self._attach(session, rooms, session.when_joined)

    # New and resumed sessions

    def _attach(
        self, session: ProgramSession, rooms: Sequence[Room], join: Callable[[Room, Callable[[], None]], None]
    ) -> None:
        """Continue *session* on the connection. *join* calls back when the stream of a room can begin."""
        self._rooms = rooms
        session.attach(self._connection)
        session.private.takes_stored = self._params.private
        self._on_session(session)
        self._is_published = self._resumed or not self.sends_token  # a resumed session is in the database already
        for room in rooms:
            join(room, partial(self._take_snapshot, session, room))
        if not rooms:
            self._respond(session)
        if self.sends_token:
            session.publish(partial(self._on_published, session))

    def _limit_grace(self, default: float) -> float:
        """Return the grace that the client asks for, by default *default*, but at most that of the server."""
        asked = self._params.grace
        return min(self._hub.settings.limits.grace_seconds, default if isinstance(asked, UnsetType) else asked)

    def _take_snapshot(self, session: ProgramSession, room: Room) -> None:
        """Begin the stream of *room*, and take the snapshot that precedes it."""
        share = bytes_per_snapshot(len(self._rooms), len(msgspec.json.encode(self._motd)))
        replay = UNSET if self._resumed else self._params.replay
        after = self._after.get(room.name, UNSET)
        taker = SnapshotTaker(self._connection, room, replay, after, share, partial(self._on_snapshot, session))
        self._takers.append(taker)
        self._releases.append(taker.release)
        taker.take_events()

    def _on_snapshot(self, session: ProgramSession, _taker: SnapshotTaker, snapshot: JoinResult) -> None:
        self._snapshots[snapshot.room] = snapshot
        if len(self._snapshots) < len(self._rooms):
            return
        takers, self._takers = self._takers, []  # they refer to this object; a reference cycle would delay freeing both
        if session.connection is not self._connection:
            return
        cut = [taker for taker in takers if taker.is_cut]
        unused = sum(taker.unused_bytes for taker in takers if not taker.is_cut)
        if cut and unused:
            self._take_again(cut, unused // len(cut))
        else:
            self._respond(session)

    def _take_again(self, takers: Sequence[SnapshotTaker], more_bytes: int) -> None:
        """Take the snapshots of *takers* again, each with *more_bytes* that other rooms do not need."""
        for taker in takers:
            del self._snapshots[taker.room.name]
        for taker in takers:
            taker.take_events(more_bytes)

    def _on_published(self, session: ProgramSession) -> None:
        was_published, self._is_published = self._is_published, True
        if not was_published and len(self._snapshots) == len(self._rooms):
            self._respond(session)

    def _respond(self, session: ProgramSession) -> None:
        """Make the result, unless something is missing that comes later."""
        if not self._is_published:
            return
        if self._params.remember and self._account is not None and isinstance(self._login, UnsetType):
            try:
                self._hub.authenticator.remember(self._account, partial(self._remembered, session))
            except RejectedError:  # the account was deleted meanwhile
                self._read_waiting(session)
        else:
            self._read_waiting(session)

    def _remembered(self, session: ProgramSession, login: str | RejectedError) -> None:
        if isinstance(login, str):
            self._login = login
        self._read_waiting(session)

    def _read_waiting(self, session: ProgramSession) -> None:
        session.private.read_waiting(partial(self._respond_with, session), self._last_private)

    def _respond_with(self, session: ProgramSession, waiting: Sequence[PrivateLine] | JournalError) -> None:
        """Send the result, then the private messages, then the events of the rooms."""
        if session.connection is not self._connection:
            return
        self._on_result(self._describe(session))
        if not self._connection.is_gone:
            session.private.resume(self._connection.send, waiting, self._last_private)
        for release in self._releases:
            release()
        self._connection.resume()

    @property
    def _motd(self) -> str | None:
        return "\n".join(self._hub.settings.motd) or None

    def _describe(self, session: ProgramSession) -> HelloResult:
        settings, uploads = self._hub.settings, self._hub.uploads
        rate = settings.limits.lines_per_second
        limits = ServerLimits(
            line_bytes=settings.limits.line_bytes,
            lines_at_once=settings.limits.paste_lines,
            lines_per_second=None if rate == inf else rate,
            file_bytes=0 if uploads is None else uploads.max_bytes,
        )
        return HelloResult(
            server=settings.name,
            version=settings.version,
            features=["accounts"] if uploads is None else ["accounts", "files"],
            motd=self._motd,
            now=round(self._sessions.wall_clock(), 3),
            resumed=self._resumed,
            journal=self._hub.journal_id,
            nick=session.member.nick,
            session=session.public_id,
            account=account_name(session.member),
            passwords=password_safety(self._hub, self._connection.source),
            token=session.token,
            grace=session.grace,
            limits=limits,
            rooms={room.name: self._snapshots[room.name] for room in self._rooms},
            login=self._login,
        )
