"""What can happen to the database of a server: a fault of each kind begins and ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as Connection
from twisted.python.failure import Failure

from tests.postgres import SHARED, PostgresServer, wait_for

OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'broadcast one'"
"""The processes of PostgreSQL that work for the server."""


class Fault(Protocol):
    """Something that prevents the use of the database."""

    reasons: set[str]
    """The reasons that authors may read. The first rejected line may have another one than later lines."""

    def __init__(self, postgres: PostgresServer, relay: Relay) -> None: ...

    def begin(self) -> None:
        """Prevent it."""

    def end(self) -> None:
        """Allow it again."""


class _Fault:
    reasons = {"the database cannot be reached"}  # noqa: RUF012 -- constant

    def __init__(self, postgres: PostgresServer, relay: Relay) -> None:
        self.postgres = postgres
        self.relay = relay


class Killed(_Fault):
    """PostgreSQL and all its processes were killed."""

    def begin(self) -> None:
        self.postgres.kill()

    def end(self) -> None:
        self.postgres.start()


class Stopped(_Fault):
    """PostgreSQL was shut down."""

    def begin(self) -> None:
        self.postgres.stop()

    def end(self) -> None:
        self.postgres.start()


class Locked(_Fault):
    """Somebody has locked a table in ``psql``, and went to lunch."""

    reasons = {"another program has locked the journal"}  # noqa: RUF012 -- constant

    def begin(self) -> None:
        self._session = self.postgres.connect(SHARED)
        self._session.execute("BEGIN")
        self._session.execute("LOCK TABLE broadcast.lines")

    def end(self) -> None:
        self._session.close()


class StoppedInLock(_Fault):
    """The process that stores lines for the server is stopped while it holds a lock. No client can release it."""

    reasons = {"another program has locked the journal", "the database cannot be reached"}  # noqa: RUF012 -- constant

    def begin(self) -> None:
        with self.postgres.connect(SHARED) as session:
            session.execute("BEGIN")
            session.execute("LOCK TABLE broadcast.lines")  # the row of the server is locked before
            wait_for(lambda: self._find(session) is not None, "nothing is stored")
            self._stopped = self._find(session)
            assert self._stopped is not None
            os.kill(self._stopped, signal.SIGSTOP)

    def _find(self, session: Any) -> int | None:  # noqa: ANN401 -- psycopg may be missing
        """Return the process that stores lines and waits for the table."""
        waiting = session.execute(f"{OURS} AND wait_event_type = 'Lock' AND query LIKE 'SELECT append(%'").fetchone()
        return waiting[0] if waiting else None

    def end(self) -> None:
        assert self._stopped is not None
        os.kill(self._stopped, signal.SIGCONT)


class KilledInLock(StoppedInLock):
    """As before, but an operator kills the process, so that PostgreSQL ends all connections and recovers."""

    def end(self) -> None:
        assert self._stopped is not None
        os.kill(self._stopped, signal.SIGKILL)


class Silent(_Fault):
    """The network swallows everything. Connections stay open, and new ones can be made."""

    def begin(self) -> None:
        self.relay.is_silent = True

    def end(self) -> None:
        self.relay.is_silent = False
        self.relay.drop_silenced()


class ReadOnly(_Fault):
    """The database accepts no changes, as a standby."""

    reasons = {"the database accepts no changes", "the database cannot be reached"}  # noqa: RUF012 -- constant

    def begin(self) -> None:
        self.postgres.execute(f"ALTER DATABASE {SHARED} SET default_transaction_read_only = on")
        terminate(self.postgres)

    def end(self) -> None:
        self.postgres.execute(f"ALTER DATABASE {SHARED} RESET default_transaction_read_only")


FAULTS: list[Callable[[PostgresServer, Relay], Fault]] = [Killed, Silent]
RARE_FAULTS: list[Callable[[PostgresServer, Relay], Fault]] = [
    KilledInLock,
    Locked,
    ReadOnly,
    Stopped,
    StoppedInLock,
]


def terminate(postgres: PostgresServer) -> None:
    """End all connections of the server to the database, as an operator does, and wait until they have ended."""
    for (pid,) in postgres.execute(OURS):
        postgres.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


class Relay(Factory):
    """A port that connects the server with the database, and that can fall silent."""

    noisy = False

    def __init__(self, reactor: Any, port: int) -> None:  # noqa: ANN401 -- no interface has all its methods
        self.is_silent = False
        self.connections: list[_End] = []
        self._reactor = reactor
        self._target = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.number: int = self._port.getHost().port

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        """Connect a client with the database."""
        near = _End(self)

        def connect(_near: object) -> None:
            far = _End(self)
            near.other, far.other = far, near
            factory = Factory.forProtocol(lambda: far)
            factory.noisy = False
            self._target.connect(factory).addErrback(lambda _failure: near.close())

        near.on_made = connect
        return near

    def drop_silenced(self) -> None:
        """Reset all connections, which miss a part of what was sent."""
        for end in list(self.connections):
            end.close()

    async def stop(self) -> None:
        """Close the port and all connections."""
        await self._port.stopListening()
        self.drop_silenced()


class _End(Connection):
    """One of the two connections of a client."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._held: list[bytes] = []
        self.is_open = False
        self.other: _End | None = None
        self.on_made: Callable[[object], None] = lambda _end: None

    @property
    def tcp(self) -> Any:  # noqa: ANN401 -- no interface has all its methods
        """The transport."""
        return self.transport

    def connectionMade(self) -> None:
        self.is_open = True
        self._relay.connections.append(self)
        self.on_made(self)
        if self.other is not None:
            self.other.flush()

    def dataReceived(self, data: bytes) -> None:
        if not self._relay.is_silent:
            self._held.append(data)
            self.flush()

    def flush(self) -> None:
        """Pass on what has come, if the other connection is there."""
        if self.other is not None and self.other.is_open:
            held, self._held = self._held, []
            self.other.tcp.writeSequence(held)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False
        self._relay.connections.remove(self)
        if self.other is not None and not self._relay.is_silent:
            self.other.close()

    def close(self) -> None:
        """Reset the connection, if it is there."""
        if self.is_open:
            self.tcp.abortConnection()
