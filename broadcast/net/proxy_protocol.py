"""The PROXY protocol of HAProxy: a header in front of a connection's input, with the address of the client.

The wrapped protocol starts when the header is complete. Its transport differs from the plain one only in the peer's
address. The format: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt

Twisted's own support is not sufficient for this server. It does not forward half-closing, so an end of input without
``quit`` loses every reply. The address is right only after the welcome. A header that arrives in pieces is rejected.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from zope.interface import directlyProvides, implementer, providedBy

from broadcast.core.errors import TooManyConnections
from broadcast.core.hub import GOING_DOWN
from broadcast.net.addresses import format_peer
from broadcast.net.connection_log import RejectionLog

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IProtocolFactory, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.limits import ConnectionLimiter, Lease
    from broadcast.net.writers import StreamTransport

_NO_PROXY: Final = "This port is for a proxy, which says first where you are: connect to the proxy."
_CR: Final = 13
_V1_PREFIX: Final = b"PROXY "
_V1_MAX_BYTES: Final = 107
"""Maximum length of a header of version 1, with its line end (section 2.1)."""
_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_PREFIX: Final = struct.Struct("!12sBBH")
"""Version 2: signature, version and command, family and protocol, number of bytes that follow (section 2.2)."""


class BadHeaderError(Exception):
    """The input does not begin with a valid header."""


class Header(NamedTuple):
    """A header of *length* bytes. *source* is the address of the client, or None if the proxy does not give it."""

    length: int
    source: IAddress | None


def parse_header(data: bytes | bytearray) -> Header | None:
    """Return the header at the start of *data*, or None if it is incomplete. Raises ``BadHeaderError``."""
    if _V2_SIGNATURE.startswith(data[: len(_V2_SIGNATURE)]):
        return _parse_v2(data) if len(data) >= _V2_PREFIX.size else None
    if not _V1_PREFIX.startswith(data[: len(_V1_PREFIX)]):
        raise BadHeaderError
    end = data.find(b"\n", 0, _V1_MAX_BYTES) - 1
    if end < 0:
        if len(data) >= _V1_MAX_BYTES:
            raise BadHeaderError
        return None
    if data[end] != _CR:
        raise BadHeaderError
    try:
        return Header(end + 2, _parse_v1(data[:end].decode("ascii")))
    except ValueError as error:  # also if it is not ASCII
        raise BadHeaderError from error


def _parse_v1(line: str) -> IAddress | None:
    """Return the source in a header of version 1 without its line end. Raises ``ValueError``."""
    match line.split(" "):
        case ["PROXY", "TCP4", source, destination, source_port, destination_port]:
            ipaddress.IPv4Address(destination)
            _parse_port(destination_port)
            return IPv4Address("TCP", str(ipaddress.IPv4Address(source)), _parse_port(source_port))
        case ["PROXY", "TCP6", source, destination, source_port, destination_port]:
            _parse_ipv6(destination)
            _parse_port(destination_port)
            return _unmapped(_parse_ipv6(source), _parse_port(source_port))
        case ["PROXY", "UNKNOWN", *_]:
            return None
        case _:
            raise ValueError


def _parse_ipv6(text: str) -> ipaddress.IPv6Address:
    if "%" in text:  # a zone is the name of a network interface, which means nothing on another machine
        raise ValueError
    return ipaddress.IPv6Address(text)


def _parse_port(text: str) -> int:
    if not (text.isdigit() and len(text) <= 5 and int(text) < 65536):
        raise ValueError
    return int(text)


def _unmapped(host: ipaddress.IPv6Address, port: int) -> IAddress:
    """Return the address of *host* and *port*. A mapped IPv4 address becomes a plain one, which limits count."""
    if host.ipv4_mapped is not None:
        return IPv4Address("TCP", str(host.ipv4_mapped), port)
    return IPv6Address("TCP", str(host), port)


def _parse_v2(data: bytes | bytearray) -> Header | None:
    """Return the header of version 2 at the start of *data*, or None if it is incomplete."""
    _, version, family, size = _V2_PREFIX.unpack_from(data)
    if version not in {0x20, 0x21}:
        raise BadHeaderError
    length = _V2_PREFIX.size + size
    if len(data) < length:
        return None
    if version == 0x20:  # LOCAL: a connection of the proxy itself, for a health check
        return Header(length, None)
    try:
        return Header(length, _parse_v2_source(family, data[_V2_PREFIX.size : length]))
    except struct.error as error:
        raise BadHeaderError from error


def _parse_v2_source(family: int, body: bytes | bytearray) -> IAddress | None:
    """Return the source in *body*, the bytes after the prefix. Raises ``struct.error`` if they are too few."""
    match family >> 4, family & 15:
        case (0, 0 | 1 | 2) | (1 | 2 | 3, 0):
            return None
        case 1, 1 | 2:
            host, _, port, _ = struct.unpack_from("!4s4sHH", body)
            return IPv4Address("TCP", str(ipaddress.IPv4Address(host)), port)
        case 2, 1 | 2:
            host, _, port, _ = struct.unpack_from("!16s16sHH", body)
            return _unmapped(ipaddress.IPv6Address(host), port)
        case 3, 1 | 2:
            path, _ = struct.unpack_from("!108s108s", body)
            return UNIXAddress(path.rstrip(b"\0") or None)
        case _:
            raise BadHeaderError


class ProxiedTransport:
    """The *transport* of a wrapped protocol, with *peer* as the address of the other side, unless it is None.

    *is_encrypted* is whether the client's side of the proxy is encrypted. If it is None, the other side decides.
    """

    is_forwarded = True
    """Whether a proxy has forwarded the connection, so that it may come from another machine."""

    def __init__(self, transport: StreamTransport, peer: IAddress | None, is_encrypted: bool | None = None) -> None:
        self._transport = transport
        self._peer = peer or transport.getPeer()
        self.is_address_known = peer is not None
        """Whether the address is that of the client. Otherwise it is that of the proxy."""
        directlyProvides(self, providedBy(transport))
        if is_encrypted is not None:
            directlyProvides(self, providedBy(transport) - ISSLTransport, *[ISSLTransport] * is_encrypted)

    def getPeer(self) -> IAddress:
        """Return the address of the client."""
        return self._peer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the transport
        """Return an attribute of the transport."""
        return getattr(self._transport, name)


@implementer(IHalfCloseableProtocol)
class ProxiedProtocol(Protocol):
    """Reads the header, then starts the wrapped protocol and forwards input to it. Output does not pass through it."""

    factory: ProxiedFactory

    def connectionMade(self) -> None:
        """Wait for the header. Until it is complete, the connection counts only toward the total."""
        factory = self.factory
        self._transport = cast("StreamTransport", self.transport)
        self._received = bytearray()
        self._wrapped: Protocol | None = None
        self._lease: Lease | None = None
        self._rejected = False
        seconds = factory.connection_limiter.limits.nickname_seconds
        self._deadline: IDelayedCall = factory.clock.callLater(seconds, self._reject_missing_header)
        try:
            self._lease = factory.connection_limiter.acquire(None, factory.clock.seconds())
        except TooManyConnections as error:
            self._reject(str(error))
            factory.rejection_log.record(str(error))
        else:
            factory.waiting.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Receive a part of the header, or forward input to the wrapped protocol."""
        if self._wrapped is not None:
            self._wrapped.dataReceived(data)
        elif not self._rejected:
            self._received += data
            try:
                header = parse_header(self._received)
            except BadHeaderError:
                self._reject_missing_header()
            else:
                if header is not None:
                    self._start_wrapped(header)

    def _start_wrapped(self, header: Header) -> None:
        self._stop_waiting()
        self._release()
        rest = bytes(self._received[header.length :])
        self._received.clear()
        peer = header.source or self._transport.getPeer()
        self._wrapped = cast("Protocol | None", self.factory.wrapped.buildProtocol(peer))
        if self._wrapped is None:
            self._close()
            return
        # The proxied transport provides all interfaces of the transport.
        self._wrapped.makeConnection(ProxiedTransport(self._transport, header.source))  # type: ignore[no-untyped-call]
        if rest and not getattr(self._transport, "disconnecting", False):
            self._wrapped.dataReceived(rest)

    def _stop_waiting(self) -> None:
        """Stop waiting for the header."""
        self.factory.waiting.discard(self)
        if self._deadline.active():
            self._deadline.cancel()

    def _release(self) -> None:
        """Stop counting this connection. The wrapped protocol counts it with the address of the client."""
        if self._lease is not None:
            self._lease.release()

    def _reject_missing_header(self) -> None:
        """Reject the connection, because the header is invalid or did not arrive in time."""
        self.factory.rejection_log.record(f"no PROXY header from {format_peer(self._transport.getPeer())}")
        self._reject(_NO_PROXY)

    def _reject(self, text: str) -> None:
        self._stop_waiting()
        self._transport.write(f" * {text}\r\n".encode())
        self._close()

    def reject_stopping(self) -> None:
        """Reject the connection, because the server is going down."""
        self._reject(GOING_DOWN)

    def _close(self) -> None:
        """Close the connection, which has no wrapped protocol."""
        self._rejected = True
        self._transport.loseConnection()
        linger = self.factory.connection_limiter.limits.linger_seconds
        self._deadline = self.factory.clock.callLater(linger, self._transport.abortConnection)

    def readConnectionLost(self) -> None:
        """Forward the end of the input."""
        wrapped = self._half_closeable()
        if wrapped is not None:
            wrapped.readConnectionLost()
        else:
            self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Forward the end of the output."""
        wrapped = self._half_closeable()
        if wrapped is not None:
            wrapped.writeConnectionLost()

    def _half_closeable(self) -> IHalfCloseableProtocol | None:
        """Return the wrapped protocol if it supports half-closing."""
        return IHalfCloseableProtocol(self._wrapped, None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Clean up, and forward the loss of the connection."""
        self._stop_waiting()
        self._release()
        wrapped, self._wrapped = self._wrapped, None
        if wrapped is not None:
            wrapped.connectionLost(reason)


