"""The registry of connections, which all doors share: the server, the shutdown and the metrics know it and no door."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList

from broadcast.core.errors import TooManyConnections
from broadcast.core.hub import GOING_DOWN
from broadcast.core.limits import ConnectionLimiter
from broadcast.net.addresses import peer_ip
from broadcast.net.keepalive import Connection as ProbedConnection
from broadcast.net.writers import DirectTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from broadcast.core.limits import Lease, Limits
    from broadcast.net.writers import StreamTransport

MAX_REJECTED: Final = 32
"""Maximum number of rejected connections that may wait until their client has received the reason.

A TLS client that never completes the handshake waits like that. Rejected connections count toward no limit, so they
must need fewer file descriptors than the server reserves for other things than connections.
"""
BACKLOG_SECONDS: Final = 150
"""Maximum time to handle the input of a lost connection at its rate limit, in seconds."""
STARTS_ANEW: Final = "this server starts anew: try again in a moment."
"""The answer to new connections while all visits end. A server that stops has closed its ports."""


class Connection(ProbedConnection, Protocol):
    """One connection of any door, as the server sees it."""

    @property
    def transport(self) -> StreamTransport:
        """Twisted's transport."""

    def discard_backlog(self) -> None:
        """Discard the input that has not been handled. The connection is gone."""

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

    A door calls ``add`` for each new connection, and ``remove`` when it is gone and its input was handled. If it is
    gone before its input was handled, the door calls ``move_to_backlog`` in between. The seconds of *clock* are
    monotonic. *check_address* raises ``Banned`` for a banned IP address.
    """

    def __init__(
        self, limits: Limits, clock: IReactorTime, check_address: Callable[[str | None], None] = lambda _host: None
    ) -> None:
        self.limiter = ConnectionLimiter(limits)
        self.stopping = False
        """True while the server ends all visits and reads no more input."""
        self.last_line = GOING_DOWN
        """The notice to all clients at that time."""
        self._disconnected = False
        """True from ``disconnect`` to ``reopen``."""
        self.accepted_count = 0
        """Number of connections so far, including those above a limit."""
        self.resumed_count = 0
        """Number of sessions that clients have resumed on another connection."""
        self.lines_received = 0
        """Number of lines that clients have sent."""
        self.throttle_count = 0
        """Number of lines that waited for the rate limit of their connection."""
        self._clock = clock
        self._check_address = check_address
        self._open: set[Connection] = set()
        self._leases: dict[Connection, Lease] = {}
        """The leases of all connections that count toward the limits."""
        self._rejected: set[Connection] = set()
        self._backlog: dict[Connection, IDelayedCall] = {}
        """The connections that are gone while their input is still being handled, and the end of that time."""
        self._closed: Deferred[None] | None = None
        """Fires when no connection is open; None unless ``disconnect`` waits for it."""

    def __contains__(self, connection: object) -> bool:
        """Return whether *connection* is open."""
        return connection in self._open

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over the open connections."""
        return iter(self._open)

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, connection: Connection, *, is_proxy: bool = False) -> None:
        """Add an open *connection*. It counts until ``remove``.

        If *is_proxy*, it counts toward the total only, as its clients have other addresses: see ``count_as``.

        Raises ``TooManyConnections`` if a limit is reached, or between ``disconnect`` and ``reopen``, and ``Banned`` if
        the address is banned. Then the door calls ``disconnect_rejected``, or ``hold_rejected``.
        """
        self.accepted_count += 1
        self._open.add(connection)
        transport = connection.transport
        if self._disconnected:
            raise TooManyConnections(STARTS_ANEW)
        host = None if is_proxy else peer_ip(transport.getPeer())
        self._check_address(host)
        # A connection with TLS counts from the beginning of its handshake.
        lease = transport.take_lease() if isinstance(transport, DirectTransport) else None
        self._leases[connection] = lease or self.limiter.acquire(host, self._clock.seconds())

    def count_as(self, connection: Connection, host: str | None) -> None:
        """Count *connection*, which a proxy has opened, as one from the address *host*. Raises as ``add``.

        If it raises, the connection counts toward the total only, as before.
        """
        self._check_address(host)
        self._leases[connection].release()
        now = self._clock.seconds()
        try:
            self._leases[connection] = self.limiter.acquire(host, now)
        except TooManyConnections:
            self._leases[connection] = self.limiter.acquire(None, now)
            raise

    def replace(self, connection: Connection, successor: Connection) -> None:
        """Put *successor*, which speaks another protocol over the same transport, in the place of *connection*."""
        self._open.remove(connection)
        self._open.add(successor)
        self._leases[successor] = self._leases.pop(connection)

    def disconnect_rejected(self, connection: Connection) -> None:
        """Disconnect *connection*, which ``add`` has rejected, after its client was sent the reason.

        The connection closes at once, without the usual delay for the client: the kernel still delivers the reason. If
        too many rejected connections are still open, it is aborted.
        """
        if self.hold_rejected(connection):
            connection.transport.loseConnection()

    def hold_rejected(self, connection: Connection) -> bool:
        """Let *connection*, which ``add`` has rejected, wait until its client has received the reason.

        If too many rejected connections are still open, abort it and return False.
        """
        self._rejected.add(connection)
        if len(self._rejected) > MAX_REJECTED:
            connection.transport.abortConnection()
            return False
        return True

    def move_to_backlog(self, connection: Connection) -> None:
        """Expect the end of *connection* within ``BACKLOG_SECONDS``: it is gone, but its input is still being handled.

        Until then, it counts toward the limits, and ``drain`` includes it.
        """
        self._backlog[connection] = self._clock.callLater(BACKLOG_SECONDS, connection.discard_backlog)
        self._discard_open(connection)

    def remove(self, connection: Connection) -> None:
        """Remove *connection*, which is gone and whose input was handled."""
        timer = self._backlog.pop(connection, None)
        if timer is not None and timer.active():
            timer.cancel()
        lease = self._leases.pop(connection, None)
        if lease is not None:
            lease.release()
        self._rejected.discard(connection)
        self._discard_open(connection)

    def _discard_open(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._notify_closed()

    def _notify_closed(self) -> None:
        if self._closed is not None and not self._open:
            closed, self._closed = self._closed, None
            closed.callback(None)

    def drain(self, last_line: str = GOING_DOWN) -> Deferred[list[tuple[bool, None]]]:
        """Stop reading from all connections, whose notice will be *last_line*.

        The result fires when all input received before has been handled.
        """
        self.stopping = True
        self.last_line = last_line
        return DeferredList([connection.drain() for connection in [*self._open, *self._backlog]])

    def disconnect(self) -> Deferred[None]:
        """Close all connections once everything is delivered. The result fires when the last one is gone."""
        self._disconnected = True
        self._closed = closed = Deferred[None]()
        for connection in list(self._open):
            connection.close()
        self._notify_closed()
        return closed

    def reopen(self) -> None:
        """Accept connections again after ``disconnect``."""
        self.stopping = self._disconnected = False
