"""One connection to the server, which sends lines and receives events, and the attempts to make one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from broadcast.client.lines import Event, Prompt, Reader
from broadcast.client.sockets import keep_alive

if TYPE_CHECKING:
    from twisted.python.failure import Failure


class Link(Protocol):
    """One connection. It calls *made* at first, *came* for each chunk, *take* for each event, and *lost* at its end."""

    def __init__(
        self,
        made: Callable[[Link], None],
        came: Callable[[], None],
        take: Callable[[Event | Prompt], None],
        lost: Callable[[Failure], None],
    ) -> None:
        self._made = made
        self._came = came
        self._take = take
        self._lost = lost
        self._reader = Reader()

    def connectionMade(self) -> None:
        """Begin the connection."""
        keep_alive(self.transport)
        self._made(self)

    def dataReceived(self, data: bytes) -> None:
        """Read the events of a chunk."""
        self._came()
        for event in self._reader.feed(data):
            self._take(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the connection."""
        self._lost(reason)

    def write(self, line: str) -> None:
        """Send a line."""
        assert self.transport is not None
        self.transport.write(line.encode("utf-8", "replace") + b"\r\n")

    def abort(self) -> None:
        """Close at once, without sending the rest."""
        transport = self.transport
        assert transport is not None
        getattr(transport, "abortConnection", transport.loseConnection)()


@implementer(IStreamClientEndpoint)
class Attempts:
    """An endpoint that reports each attempt to connect and each failed one."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, begin: Callable[[], None], failed: Callable[[Failure], None]
    ) -> None:
        self._endpoint = endpoint
        self._begin = begin
        self._failed = failed

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 -- Twisted's name
        """Connect."""

        def failed(failure: Failure) -> Failure:
            self._failed(failure)
            return failure

        self._begin()
        return maybeDeferred(self._endpoint.connect, protocolFactory).addErrback(failed)
