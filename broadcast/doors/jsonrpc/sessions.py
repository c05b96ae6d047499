"""The registry of the sessions of programs, and the tokens that resume them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING
from weakref import proxy

from twisted.logger import Logger

from broadcast.core.directory import KeptSession
from broadcast.core.errors import RejectedError
from broadcast.doors.jsonrpc.room_views import RoomViews
from broadcast.doors.jsonrpc.session import ProgramSession
from broadcast.net.addresses import peer_ip

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime

    from broadcast.core.accounts import Account
    from broadcast.core.directory import FoundSession, OnDirectory, SharedSessions
    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Callback
    from broadcast.core.limits import ConnectionLimiter
    from broadcast.core.membership import Member
    from broadcast.core.source import Source
    from broadcast.core.time_slice import CallSoon
    from broadcast.doors.jsonrpc.messages import Resume
    from broadcast.doors.jsonrpc.session import Connection
    from broadcast.net.connection_log import VisitLog


class Sessions:
    """All sessions of programs.

    *make_token* returns a new token, a secret, each time. *clock* is monotonic. *wall_clock* returns the time of day in
    seconds since the epoch. *call_soon* runs a function in a later turn of the reactor.
    """

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        clock: IReactorTime,
        call_soon: CallSoon,
        wall_clock: Callable[[], float],
        make_token: Callable[[], str],
        limiter: ConnectionLimiter,
        visit_log: VisitLog,
    ) -> None:
        self.hub = hub
        self.clock = clock
        self.call_soon = call_soon
        self.wall_clock = wall_clock
        self.room_views = RoomViews(clock.seconds, wall_clock, call_soon, hub.file_url)
        self._make_token = make_token
        self._limiter = limiter
        self._visit_log = visit_log
        self._by_token: dict[str, ProgramSession] = {}
        self._all: set[ProgramSession] = set()
        """All sessions that have not left all rooms. Nothing else keeps a session alive while it leaves."""
        self._waiting: Counter[str | None] = Counter()
        """Number of sessions that wait for their next connection, by the IP address of the last one."""

    def open(
        self,
        nick: str,
        grace: float,
        address: IAddress,
        source: Source,
        account: Account | None,
        on_opened: Callable[[ProgramSession | RejectedError], None],
    ) -> None:
        """Open a session with the nickname *nick* and this *grace*, and log it. Raises ``RejectedError``.

        Call *on_opened* with it: at once, unless other nodes have to be asked for the nickname. *address* and *source*
        are those of its first connection. With *account*, the session is logged in to it.
        """
        host = peer_ip(address)
        self._limiter.check(host, self._waiting[host], self._waiting.total())
        session = ProgramSession(self, self._make_token(), grace)

        def on_admitted(result: Member | RejectedError) -> None:
            if isinstance(result, RejectedError):
                on_opened(result)
            else:
                self._begin(session, result, address)
                on_opened(session)

        self.hub.admit(session.id, nick, proxy(session), on_admitted, receives_own=True, account=account, source=source)

    def _begin(self, session: ProgramSession, member: Member, address: IAddress) -> None:
        session.begin(member)
        self._by_token[session.token] = session
        self._all.add(session)
        self._visit_log.write_join(self._log, address, session.first_nick)

    def begin_leave(self, session: ProgramSession, reason: str) -> None:
        """Void the token of *session*, and log that it leaves."""
        if self.shared is not None:
            self.shared.end(session.id)
        self._log_leave(session, reason)

    def _log_leave(self, session: ProgramSession, reason: str) -> None:
        self._by_token.pop(session.token, None)
        member = session.member
        self._visit_log.write_leave(
            self._log, session.address, member.nick, session.first_nick, reason, member.removed_by
        )

    def find(self, token: str) -> ProgramSession | None:
        """Return the session of *token*, or None if it has ended or is unknown."""
        return self._by_token.get(token)

    def begin_waiting(self, session: ProgramSession) -> None:
        """Count *session*, which waits for its next connection, toward the limits until ``end_waiting``."""
        self._waiting[peer_ip(session.address)] += 1

    def end_waiting(self, session: ProgramSession) -> None:
        """Stop counting *session*."""
        host = peer_ip(session.address)
        self._waiting[host] -= 1
        if not self._waiting[host]:
            del self._waiting[host]

    def remove(self, session: ProgramSession) -> None:
        """Free *session*, which has left all rooms."""
        self._all.discard(session)

    def forget_all(self) -> None:
        """Forget all sessions. They leave no room, because the rooms are forgotten, too."""
        for session in self._all:
            session.abandon()
        self._all.clear()
        self._by_token.clear()

    # Other nodes

    @property
    def shared(self) -> SharedSessions | None:
        """The sessions of all nodes; None if the server is alone."""
        return self.hub.other_nodes.sessions

    def publish(self, session: ProgramSession, on_published: Callback) -> None:
        """Store *session* in the directory, so that another node can resume it. Then call *on_published*.

        It is also called if the database is away, and at once if the server is alone.
        """
        if self.shared is None or session.ending:
            on_published()
            return
        token = hash_token(session.token)
        kept = KeptSession(session.id, token, session.attempt, session.grace, session.is_waiting)

        self.shared.keep(kept, lambda _error: on_published())

    def park(self, session: ProgramSession, on_parked: OnDirectory) -> None:
        """Park *session*, so that another node can claim it. Call *on_parked* with the result."""

        def parked(error: RejectedError | None) -> None:
            if error is None and session in self._all:
                session.lose()
            on_parked(error)

        if self.shared is not None:
            self.shared.park(session.id, session.save(), parked)

    def give_away(self, session: ProgramSession, reason: str) -> None:
        """Free *session*, which another node has now or can claim, and log that it leaves because of *reason*."""
        self._all.discard(session)
        self._log_leave(session, reason)
        self.hub.give_away(session.member)

    def adopt(self, found: FoundSession, resume: Resume, generation: int, connection: Connection) -> ProgramSession:
        """Go on with the session *found*, which this node has claimed. It waits for *connection*."""
        session = ProgramSession(self, resume.token, found.grace, found.session)
        session.attempt = found.attempt
        session.has_client_token = True
        session.address = connection.address
        member = self.hub.other_nodes.adopt(found.person, generation, proxy(session), connection.source)
        self._begin(session, member, connection.address)
        session.restore(found.memory, resume.told)
        session.begin_grace()
        return session


def hash_token(token: str) -> str:
    """Return a hash of *token*, which other nodes and the database may know. The token is random, so no salt helps."""
    return sha256(token.encode()).hexdigest()
