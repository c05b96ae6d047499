"""TLS below a door: a protocol that decrypts the input of a connection, and is the transport of the door's protocol.

OpenSSL reads and writes two buffers in memory (``ssl.MemoryBIO``). The ciphertext goes directly to the socket, as the
bytes of a plain connection do. Twisted's own TLS takes two to three times as long for each delivery, and cannot close
one direction alone.

The end of the input is the client's close_notify, or the end of the TCP stream without one. An attacker can cause the
latter, but cannot cut a record. After the end of the input, the replies still reach the client.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from zope.interface import alsoProvides, implementer

from broadcast.core.errors import TooManyConnections
from broadcast.net.addresses import format_peer, peer_ip
from broadcast.net.connection_log import RejectionLog
from broadcast.net.writers import DISCONNECTED, DirectTransport, direct_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import (
        IAddress,
        IDelayedCall,
        IListeningPort,
        IProducer,
        IProtocolFactory,
        IReactorTime,
        ITransport,
    )
    from twisted.python.failure import Failure

    from broadcast.core.limits import ConnectionLimiter, Lease
    from broadcast.net.endpoints import Listener
    from broadcast.net.handshake_pacing import HandshakePacer
    from broadcast.net.writers import Send, StreamTransport

HANDSHAKE_SECONDS: Final = 10
"""Time for the handshake, in seconds. The time in which the server makes the client wait does not count."""
MAX_UNCOUNTED: Final = 6
"""Maximum number of connections above a limit that complete their handshake in order to receive the reason.

They need file descriptors that no limit covers, like those in ``connections.MAX_REJECTED``.
"""
MAX_UNREAD_BYTES: Final = 64 * 1024
"""Maximum number of bytes that OpenSSL may answer, such as alerts, to a client that does not read."""
RECORD_BYTES: Final = 16 * 1024
"""Maximum length of the contents of a record (RFC 8446, section 5.1)."""
PIECE_BYTES: Final = 4096
"""Number of bytes that OpenSSL gets at a time. Its buffer never becomes smaller again, so it must not become large."""
INTERNAL_ERROR_ALERT: Final = b"\x15\x03\x03\0\x02\x02\x50"
"""A fatal alert, for a client that is rejected before its handshake (RFC 8446, section 6.2)."""

_HANDSHAKE: Final = b"\x16"
"""The first byte of a client that speaks TLS: the type of the record."""
NO_TLS: Final = (
    b" * This port speaks TLS: connect with broadcast-client --tls, ncat --ssl, "
    b"or openssl s_client -quiet -connect.\r\n"
)
"""The line for a client that does not speak TLS."""

# Certificates for TLS 1.2 use the same keys as those for 1.3. All of these have forward secrecy and authenticated
# encryption (RFC 9325, section 4.2).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context() -> ssl.SSLContext:
    """Return a context for the server, without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


@implementer(IPullProducer)
class _Remainder:
    """The rest of the ciphertext, until the TCP *transport* has sent it. Then *on_sent* is called."""

    def __init__(self, transport: StreamTransport, rest: bytes, on_sent: Callable[[], None]) -> None:
        self._transport = transport
        self._rest = rest
        self._on_sent = on_sent
        transport.registerProducer(self, streaming=False)  # calls resumeProducing at once

    def resumeProducing(self) -> None:
        """Write the rest, or report that it was sent."""
        rest, self._rest = self._rest, b""
        if rest:
            self._transport.write(rest)
        else:
            self._transport.unregisterProducer()
            self._on_sent()

    def stopProducing(self) -> None:
        """Do nothing: the transport reports the loss of the connection, too."""


