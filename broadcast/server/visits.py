"""The end of all visits at once: before the server stops, or starts anew."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from broadcast.core.hub import Hub
    from broadcast.net.connections import Connections

DRAIN_SECONDS: Final = 3.0
"""Maximum time to handle the input that was received before the end."""
LINGER_SECONDS: Final = 1.0
"""Time for the clients to close their side after the notice. Nearly all of them do so at once."""
ABORT_SECONDS: Final = 0.5
"""Maximum time until aborted connections are gone."""
RETIRE_SECONDS: Final = 2.0
"""Maximum time to give the nicknames to the other servers. After that, the connections close without it."""

Retire: TypeAlias = Callable[[Callable[[], None]], None]
"""Gives the nicknames and sessions of this server to the others, then calls its argument; see ``SharedJournal``."""


class Visits:
    """The visits at *hub* over *connections*. *clock* is monotonic."""

    _log = Logger()

    def __init__(self, hub: Hub, connections: Connections, clock: IReactorTime) -> None:
        self._hub = hub
        self._connections = connections
        self._clock = clock

    async def end_all(self, deadline: float, text: str, retire: Retire | None = None) -> None:
        """Handle all input received, announce *text*, and close all connections once everything is delivered.

        Before they close, call *retire*, so that a client that connects again can have its nickname at once. Abort the
        connections that are still open at *deadline*.
        """
        await with_timeout(self._clock, DRAIN_SECONDS, self._connections.drain(text))
        delivered: Deferred[None] = Deferred()
        self._hub.close(partial(delivered.callback, None), text)
        end = deadline - LINGER_SECONDS
        if await self._wait_until(end, delivered):
            if retire is not None:
                retired: Deferred[None] = Deferred()
                retire(partial(retired.callback, None))
                await self._wait_until(min(end, self._clock.seconds() + RETIRE_SECONDS), retired)
        else:
            # The journal is stuck, so the notice in the stream of the room does not arrive.
            for connection in self._connections:
                connection.send_shutdown_notice()
        await self._disconnect(deadline)

    async def _disconnect(self, deadline: float) -> None:
        """Close all connections. Abort those that are still open at *deadline*."""
        gone = self._connections.disconnect()
        if await with_timeout(self._clock, LINGER_SECONDS, gone):
            return
        # Some clients leave their side open until their user closes it. loseConnection closes the connections whose
        # output was handed to the kernel, which still delivers it. On the others, it waits for the rest.
        for connection in list(self._connections):
            connection.transport.loseConnection()
        if await self._wait_until(deadline, gone):
            return
        self._log.warn("Aborting connections that have not received everything: {count}.", count=len(self._connections))
        for connection in list(self._connections):
            connection.transport.abortConnection()
        await with_timeout(self._clock, ABORT_SECONDS, gone)

    async def _wait_until(self, deadline: float, event: Deferred[Any]) -> bool:
        """Wait for *event* until *deadline*, and return whether it has fired."""
        return await with_timeout(self._clock, max(0.0, deadline - self._clock.seconds()), event)


def with_timeout(clock: IReactorTime, seconds: float, event: Deferred[Any]) -> Deferred[bool]:
    """Return a Deferred that fires with whether *event* has fired within *seconds*."""
    result: Deferred[bool] = Deferred()

    def time_out() -> None:
        if not result.called:
            result.callback(False)

    def fire(_result: object) -> None:
        if not result.called:
            timer.cancel()
            result.callback(True)

    timer = clock.callLater(seconds, time_out)
    event.addBoth(fire)
    return result
