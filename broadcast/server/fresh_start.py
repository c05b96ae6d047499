"""The fresh start of a node within its process, after the other nodes of the cluster have removed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from broadcast.core.errors import JournalError, JournalInUse, JournalTooNew, RejectedError
from broadcast.server.visits import with_timeout

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import OpenedRoom
    from broadcast.core.room import Room
    from broadcast.net.connections import Connections
    from broadcast.server.visits import Visits

END_SECONDS: Final = 5.0
"""Maximum time for the visits to end, and for a fresh start to end when the process stops."""
RETRY_SECONDS: Final = 1.0
"""Time between two tries to start the journal anew."""
LAST_LINE: Final = "This server starts anew. Connect again: what you say now is not kept."
"""The last line of all visits."""


class RestartableJournal(Protocol):
    """A journal that other nodes also use, and that can start anew."""

    def restart(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Start anew, and open the room *name*. Does not block. Call *on_result* in a later turn."""


_log = Logger()


def log_if_rejected(room: Room | RejectedError) -> None:
    """Log that a fixed room cannot be opened. The next person who joins it makes another attempt."""
    if isinstance(room, RejectedError):
        _log.error("{line}.", line=str(room)[:1].upper() + str(room)[1:])


class FreshStart:
    """The end of all visits at a node that may not write any more, and its fresh start.

    *forget_sessions* forgets the sessions of programs. *give_up* ends the process while the reactor runs. It is called
    if the journal cannot be used any more.
    """

    def __init__(
        self,
        journal: RestartableJournal,
        hub: Hub,
        connections: Connections,
        visits: Visits,
        forget_sessions: Callable[[], None],
        clock: IReactorTime,
        give_up: Callable[[], object],
    ) -> None:
        self._journal = journal
        self._hub = hub
        self._connections = connections
        self._visits = visits
        self._forget_sessions = forget_sessions
        self._clock = clock
        self._give_up = give_up
        self._ended: Deferred[None] = succeed(None)
        """Fires when the start that is under way has ended."""
        self._running = self._stopped = False

    def begin(self, why: str) -> None:
        """Start anew because of *why*, one line."""
        if not (self._running or self._stopped):
            _log.error("{why} All visits end now, and this server starts anew.", why=why)
            self._running = True
            self._ended = Deferred.fromCoroutine(self._run()).addErrback(self._fail)

    async def stop(self) -> None:
        """Wait until no start is under way, and begin no other one."""
        self._stopped = True
        await with_timeout(self._clock, END_SECONDS, self._ended)

    async def _run(self) -> None:
        await self._visits.end_all(self._clock.seconds() + END_SECONDS, LAST_LINE)
        while not self._stopped:
            opened = await self._restart()
            if not isinstance(opened, JournalError):
                self._forget_sessions()
                self._hub.start_anew(opened, log_if_rejected)
                self._connections.reopen()
                _log.info("This server has started anew.")
                break
            if isinstance(opened, JournalInUse | JournalTooNew):
                _log.critical("{why}.", why=str(opened))
                self._give_up()
                break
            await with_timeout(self._clock, RETRY_SECONDS, Deferred())
        self._running = False

    def _fail(self, failure: Failure) -> None:
        """End the process, because a failed start leaves an unknown state."""
        _log.failure("This server cannot start anew.", failure=failure)
        self._give_up()

    def _restart(self) -> Deferred[OpenedRoom | JournalError]:
        opened: Deferred[OpenedRoom | JournalError] = Deferred()
        rooms = self._hub.rooms
        self._journal.restart(self._hub.settings.lobby, rooms.tail, opened.callback)
        return opened
