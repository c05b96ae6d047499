"""Behind a proxy: HAProxy's PROXY header, in front of what people send, says where they are.

Twisted has this too. But there an end of input without ``quit`` loses every answer, since half-closing does not get
through; the address is right only after the welcome; and a header that comes in pieces is refused. Here, whoever is
behind the header begins when it is complete, with a transport that has the right address and is the plain one in all
else. The format: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address as Four
from ipaddress import IPv6Address as Six
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from zope.interface import directlyProvides, implementer, providedBy

from broadcast.core.errors import TooManyConnections
from broadcast.core.hub import GOING_DOWN
from broadcast.net.addresses import format_peer
from broadcast.net.refusal_log import RefusalLog

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IProtocolFactory, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.limits import ConnectionLimiter, Lease
    from broadcast.net.writers import StreamTransport

_NO_PROXY: Final = "This port is for a proxy, which says first where you are: connect to the proxy."
_CR: Final = 13
_TEXT: Final = b"PROXY "
_TEXT_BYTES: Final = 107
"""The longest header of version 1, with its line end (section 2.1)."""
_BINARY: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX: Final = struct.Struct("!12sBBH")
"""Version 2: the signature, version and command, family and protocol, the bytes that follow (section 2.2)."""


class BadHeaderError(Exception):
    """What came is no header."""


class Header(NamedTuple):
    """A header of *length* bytes; *source* is where the proxy was connected from, None where it does not say."""

    length: int
    source: IAddress | None


def parse_header(data: bytes | bytearray) -> Header | None:
    """The header with which *data* begins; None: there is more to come. Raises ``BadHeaderError``."""
    if _BINARY.startswith(data[: len(_BINARY)]):
        return _read_binary(data) if len(data) >= _PREFIX.size else None
    if not _TEXT.startswith(data[: len(_TEXT)]):
        raise BadHeaderError
    end = data.find(b"\n", 0, _TEXT_BYTES) - 1
    if end < 0:
        if len(data) >= _TEXT_BYTES:
            raise BadHeaderError
        return None
    if data[end] != _CR:
        raise BadHeaderError
    try:
        return Header(end + 2, _read_text(data[:end].decode("ascii")))
    except ValueError as error:  # also of what is not ASCII
        raise BadHeaderError from error


def _read_text(line: str) -> IAddress | None:
    """The source in a header of version 1, without its line end; raises ValueError."""
    match line.split(" "):
        case ["PROXY", "TCP4", source, destination, source_port, destination_port]:
            Four(destination)
            _port(destination_port)
            return IPv4Address("TCP", str(Four(source)), _port(source_port))
        case ["PROXY", "TCP6", source, destination, source_port, destination_port]:
            Six(destination)
            _port(destination_port)
            return _six(Six(source), _port(source_port))
        case ["PROXY", "UNKNOWN", *_]:
            return None
        case _:
            raise ValueError


def _port(text: str) -> int:
    if not (text.isdigit() and len(text) <= 5 and int(text) < 65536):
        raise ValueError
    return int(text)


def _six(host: Six, port: int) -> IAddress:
    """An address of IPv6, or the one of IPv4 that it stands for: limits know people by it."""
    if host.ipv4_mapped is not None:
        return IPv4Address("TCP", str(host.ipv4_mapped), port)
    return IPv6Address("TCP", str(host), port)


def _read_binary(data: bytes | bytearray) -> Header | None:
    """A header of version 2."""
    _, version, family, size = _PREFIX.unpack_from(data)
    if version not in {0x20, 0x21}:
        raise BadHeaderError
    length = _PREFIX.size + size
    if len(data) < length:
        return None
    if version == 0x20:  # LOCAL: the proxy speaks for itself, to see whether the server is well
        return Header(length, None)
    try:
        return Header(length, _source(family, data[_PREFIX.size : length]))
    except struct.error as error:
        raise BadHeaderError from error


def _source(family: int, body: bytes | bytearray) -> IAddress | None:
    """The source in what follows the prefix of version 2; raises struct.error where that is too short."""
    match family >> 4, family & 15:
        case (0, 0 | 1 | 2) | (1 | 2 | 3, 0):
            return None
        case 1, 1 | 2:
            four, _, port, _ = struct.unpack_from("!4s4sHH", body)
            return IPv4Address("TCP", str(Four(four)), port)
        case 2, 1 | 2:
            six, _, port, _ = struct.unpack_from("!16s16sHH", body)
            return _six(Six(six), port)
        case 3, 1 | 2:
            path, _ = struct.unpack_from("!108s108s", body)
            return UNIXAddress(path.rstrip(b"\0") or None)
        case _:
            raise BadHeaderError


class _ProxiedTransport:
    """*transport*, for whoever is behind the proxy: it is the same but for the address of the *peer*."""

    def __init__(self, transport: StreamTransport, peer: IAddress) -> None:
        self._transport = transport
        self._peer = peer
        directlyProvides(self, providedBy(transport))

    def getPeer(self) -> IAddress:
        """Where the other side of the proxy is."""
        return self._peer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)


@implementer(IHalfCloseableProtocol)
class ProxiedProtocol(Protocol):
    """Reads the header, then lets the protocol behind it begin, and stands between only for what comes in."""

    factory: ProxiedFactory

    def connectionMade(self) -> None:
        """Wait for the header. Until it has come, they are counted among all connections, at no address."""
        factory = self.factory
        self._transport = cast("StreamTransport", self.transport)
        self._start = bytearray()
        self._wrapped: Protocol | None = None
        self._lease: Lease | None = None
        self._refused = False
        seconds = factory.connection_limiter.limits.nickname_seconds
        self._deadline: IDelayedCall = factory.clock.callLater(seconds, self._reject_missing_header)
        try:
            self._lease = factory.connection_limiter.acquire(None)
        except TooManyConnections as error:
            self._reject(str(error))
            factory.refusal_log.record(str(error))
        else:
            factory.waiting.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Take in a chunk of the header, or of what follows it."""
        if self._wrapped is not None:
            self._wrapped.dataReceived(data)
        elif not self._refused:
            self._start += data
            try:
                header = parse_header(self._start)
            except BadHeaderError:
                self._reject_missing_header()
            else:
                if header is not None:
                    self._start_wrapped(header)

    def _start_wrapped(self, header: Header) -> None:
        self._stop_waiting()
        self._release()
        rest = bytes(self._start[header.length :])
        self._start.clear()
        peer = header.source or self._transport.getPeer()
        self._wrapped = cast("Protocol | None", self.factory.wrapped.buildProtocol(peer))
        if self._wrapped is None:
            self._close()
            return
        # It has all interfaces that the transport has.
        self._wrapped.makeConnection(_ProxiedTransport(self._transport, peer))  # type: ignore[no-untyped-call]
        if rest and not getattr(self._transport, "disconnecting", False):
            self._wrapped.dataReceived(rest)

    def _stop_waiting(self) -> None:
        """It is decided what comes of this connection."""
        self.factory.waiting.discard(self)
        if self._deadline.active():
            self._deadline.cancel()

    def _release(self) -> None:
        """Stop counting this connection. The wrapped protocol counts it with the address of the client."""
        if self._lease is not None:
            self._lease.release()

    def _reject_missing_header(self) -> None:
        """No header has come."""
        self.factory.refusal_log.record(f"no PROXY header from {format_peer(self._transport.getPeer())}")
        self._reject(_NO_PROXY)

    def _reject(self, why: str) -> None:
        self._stop_waiting()
        self._transport.write(f" * {why}\r\n".encode())
        self._close()

    def reject_stopping(self) -> None:
        """The server is going down, before the header has come."""
        self._reject(GOING_DOWN)

    def _close(self) -> None:
        """Close the connection before anybody was behind it."""
        self._refused = True
        self._transport.loseConnection()
        linger = self.factory.connection_limiter.limits.linger_seconds
        self._deadline = self.factory.clock.callLater(linger, self._transport.abortConnection)

    def readConnectionLost(self) -> None:
        """The end of their input."""
        half = self._half_closeable()
        if half is not None:
            half.readConnectionLost()
        else:
            self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Everything has been sent."""
        half = self._half_closeable()
        if half is not None:
            half.writeConnectionLost()

    def _half_closeable(self) -> IHalfCloseableProtocol | None:
        """Whoever is behind the proxy, as far as they know of half-closing."""
        return IHalfCloseableProtocol(self._wrapped, None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._stop_waiting()
        self._release()
        behind, self._wrapped = self._wrapped, None
        if behind is not None:
            behind.connectionLost(reason)


class ProxiedFactory(Factory):
    """Lets the protocols of the factory *behind* begin when it is known who is there.

    Until then they are counted by *admitted*. The header may take as long as a nickname.
    """

    protocol = ProxiedProtocol  # type: ignore[assignment]  # its factory is typed closer than Twisted's protocols'
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, clock: IReactorTime, connection_limiter: ConnectionLimiter) -> None:
        self.wrapped = wrapped
        self.clock = clock
        self.connection_limiter = connection_limiter
        self.refusal_log = RefusalLog(clock)
        self.waiting: set[ProxiedProtocol] = set()
        """Those whose header is not complete."""

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """A port listens."""
        self.wrapped.doStart()
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated, as below

    def doStop(self) -> None:  # noqa: N802
        """A port listens no more."""
        super().doStop()  # type: ignore[no-untyped-call]
        self.wrapped.doStop()

    def stopFactory(self) -> None:  # noqa: N802
        """Nobody may begin after the end."""
        for protocol in list(self.waiting):
            protocol.reject_stopping()


@implementer(IStreamServerEndpoint)
class ProxiedEndpoint:
    """*endpoint*, where only proxies connect; *admitted* counts them until it is known who they are."""

    def __init__(
        self, endpoint: IStreamServerEndpoint, clock: IReactorTime, connection_limiter: ConnectionLimiter
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._connection_limiter = connection_limiter

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803 - Twisted's name
        """Listen there."""
        return self._endpoint.listen(ProxiedFactory(protocolFactory, self._clock, self._connection_limiter))
