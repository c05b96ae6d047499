"""The return of a client to another node than that of its session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from broadcast.core.directory import FoundSession, Handover
from broadcast.core.errors import Busy, RejectedError
from broadcast.doors.jsonrpc.sessions import hash_token

if TYPE_CHECKING:
    from typing import TypeAlias

    from twisted.internet.interfaces import IDelayedCall

    from broadcast.core.directory import SharedSessions
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.messages import Resume
    from broadcast.doors.jsonrpc.session import Connection, ProgramSession
    from broadcast.doors.jsonrpc.sessions import Sessions

    OnReturn: TypeAlias = Callable[[FoundSession | ProgramSession | RejectedError | None], None]

FORCE_SECONDS: Final = 2.0
"""Time for the node of a session to hand it over. Then it is taken from this node, which may be dead."""
GIVE_UP_SECONDS: Final = 15.0
"""Time after which the client is refused, and tries again."""
LOOK_SECONDS: Final = 0.1
"""Time between two looks at a session that its node has not handed over, or at rooms that are behind."""
CATCH_UP_SECONDS: Final = 3.0
"""Time for this node to read events that other nodes have stored: the joins of a session, or lines of ``CatchUp``."""


class SessionClaim:
    """The search for the session that *resume* of a client on *connection* names, on all nodes.

    ``run`` calls *on_return* later: with the session, which this node has from then on, with None if there is no such
    session, or with the reason of a refusal. If a later attempt to resume it came before, that is the session found.

    A node that has the session hands it over: it *parks* the session, so that no node has it. If that node does not
    answer, it has probably died, and the directory parks the session in its place. Then this node opens its rooms, and
    claims it. Nobody in the rooms notices anything.
    """

    def __init__(
        self, sessions: Sessions, shared: SharedSessions, connection: Connection, resume: Resume, on_return: OnReturn
    ) -> None:
        self._sessions = sessions
        self._hub = sessions.hub
        self._shared = shared
        self._connection = connection
        self._resume = resume
        self._on_return = on_return
        self._token = hash_token(resume.token)
        self._began = sessions.clock.seconds()
        self._is_asked = False
        """Whether the node of the session has been asked to hand it over, and has not answered."""
        self._next_look: IDelayedCall | None = None

    def run(self) -> None:
        """Find the session, and claim it."""
        self._find()

    def _find(self) -> None:
        if not self._connection.is_open:
            return
        seconds = self._sessions.clock.seconds() - self._began
        if seconds >= GIVE_UP_SECONDS:
            self._on_return(Busy())
        else:
            self._shared.find(self._token, self._resume.attempt, self._on_found, force=seconds >= FORCE_SECONDS)

    def _find_later(self) -> None:
        self._next_look = self._sessions.clock.callLater(LOOK_SECONDS, self._find)

    def _on_found(self, found: FoundSession | RejectedError | None) -> None:
        if not isinstance(found, FoundSession):
            # Another connection here may have claimed the session meanwhile.
            self._on_return(found or self._sessions.find(self._resume.token))
        elif self._resume.attempt <= found.attempt:
            self._on_return(found)
        elif found.node:
            if not self._is_asked:
                self._is_asked = True
                self._hub.other_nodes.send(Handover(found.session, self._resume.attempt), self._on_answer)
            self._find_later()
        else:
            self._hub.rooms.open_all(found.rooms, partial(self._on_rooms, found))

    def _on_answer(self, error: RejectedError | None) -> None:
        self._is_asked = False
        if error is None and self._next_look is not None and self._next_look.active():
            self._next_look.cancel()
            self._find()

    def _on_rooms(self, found: FoundSession, rooms: Sequence[Room] | RejectedError) -> None:
        if isinstance(rooms, RejectedError):
            self._on_return(rooms)
        else:
            self._hub.rooms.reserve(rooms)
            self._claim(found, rooms, self._sessions.clock.seconds() + CATCH_UP_SECONDS)

    def _claim(self, found: FoundSession, rooms: Sequence[Room], until: float) -> None:
        """Claim the session once this node knows it as a member of all its *rooms*, as the others do."""
        member = self._hub.people.members.get(found.session)
        if member is None or member.memberships.keys() != set(found.rooms):
            if self._sessions.clock.seconds() < until:
                self._sessions.clock.callLater(LOOK_SECONDS, self._claim, found, rooms, until)
            else:  # the session may have left these rooms meanwhile
                self._on_claimed(found, rooms, None)
            return
        source = self._connection.source
        try:
            self._hub.check_return(member, source)
        except RejectedError as error:
            self._on_claimed(found, rooms, error)
        else:
            on_claimed = partial(self._on_claimed, found, rooms)
            self._shared.claim(found, self._resume.attempt, source.address, on_claimed)

    def _on_claimed(self, found: FoundSession, rooms: Sequence[Room], answer: int | RejectedError | None) -> None:
        if isinstance(answer, int):
            self._on_return(self._sessions.adopt(found, self._resume, answer, self._connection))
        elif answer is not None:
            self._on_return(answer)
        else:  # it has moved, or has ended meanwhile
            self._find_later()
        self._hub.rooms.end_reservations(rooms)