class ProxiedFactory(Factory):
    """A factory whose protocols read the header, then start a protocol of the factory *wrapped*.

    *connection_limiter* counts the connections until then. The time limit for the header is that for a nickname.
    """

    protocol = ProxiedProtocol  # type: ignore[assignment]  # its factory has a narrower type than in Twisted
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, clock: IReactorTime, connection_limiter: ConnectionLimiter) -> None:
        self.wrapped = wrapped
        self.clock = clock
        self.connection_limiter = connection_limiter
        self.rejection_log = RejectionLog(clock)
        self.waiting: set[ProxiedProtocol] = set()
        """Connections whose header is not complete."""

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Start the wrapped factory."""
        self.wrapped.doStart()
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's method is not annotated, as below

    def doStop(self) -> None:  # noqa: N802
        """Stop the wrapped factory."""
        super().doStop()  # type: ignore[no-untyped-call]
        self.wrapped.doStop()

    def stopFactory(self) -> None:  # noqa: N802
        """Reject all connections whose header is not complete."""
        for protocol in list(self.waiting):
            protocol.reject_stopping()


@implementer(IStreamServerEndpoint)
class ProxiedEndpoint:
    """An *endpoint* to which only proxies connect. *connection_limiter* counts connections without a header."""

    def __init__(
        self, endpoint: IStreamServerEndpoint, clock: IReactorTime, connection_limiter: ConnectionLimiter
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._connection_limiter = connection_limiter

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803 - Twisted's name
        """Listen on the endpoint for *protocolFactory*, behind a ``ProxiedFactory``."""
        return self._endpoint.listen(ProxiedFactory(protocolFactory, self._clock, self._connection_limiter))
