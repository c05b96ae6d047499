"""The output of a connection. All bytes for a peer, batches and replies alike, pass through one writer, in order.

``transport.write`` only appends to a list and asks the reactor to watch the socket. This costs two system calls, a turn
of the reactor and a logging context. One ``send`` suffices instead, so a writer offers bytes to the socket first, if
there is one. The transport receives only the rest of a line that the socket has accepted in part.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from twisted.internet.interfaces import IPullProducer, IPushProducer, ISSLTransport
from twisted.internet.tcp import Connection
from zope.interface import implementer

from broadcast.core.limits import DEFAULTS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IProducer, IReactorTime

    from broadcast.core.limits import Lease

_LINGER: Final = DEFAULTS.linger_seconds

DISCONNECTED: Final = frozenset(
    {
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
)
"""Errors of a connection that neither side has closed (send(2), tcp(7))."""
_CHUNK_BYTES: Final = 64 * 1024
"""Maximum number of bytes in one write to a transport, which asks for a pause when it buffers as many."""

Send: TypeAlias = Callable[[bytes], int]


class StreamTransport(Protocol):
    """The methods that all stream transports of Twisted have (TCP, unix, TLS). No zope interface has all of them."""

    def write(self, data: bytes, /) -> None:
        """Send *data*, or buffer the part that cannot be sent yet."""

    def registerProducer(self, producer: IProducer, /, streaming: bool) -> None:
        """Pause *producer* while the buffer is full if *streaming*, else ask it for bytes when the buffer is empty."""

    def unregisterProducer(self) -> None:
        """Remove the producer."""

    def pauseProducing(self) -> None:
        """Pause reading."""

    def resumeProducing(self) -> None:
        """Resume reading."""

    def loseWriteConnection(self) -> None:
        """Close the sending direction once everything is sent. TLS cannot close one direction."""

    def loseConnection(self) -> None:
        """Close both directions once everything is sent."""

    def abortConnection(self) -> None:
        """Close both directions now."""

    def getPeer(self) -> IAddress:
        """Return the address of the peer."""


class DirectTransport:
    """A transport that sends by itself, as a socket does, and that can close one direction alone."""

    send: Send
    """Offers bytes to the connection; see ``Sender.send``."""
    received = b""
    """The input that has arrived before the protocol was connected."""

    def take_lease(self) -> Lease | None:
        """Return the lease that counts the connection, if there is one. The caller has to release it."""
        raise NotImplementedError


class Sender(Protocol):
    """The output of one stream of a connection."""

    @property
    def send(self) -> Send:
        """A function that offers bytes to the connection and returns the number of accepted bytes.

        It returns 0 or raises ``BlockingIOError`` if none are accepted, and another ``OSError`` if the connection is
        broken.
        """

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Send *rest* (not empty) as soon as possible, and call *drained* when more bytes can be accepted.

        Call this after a ``send`` that did not accept everything, before any other ``send``.
        """

    def stop_drain(self) -> None:
        """Do not call *drained* any more, because no bytes wait."""

    def send_failed(self, error: OSError) -> int:
        """Handle the *error* that a call of ``send`` has raised. Return 0, the number of accepted bytes."""


class Writer(Sender, Protocol):
    """The output of one connection."""

    def close(self) -> None:
        """Deliver the accepted bytes, then close. Only ``connection_lost`` may follow.

        The connection is aborted after ``Limits.linger_seconds``.
        """

    def start_linger(self) -> None:
        """Give the peer ``Limits.linger_seconds`` to read the remaining bytes, then abort."""

    def connection_lost(self) -> None:
        """Clean up after the connection. No other call may follow."""


class _Handle(Protocol):
    @property
    def send(self) -> Send:
        """See ``Sender.send``."""


class _LingeringClose:
    """The end of a connection, which is the same for all writers. *linger* is the time until the abort, in seconds."""

    def __init__(self, transport: StreamTransport, clock: IReactorTime, linger: float = _LINGER) -> None:
        self._transport = transport
        self._clock = clock
        self._linger = linger
        self._abort: IDelayedCall | None = None
        self._drained: Callable[[], None] | None = None

    def close(self) -> None:
        """Close the sending direction only (except with Twisted's TLS), and abort after the linger time.

        A close with unread input sends a reset (RFC 2525, 2.17), which can discard bytes that the peer has not read
        yet. So the peer closes last, unless the time is over.
        """
        self._transport.unregisterProducer()
        if ISSLTransport.providedBy(self._transport) and not isinstance(self._transport, DirectTransport):
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()
        self.start_linger()

    def start_linger(self) -> None:
        """Abort after the linger time, unless the peer closes before."""
        if self._abort is None:
            self._abort = self._clock.callLater(self._linger, self._transport.abortConnection)

    def send_failed(self, error: OSError) -> int:
        """Abort the connection if *error* says that it is broken. Return 0.

        The kernel reports a reset or a time-out only once. Afterwards, the transport would see a regular close. The
        connection is lost in a later turn of the reactor.
        """
        if error.errno in DISCONNECTED:
            self._transport.abortConnection()
        return 0

    def connection_lost(self) -> None:
        """Cancel the abort, and forget *drained*: a reference cycle with the subscriber would delay freeing both."""
        self._drained = None
        if self._abort is not None and self._abort.active():
            self._abort.cancel()


