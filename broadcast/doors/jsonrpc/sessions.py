"""The registry of the sessions of programs, and the secrets that resume them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import proxy

from twisted.logger import Logger

from broadcast.core.errors import RejectedError
from broadcast.doors.jsonrpc.room_views import RoomViews
from broadcast.doors.jsonrpc.session import ProgramSession
from broadcast.net.addresses import peer_ip

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime

    from broadcast.core.accounts import Account
    from broadcast.core.hub import Hub
    from broadcast.core.limits import ConnectionLimiter
    from broadcast.core.membership import Member
    from broadcast.core.source import Source
    from broadcast.core.time_slice import CallSoon
    from broadcast.net.connection_log import VisitLog


class Sessions:
    """All sessions of programs.

    *make_token* returns a new secret each time. *clock* is monotonic; *wall_clock* returns the time of day in seconds
    since the epoch. *call_soon* runs a function in a later turn of the reactor.
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
                return
            session.begin(result)
            self._by_token[session.token] = session
            self._all.add(session)
            self._visit_log.write_join(self._log, address, session.first_nick)
            on_opened(session)

        self.hub.admit(session.id, nick, proxy(session), on_admitted, receives_own=True, account=account, source=source)

    def begin_leave(self, session: ProgramSession, reason: str) -> None:
        """Void the token of *session*, and log that it leaves."""
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
