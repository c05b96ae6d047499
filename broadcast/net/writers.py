"""Where a peer's bytes go: everything for them, burst or answer, goes through their one outlet, in order.

``transport.write`` only appends to a list and asks the reactor to watch the socket: two system calls, another turn of
the loop and a logging context, where one ``send`` would have done. So where there is a socket, bytes are offered to it
first, and the transport gets only the rest of a line that it did not take whole.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from twisted.internet.interfaces import IPullProducer, IPushProducer, IReactorFDSet, ISSLTransport
from zope.interface import implementer

from broadcast.core.limits import DEFAULTS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IProducer, IReactorTime

_LINGER: Final = DEFAULTS.linger_seconds

Bytes: TypeAlias = bytes | memoryview
Send: TypeAlias = Callable[[bytes], int]


class StreamTransport(Protocol):
    """What Twisted's stream transports (TCP, unix, TLS) have in common; no zope interface holds all of it."""

    def write(self, data: bytes, /) -> None:
        """Send *data*, or hold what cannot be sent yet."""

    def registerProducer(self, producer: IProducer, /, streaming: bool) -> None:
        """Pause *producer* while too much is held (*streaming*), or call it whenever nothing is."""

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


class Writer(Protocol):
    """Takes bytes for one peer."""

    @property
    def send(self) -> Send:
        """Send bytes; how many of them were taken. ``BlockingIOError``: none; another ``OSError``: it is broken."""

    def send_parts(self, parts: Sequence[Bytes]) -> int:
        """The same for the concatenation of *parts*."""

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Send *rest* (not empty) as soon as possible, and call *drained* when more can be taken.

        After a ``send`` that did not take everything, before any other.
        """

    def stop_drain(self) -> None:
        """All is taken that ``drained`` was wanted for: do not call it any more."""

    def close(self) -> None:
        """Deliver what was taken, then close; abort after ``Limits.linger_seconds``. Only ``lost`` may follow."""

    def start_linger(self) -> None:
        """From here on the other side has ``Limits.linger_seconds`` to read what it is still sent."""

    def abort(self) -> None:
        """The connection is broken: it will be lost in a later turn. What comes until then may be dropped."""

    def connection_lost(self) -> None:
        """The connection is gone. No other call may follow."""


class _LingeringClose:
    """How every outlet ends."""

    def __init__(self, transport: StreamTransport, clock: IReactorTime, linger: float = _LINGER) -> None:
        self._transport = transport
        self._clock = clock
        self._seconds = linger
        self._linger: IDelayedCall | None = None

    def close(self) -> None:
        """Close our direction only, where there are two: bytes that still come in must not reset the connection.

        A close with unread input sends a reset (RFC 2525, 2.17), and a reset may take with it what the other side has
        not read yet. So the other side closes last, or the time is over.
        """
        self._transport.unregisterProducer()
        if ISSLTransport.providedBy(self._transport):
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()
        self.start_linger()

    def start_linger(self) -> None:
        """From here on the other side has its time to read what it is still sent."""
        if self._linger is None:
            self._linger = self._clock.callLater(self._seconds, self._transport.abortConnection)

    def abort(self) -> None:
        """The connection is broken."""
        self._transport.abortConnection()

    def connection_lost(self) -> None:
        """Nothing is left to abort."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()


@implementer(IPullProducer)
class SocketWriter(_LingeringClose):
    """Straight to *handle*, the socket of *transport*.

    Safe only while the transport holds nothing back, or the bytes would arrive in another order. So what was not taken
    goes to the transport, and nobody sends before that has called back for more.
    """

    def __init__(
        self, transport: StreamTransport, clock: IReactorTime, handle: socket.socket, linger: float = _LINGER
    ) -> None:
        super().__init__(transport, clock, linger)
        self.send: Send = handle.send
        self._sendmsg = handle.sendmsg
        self._rest = b""
        self._drained: Callable[[], None] | None = None

    def send_parts(self, parts: Sequence[Bytes]) -> int:
        """Send the same bytes that others get, without copying them; the kernel takes at most 1,024 pieces."""
        return self._sendmsg(parts) if len(parts) <= _MAX_SENDMSG_PARTS else self.send(b"".join(parts))

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Give *rest* to the transport, as what its pull producer has to say; it asks for more when that is sent."""
        if self._drained is not None:
            self._transport.write(rest)
        else:
            # The transport asks for the first piece at once.
            self._rest = rest
            self._drained = drained
            self._transport.registerProducer(self, streaming=False)

    def resumeProducing(self) -> None:
        """The transport holds nothing."""
        rest, self._rest = self._rest, b""
        if rest:
            self._transport.write(rest)
        elif self._drained is not None:
            self._drained()

    def stopProducing(self) -> None:
        """The transport is about to tell of the connection's loss."""

    def stop_drain(self) -> None:
        """The reader has caught up."""
        if self._drained is not None:
            self._drained = None
            self._transport.unregisterProducer()


@implementer(IPushProducer)
class TransportWriter(_LingeringClose):
    """Through the transport, which takes everything until it asks for a pause: for TLS and the rest."""

    def __init__(self, transport: StreamTransport, clock: IReactorTime, linger: float = _LINGER) -> None:
        super().__init__(transport, clock, linger)
        self._paused = False
        self._drained: Callable[[], None] | None = None
        transport.registerProducer(self, streaming=True)

    def send(self, data: bytes) -> int:
        """Hand *data* to the transport, piece by piece, until it asks for a pause."""
        taken = 0
        while taken < len(data) and not self._paused:
            self._transport.write(data[taken : taken + _CHUNK_BYTES])
            taken += _CHUNK_BYTES
        return min(taken, len(data))

    def send_parts(self, parts: Sequence[Bytes]) -> int:
        """The same for *parts*."""
        return self.send(b"".join(parts))

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Hand *rest* to the transport in spite of the pause; it is a line at most."""
        self._drained = drained
        self._transport.write(rest)

    def stop_drain(self) -> None:
        """The reader has caught up."""
        self._drained = None

    def pauseProducing(self) -> None:
        """The transport holds too much."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport holds nothing."""
        self._paused = False
        if self._drained is not None:
            self._drained()

    def stopProducing(self) -> None:
        """The transport is about to tell of the connection's loss."""


_MAX_SENDMSG_PARTS = 1024
_CHUNK_BYTES = 64 * 1024
"""So many bytes the transport is handed at once. It asks for a pause when it holds as many."""


def writer_for(reactor: IReactorTime, transport: StreamTransport, linger: float = _LINGER) -> Writer:
    """The quickest outlet that is right for *transport*; *linger* seconds after its end it is aborted.

    A TLS transport's handle has a ``send`` too, which would leave the ciphertext behind; and only a reactor that waits
    for file descriptors leaves the socket to us.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    if isinstance(handle, socket.socket) and handle.family in (socket.AF_INET, socket.AF_INET6):
        # A burst is as large as it is going to be. Nagle's algorithm would hold it back until the last one is
        # acknowledged, which who only reads does after up to 40 ms.
        with suppress(OSError):  # macOS: of a connection that was reset meanwhile
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if isinstance(handle, socket.socket) and IReactorFDSet.providedBy(reactor):
        return SocketWriter(transport, reactor, handle, linger)
    return TransportWriter(transport, reactor, linger)