@implementer(IHalfCloseableProtocol)
class TlsConnection(DirectTransport, Protocol):
    """One connection with TLS. Its transport is the TCP connection, and it is the transport of a door's protocol.

    The door's protocol begins after the handshake.
    """

    factory: TlsFactory

    # The TCP connection

    def connectionMade(self) -> None:
        """Wait for the handshake."""
        alsoProvides(self, ISSLTransport)  # marks the connection as encrypted; no door calls the methods that it lacks
        factory = self.factory
        self._tcp = cast("StreamTransport", self.transport)
        self._socket: socket.socket | None = factory.socket_of(self._tcp)
        self._wrapped: Protocol | None = None
        self._ssl: ssl.SSLObject | None = None
        """The state of TLS; None before the first byte, and after a rejection."""
        self._remainder: _Remainder | None = None
        """The ciphertext that the socket has not accepted; None while it accepts everything."""
        self._producer: IPullProducer | None = None
        self._queued = False
        """Whether a step of the handshake waits for its turn."""
        self._seconds_left = 0.0
        """The rest of the time for the handshake, while a step waits."""
        self._input_ended = False
        self._output_ended = False
        self._close_notify_received = False
        self.received = b""
        """The input that came together with the end of the handshake."""
        self._lease: Lease | None = None
        self._deadline: IDelayedCall = factory.clock.callLater(HANDSHAKE_SECONDS, self._time_out)
        factory.handshaking.add(self)
        try:
            self._lease = factory.connection_limiter.acquire(peer_ip(self.getPeer()), factory.clock.seconds())
        except TooManyConnections as error:
            # The client receives the reason from the door, which counts the connection again after the handshake.
            if len(factory.uncounted) == MAX_UNCOUNTED:
                factory.rejection_log.record(str(error))
                self._reject(INTERNAL_ERROR_ALERT)
            else:
                factory.uncounted.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt *data* for the door, or continue the handshake."""
        if self._ssl is None:
            if self in self.factory.handshaking:  # otherwise, it was rejected
                self._receive_first(data)
        elif self._wrapped is not None:
            if not self._input_ended:
                self._pass_on(self._wrapped, self._decrypt(data))
        else:
            self._incoming.write(data)
            self._queue_step()

    def readConnectionLost(self) -> None:
        """Handle the end of the TCP stream, which comes after close_notify or instead of it."""
        if self._wrapped is None:
            self._reject(b"")
        else:
            self._end_input(self._wrapped)

    def writeConnectionLost(self) -> None:
        """Forward the end of the output."""
        if (half_closeable := _half_closeable(self._wrapped)) is not None:
            half_closeable.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Clean up, and forward the loss of the connection."""
        self._stop_handshake()
        self._producer = None
        self.send = _refuse  # a reference cycle would delay freeing this connection
        wrapped, self._wrapped = self._wrapped, None
        if wrapped is not None:
            wrapped.connectionLost(reason)
        if (lease := self.take_lease()) is not None:
            lease.release()

    # The handshake

    def _receive_first(self, data: bytes) -> None:
        if not data.startswith(_HANDSHAKE):
            self._reject_other("no TLS")
            return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = self.factory.get_context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(data)
        self._queue_step()

    def _queue_step(self) -> None:
        """Continue the handshake when it is this connection's turn."""
        if not self._queued:
            self._queued = True
            self._seconds_left = self._deadline.getTime() - self.factory.clock.seconds()
            self._deadline.cancel()
            self.factory.pacer.submit(self._start_step)
            if self._queued:
                self._tcp.pauseProducing()

    def _start_step(self) -> None:
        """Continue the handshake, unless the connection has ended meanwhile."""
        self._queued = False
        if self in self.factory.handshaking:
            self._deadline = self.factory.clock.callLater(max(self._seconds_left, 0), self._time_out)
            self._tcp.resumeProducing()
            self._shake_hands()

    def _shake_hands(self) -> None:
        assert self._ssl is not None
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._transmit()
        except OSError as error:  # an SSLError, mostly
            self._transmit()  # the alert, which tells the client the reason
            reason = getattr(error, "reason", None) or "it ended early"
            self.factory.rejection_log.record(f"TLS handshake with {format_peer(self.getPeer())} failed: {reason}")
            self._reject(b"")
        else:
            self._transmit()
            self._start_wrapped()

    def _time_out(self) -> None:
        if self._ssl is None:
            # A person with telnet waits for a welcome.
            self._reject_other(f"no TLS within {HANDSHAKE_SECONDS} s")
        else:
            peer = format_peer(self.getPeer())
            self.factory.rejection_log.record(f"TLS handshake with {peer} not complete after {HANDSHAKE_SECONDS} s")
            self._reject(b"")

    def _reject_other(self, reason: str) -> None:
        """Reject a client that does not speak TLS."""
        self.factory.rejection_log.record(f"{reason} from {format_peer(self.getPeer())}")
        self._reject(self.factory.no_tls)

    def reject_stopping(self) -> None:
        """Close the connection, because the server is going down."""
        self._reject(b"")

    def _reject(self, data: bytes) -> None:
        """Send *data* unencrypted, and close."""
        self._stop_handshake()
        self._ssl = None
        if self._remainder is not None:
            self._tcp.unregisterProducer()
        if data:
            self._tcp.write(data)
        self._tcp.loseConnection()
        linger = self.factory.connection_limiter.limits.linger_seconds
        self._deadline = self.factory.clock.callLater(linger, self._tcp.abortConnection)

    def _stop_handshake(self) -> None:
        self.factory.handshaking.discard(self)
        self.factory.uncounted.discard(self)
        if self._deadline.active():
            self._deadline.cancel()

    def _start_wrapped(self) -> None:
        assert self._ssl is not None
        self._stop_handshake()
        wrapped = cast("Protocol | None", self.factory.wrapped.buildProtocol(self.getPeer()))
        if wrapped is None:
            self._reject(b"")
            return
        self.send = self._make_send(self._ssl)
        self.received = self._decrypt(b"")
        self._wrapped = wrapped
        wrapped.makeConnection(self)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        received, self.received = self.received, b""
        self._pass_on(wrapped, received)

    # Input of the door

    def _decrypt(self, data: bytes) -> bytes:
        """Return the plaintext of *data*, and take notice of the client's close_notify."""
        plaintext: list[bytes] = []
        try:
            self._read(plaintext)
            for start in range(0, len(data), PIECE_BYTES):
                self._incoming.write(data[start : start + PIECE_BYTES])
                self._read(plaintext)
        except OSError:  # damaged or forged
            self._transmit()
            self.abortConnection()
        if self._outgoing.pending:
            self._answer()
        return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)

    def _read(self, plaintext: list[bytes]) -> None:
        """Append the plaintext that OpenSSL has to *plaintext*."""
        assert self._ssl is not None
        try:
            while not self._close_notify_received and (self._incoming.pending or self._ssl.pending()):
                piece = self._ssl.read(RECORD_BYTES)
                if piece:
                    plaintext.append(piece)
                else:
                    self._close_notify_received = True
        except ssl.SSLWantReadError:
            pass  # the rest is a part of a record
        except ssl.SSLZeroReturnError:  # close_notify, after that of the server
            self._close_notify_received = True

    def _answer(self) -> None:
        """Send what OpenSSL has answered by itself, unless the client does not read."""
        if self._remainder is None:
            self._transmit()
        elif self._outgoing.pending > MAX_UNREAD_BYTES:
            self.abortConnection()

    def _pass_on(self, wrapped: Protocol, data: bytes) -> None:
        if data:
            wrapped.dataReceived(data)
        if self._close_notify_received:
            self._end_input(wrapped)

    def _end_input(self, wrapped: Protocol) -> None:
        if not self._input_ended:
            self._input_ended = True
            if (half_closeable := _half_closeable(wrapped)) is not None:
                half_closeable.readConnectionLost()
            else:
                self.loseConnection()

    # Output of the door

    def _make_send(self, tls: ssl.SSLObject) -> Send:
        """Return the function that encrypts and sends data, and returns the number of accepted bytes.

        The function accepts the data that it encrypts, and nothing while the ciphertext of earlier data waits. Each
        delivery calls it, so it calls only functions in C, if it can.
        """
        encrypt = getattr(tls, "_sslobj", tls).write  # SSLObject.write only calls this
        take_ciphertext = self._outgoing.read
        send_ciphertext = None if self._socket is None else self._socket.send

        def send(data: bytes) -> int:
            size = len(data)
            if self._remainder is not None or self._output_ended or not size:
                return 0
            if size > RECORD_BYTES:
                return self._send_records(data)
            encrypt(data)
            if send_ciphertext is None:
                self._transmit()
                return size
            ciphertext = take_ciphertext()
            try:
                sent = send_ciphertext(ciphertext)
            except OSError as error:
                sent = self._send_failed(error)
            if sent < len(ciphertext):
                self._wait(ciphertext[sent:])
            return size

        return send

    def _send_records(self, data: bytes) -> int:
        """Send *data*, which is longer than a record, until the socket does not accept everything."""
        accepted = 0
        while accepted < len(data) and self._remainder is None:
            accepted += self.send(data[accepted : accepted + RECORD_BYTES])
        return accepted

    def write(self, data: bytes) -> None:
        """Encrypt *data*, and let the TCP transport send its ciphertext. A producer is called afterwards."""
        assert self._ssl is not None
        if data and not self._output_ended:
            self._ssl.write(data)
            self._transmit(directly=False)

    def _transmit(self, directly: bool = True) -> None:
        """Send the ciphertext that OpenSSL has produced. The TCP transport sends the part that the socket rejects."""
        data = self._outgoing.read()
        if self._remainder is not None:
            self._tcp.write(data)
            return
        sent = 0
        if directly and self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError as error:
                sent = self._send_failed(error)
        if sent < len(data):
            self._wait(data[sent:])

    def _send_failed(self, error: OSError) -> int:
        if error.errno in DISCONNECTED:  # the kernel reports it only once
            self.abortConnection()
        return 0

    def _wait(self, rest: bytes) -> None:
        """Let the TCP transport send *rest*. Until then, nothing is accepted."""
        self._remainder = _Remainder(self._tcp, rest, self._remainder_sent)

    def _remainder_sent(self) -> None:
        self._remainder = None
        if self._outgoing.pending:
            self._transmit()
        if self._producer is not None and self._remainder is None:
            self._producer.resumeProducing()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Ask *producer* for bytes now, and then when all ciphertext is sent. Push producers are not supported."""
        assert not streaming
        self._producer = cast("IPullProducer", producer)
        self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Remove the producer."""
        self._producer = None

    # The rest of the transport

    def take_lease(self) -> Lease | None:
        """Return the lease of this connection, which the caller has to release; None if it is above a limit."""
        lease, self._lease = self._lease, None
        return lease

    def pauseProducing(self) -> None:
        """Pause reading."""
        self._tcp.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume reading."""
        self._tcp.resumeProducing()

    def loseWriteConnection(self) -> None:
        """Send close_notify and close the sending direction of the TCP connection, once everything is sent."""
        self._end_output()
        self._tcp.loseWriteConnection()

    def loseConnection(self) -> None:
        """Send close_notify and close the TCP connection, once everything is sent."""
        self._end_output()
        self._tcp.loseConnection()

    def abortConnection(self) -> None:
        """Close the TCP connection now."""
        self._tcp.abortConnection()

    def _end_output(self) -> None:
        assert self._ssl is not None
        if not self._output_ended:
            self._output_ended = True
            with suppress(OSError):  # the client's close_notify is missing; _decrypt handles it when it comes
                self._ssl.unwrap()
            self._transmit()
            if self._remainder is not None:
                self._tcp.unregisterProducer()  # the TCP connection would not close

    @property
    def is_forwarded(self) -> bool:
        """Whether a proxy forwards the connection, whatever its address is."""
        return getattr(self._tcp, "is_forwarded", False)

    @property
    def is_address_known(self) -> bool:
        """Whether the address is that of the client, and not that of a proxy that does not give the client's."""
        return getattr(self._tcp, "is_address_known", True)

    def getPeer(self) -> IAddress:
        """Return the address of the client."""
        return self._tcp.getPeer()

    def getHost(self) -> IAddress:
        """Return the address of the server."""
        return cast("ITransport", self._tcp).getHost()


