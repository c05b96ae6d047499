"""The registry of connections, which all doors share: the server, the shutdown and the metrics know it and no door."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList

from broadcast.core.limits import ConnectionLimiter
from broadcast.net.keepalive import Connection as ProbedConnection

if TYPE_CHECKING:
    from broadcast.core.limits import Limits
    from broadcast.net.writers import StreamTransport

MAX_REJECTED: Final = 32
"""Maximum number of rejected connections that may wait until their client has received the reason.

A TLS client that never completes the handshake waits like that. Rejected connections count toward no limit, so they
must need fewer file descriptors than the server reserves for other things than connections.
"""


class Connection(ProbedConnection, Protocol):
    """One connection of any door, as the server sees it."""

    @property
    def transport(self) -> StreamTransport:
        """Twisted's transport."""

    @property
    def lost(self) -> Deferred[None]:
        """Fires when the connection is gone."""

    def drain(self) -> Deferred[None]:
        """Stop reading. The result fires when everything that was received before has been handled.

        It does not wait for a client that does not read.
        """

    def send_shutdown_notice(self) -> None:
        """Send the notice that the server is going down, past the stream of the room.

        The server calls this while the journal is stuck, because the stream waits for the journal.
        """

    def close(self) -> None:
        """Close the connection once everything is delivered. Other members receive no notice of it."""


class Connections(Collection[Connection]):
    """The open connections of all doors, and their number, limits and end.

    A door calls ``add`` for each new connection. When the connection is gone, the door calls ``remove``, then
    ``add_backlogged`` and ``remove_backlogged`` if input of that connection is still being handled.
    """

    def __init__(self, limits: Limits) -> None:
        self.limiter = ConnectionLimiter(limits)
        self.stopping = False
        """True once the server is shutting down and reads no more input."""
        self.lines_received = 0
        """Number of lines that clients have sent."""
        self.throttle_count = 0
        """Number of times that the rate limit has paused a connection."""
        self.backlogged: set[Connection] = set()
        """Connections that are gone while their input is still being handled."""
        self._open: set[Connection] = set()
        self._rejected: set[Connection] = set()

    def __contains__(self, connection: object) -> bool:
        """Return whether *connection* is open."""
        return connection in self._open

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over the open connections."""
        return iter(self._open)

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Add an open *connection*."""
        self._open.add(connection)

    def disconnect_rejected(self, connection: Connection) -> None:
        """Disconnect *connection*, which the limiter has rejected, after its client was sent the reason.

        The connection closes at once, without the usual delay for the client: the kernel still delivers the reason. If
        too many rejected connections are still open, it is aborted.
        """
        self._rejected.add(connection)
        if len(self._rejected) > MAX_REJECTED:
            connection.transport.abortConnection()
        else:
            connection.transport.loseConnection()

    def remove(self, connection: Connection) -> None:
        """Remove *connection*, which is gone."""
        self._open.discard(connection)
        self._rejected.discard(connection)

    def add_backlogged(self, connection: Connection) -> None:
        """Include *connection* in ``drain`` although it is gone, because its input is still being handled."""
        self.backlogged.add(connection)

    def remove_backlogged(self, connection: Connection) -> None:
        """Remove *connection*, because nothing of its input is left."""
        self.backlogged.discard(connection)

    def drain(self) -> Deferred[list[tuple[bool, None]]]:
        """Stop reading from all connections. The result fires when all input received before has been handled."""
        self.stopping = True
        return DeferredList([connection.drain() for connection in [*self._open, *self.backlogged]])

    def disconnect(self) -> Deferred[list[tuple[bool, None]]]:
        """Close all connections once everything is delivered. The result fires when the last one is gone."""
        connections = list(self._open)
        for connection in connections:
            connection.close()
        return DeferredList([connection.lost for connection in connections])