@implementer(IPullProducer)
class SocketWriter(_LingeringClose):
    """A writer that sends directly to *handle*, the socket of *transport*, or *transport* itself if it can do that.

    Bytes stay in order only while the transport's buffer is empty. So after ``write_rest``, the caller must not send
    before the transport has sent the rest and *drained* is called.
    """

    def __init__(
        self, transport: StreamTransport, clock: IReactorTime, handle: _Handle, linger: float = _LINGER
    ) -> None:
        super().__init__(transport, clock, linger)
        self.send: Send = handle.send
        self._rest = b""

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Give *rest* to the transport as a pull producer. The transport asks for more once it is sent."""
        if self._drained is not None:
            self._transport.write(rest)
        else:
            # registerProducer calls resumeProducing at once.
            self._rest = rest
            self._drained = drained
            self._transport.registerProducer(self, streaming=False)

    def resumeProducing(self) -> None:
        """Write the rest, or report that the transport's buffer is empty."""
        rest, self._rest = self._rest, b""
        if rest:
            self._transport.write(rest)
        elif self._drained is not None:
            self._drained()

    def stopProducing(self) -> None:
        """Do nothing: the transport reports the loss of the connection, too."""

    def stop_drain(self) -> None:
        """Remove the producer."""
        if self._drained is not None:
            self._drained = None
            self._transport.unregisterProducer()


@implementer(IPushProducer)
class TransportWriter(_LingeringClose):
    """A writer for all other transports, such as TLS. It writes until the transport asks for a pause."""

    def __init__(self, transport: StreamTransport, clock: IReactorTime, linger: float = _LINGER) -> None:
        super().__init__(transport, clock, linger)
        self._paused = False
        transport.registerProducer(self, streaming=True)

    def send(self, data: bytes) -> int:
        """Write *data* to the transport in chunks until it asks for a pause."""
        accepted = 0
        while accepted < len(data) and not self._paused:
            self._transport.write(data[accepted : accepted + _CHUNK_BYTES])
            accepted += _CHUNK_BYTES
        return min(accepted, len(data))

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Write *rest*, which is at most one line, although the transport may have asked for a pause."""
        self._drained = drained
        self._transport.write(rest)

    def stop_drain(self) -> None:
        """Forget *drained*."""
        self._drained = None

    def pauseProducing(self) -> None:
        """Pause: the transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Continue: the transport's buffer is empty."""
        self._paused = False
        if self._drained is not None:
            self._drained()

    def stopProducing(self) -> None:
        """Do nothing: the transport reports the loss of the connection, too."""


def writer_for(reactor: IReactorTime, transport: StreamTransport, linger: float = _LINGER) -> Writer:
    """Return the fastest writer that suits *transport*. *linger* is the time from the close to the abort, in seconds.

    A ``SocketWriter`` needs a socket to send to, or a transport that sends by itself. The handle of Twisted's TLS
    transport also has a ``send``, but that would not send the ciphertext.
    """
    if isinstance(transport, DirectTransport):
        return SocketWriter(transport, reactor, transport, linger)
    handle = direct_socket(transport)
    if handle is not None:
        return SocketWriter(transport, reactor, handle, linger)
    return TransportWriter(transport, reactor, linger)


def direct_socket(transport: StreamTransport) -> socket.socket | None:
    """Return the socket of *transport* to send to, None if there is none.

    The socket is set to send small pieces at once, and not to block.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket):
        return None
    if handle.family in (socket.AF_INET, socket.AF_INET6):
        # Nagle's algorithm would hold a batch back until the peer acknowledges the previous one. A peer that only reads
        # does so after up to 40 ms.
        with suppress(OSError):  # macOS raises it if the connection was reset meanwhile
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handle.setblocking(False)  # Windows' reactor leaves it blocking
    return handle


def peek_byte(transport: StreamTransport) -> bytes:
    """Return the first byte that *transport* can read, without reading it. The result is empty if there is none yet.

    It is also empty if another protocol reads the input and does not tell, as Twisted's TLS does.
    """
    if isinstance(transport, DirectTransport):
        return transport.received[:1]
    if not isinstance(transport, Connection):
        return b""
    try:
        return transport.getHandle().recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    except OSError:  # the kernel reports a reset only once
        transport.abortConnection()  # type: ignore[no-untyped-call]
        return b""