def _refuse(_data: bytes) -> int:
    return 0


def _half_closeable(protocol: Protocol | None) -> IHalfCloseableProtocol | None:
    """Return *protocol* if it supports half-closing."""
    return IHalfCloseableProtocol(protocol, None)


class TlsFactory(Factory):
    """A factory whose protocols speak TLS, and then start a protocol of the factory *wrapped*.

    *get_context* returns the context for a new connection. *clock* is the reactor. *no_tls* is sent to clients that do
    not speak TLS.
    """

    protocol = TlsConnection  # type: ignore[assignment]  # its factory has a narrower type than in Twisted
    noisy = False

    def __init__(
        self,
        wrapped: IProtocolFactory,
        get_context: Callable[[], ssl.SSLContext],
        clock: IReactorTime,
        connection_limiter: ConnectionLimiter,
        pacer: HandshakePacer,
        no_tls: bytes = NO_TLS,
    ) -> None:
        self.wrapped = wrapped
        self.no_tls = no_tls
        self.get_context = get_context
        self.clock = clock
        self.connection_limiter = connection_limiter
        self.pacer = pacer
        self.socket_of: Callable[[StreamTransport], socket.socket | None] = direct_socket
        """Returns the socket of a TCP connection to which ciphertext is sent directly; None if there is none."""
        self.rejection_log = RejectionLog(clock)
        self.handshaking: set[TlsConnection] = set()
        """The connections whose handshake is not complete."""
        self.uncounted: set[TlsConnection] = set()
        """Those of them that are above a limit of connections."""

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Start the wrapped factory."""
        self.wrapped.doStart()
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's method is not annotated, as below

    def doStop(self) -> None:  # noqa: N802
        """Stop the wrapped factory."""
        super().doStop()  # type: ignore[no-untyped-call]
        self.wrapped.doStop()

    def stopFactory(self) -> None:  # noqa: N802
        """Reject all connections whose handshake is not complete."""
        for connection in list(self.handshaking):
            connection.reject_stopping()


class TlsListener:
    """A *listener* whose connections use TLS. The other arguments are those of ``TlsFactory``."""

    def __init__(
        self,
        listener: Listener,
        get_context: Callable[[], ssl.SSLContext],
        clock: IReactorTime,
        connection_limiter: ConnectionLimiter,
        pacer: HandshakePacer,
        no_tls: bytes = NO_TLS,
    ) -> None:
        self._listener = listener
        self._make_factory = partial(
            TlsFactory,
            get_context=get_context,
            clock=clock,
            connection_limiter=connection_limiter,
            pacer=pacer,
            no_tls=no_tls,
        )

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen for *factory*, behind a ``TlsFactory``."""
        return self._listener.listen(self._make_factory(factory))

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return one line with the addresses."""
        return self._listener.describe(ports).replace("Listening", "Listening with TLS", 1)
