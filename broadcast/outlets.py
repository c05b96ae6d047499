"""Where a peer's bytes go: everything for them, burst or answer, goes through their one outlet, in order."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime, ISSLTransport

LINGER_SECONDS = 10
"""How long a closing connection may take to read what it was sent (HARDENING); then it is aborted."""


class StreamTransport(Protocol):
    """What Twisted's stream transports (TCP, unix, TLS) have in common; no zope interface holds all of it."""

    def write(self, data: bytes, /) -> None:
        """Send *data*, or hold what cannot be sent yet."""

    def registerProducer(self, producer: IPushProducer, /, streaming: bool) -> None:
        """Pause *producer* while too much is held."""

    def unregisterProducer(self) -> None:
        """Forget it."""

    def pauseProducing(self) -> None:
        """Stop reading."""

    def resumeProducing(self) -> None:
        """Read on."""

    def loseWriteConnection(self) -> None:
        """Close our direction once everything is sent; TLS has none of its own."""

    def loseConnection(self) -> None:
        """Close both once everything is sent."""

    def abortConnection(self) -> None:
        """Close both now."""

    def getPeer(self) -> IAddress:
        """Where the other side is."""


class Outlet(Protocol):
    """Takes bytes for one peer."""

    def offer(self, data: bytes) -> int:
        """Send *data* after all that was taken before; how many of its bytes were taken. Never raises."""

    def finish(self) -> None:
        """Deliver what was taken, then close; abort after ``LINGER_SECONDS``. No offer may follow."""

    def lost(self) -> None:
        """The connection is gone. No other call may follow."""


class TransportOutlet:
    """Through the transport, which takes everything and buffers what the socket does not accept."""

    def __init__(self, transport: StreamTransport, clock: IReactorTime) -> None:
        self._transport = transport
        self._clock = clock
        self._linger: IDelayedCall | None = None

    def offer(self, data: bytes) -> int:
        """Hand *data* to the transport, all of it."""
        self._transport.write(data)
        return len(data)

    def finish(self) -> None:
        """Close our direction only, where there are two: bytes that still come in must not reset the connection.

        A close with unread input sends a reset (RFC 2525, 2.17), and a reset may take with it what the other side has
        not read yet. So the other side closes last, or the time is over.
        """
        self._transport.unregisterProducer()
        if ISSLTransport.providedBy(self._transport):
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()
        self._linger = self._clock.callLater(LINGER_SECONDS, self._transport.abortConnection)

    def lost(self) -> None:
        """Nothing is left to abort."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
