"""Behind a proxy it is known from the start who is there, and all else is as it is without one."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IReactorFDSet,
    ISSLTransport,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from zope.interface import alsoProvides, directlyProvides
from zope.interface.verify import verifyObject

from broadcast.core.limits import ConnectionLimiter, Limits
from broadcast.net.proxy_protocol import (
    BadHeaderError,
    Header,
    ProxiedEndpoint,
    ProxiedFactory,
    ProxiedProtocol,
    parse_header,
)
from broadcast.net.refusal_log import LOG_SECONDS
from broadcast.net.tcp_info import tcp_socket
from broadcast.net.writers import SocketWriter, StreamTransport, writer_for
from tests.harness import DirectWorld, MemoryTransport, World

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
WELCOME = b"Welcome to Broadcast.\r\nNickname: "
LIMITS = Limits(nickname_seconds=20, linger_seconds=5, connections=3)
HEADER_SECONDS = LIMITS.nickname_seconds
PROXY = IPv4Address("TCP", "127.0.0.1", 40000)
ANN = IPv4Address("TCP", "192.0.2.7", 56324)


def binary(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def four(protocol: int = 1, more: bytes = b"") -> bytes:
    return binary(0x10 | protocol, bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 56324, 5555) + more)


def six(source: str, protocol: int = 1) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    return binary(0x20 | protocol, addresses + struct.pack("!HH", 56324, 5555))


HEADERS: dict[bytes, IAddress | None] = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n": ANN,
    b"PROXY TCP6 2001:db8:0:0::7 2001:db8::1 56324 5555\r\n": IPv6Address("TCP", "2001:db8::7", 56324),
    b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 56324 5555\r\n": ANN,
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n": None,
    four(): ANN,
    four(2): ANN,
    four(more=b"\x03\0\x04abcd" + bytes(60000)): ANN,
    six("2001:db8::7"): IPv6Address("TCP", "2001:db8::7", 56324),
    six("::ffff:192.0.2.7", 2): ANN,
    binary(0x31, b"/run/ann".ljust(108, b"\0") + bytes(108)): UNIXAddress(b"/run/ann"),
    binary(0x32, bytes(216)): UNIXAddress(None),
    binary(0, b""): None,
    binary(0, b"whatever"): None,
    binary(0x10, b""): None,
    binary(0x11, b"", command=0x20): None,
}
"""What proxies send, and where that says that somebody is."""

NO_HEADERS = [
    b"bob\r\n",
    b"GET / HTTP/1.1\r\n",
    b"\n",
    b"\r\nbob",
    b"PROXY\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 56324 5555\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555 1\r\n",
    b"PROXY TCP4 192.0.2.7  198.51.100.1 56324 5555\r\n",
    b"PROXY TCP4 192.0.2.300 198.51.100.1 56324 5555\r\n",
    b"PROXY TCP4 192.0.2.7 example.org 56324 5555\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 5555\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 -1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 000000056324 5555\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 \xc2\xb2 5555\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 5555\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 5555\r\n",
    b"PROXY TCP6 2001:db8::7 x 56324 5555\r\n",
    b"PROXY \xff\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\n",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN " + b"x" * 93,
    binary(0x11, b"", command=0x11),
    binary(0x11, b"", command=0x22),
    binary(0x11, bytes(11)),
    binary(0x21, bytes(35)),
    binary(0x31, bytes(215)),
    binary(0x13, bytes(12)),
    binary(0x03, b""),
    binary(0x41, bytes(500)),
    SIGNATURE[:-1] + b"x",
]


# The header


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:40]))
def test_a_header_tells_where_somebody_is(header: bytes) -> None:
    assert parse_header(header) == Header(len(header), HEADERS[header])
    assert parse_header(bytearray(header + b"bob\r\n")) == Header(len(header), HEADERS[header])


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:40]))
def test_a_header_that_is_not_complete_is_waited_for(header: bytes) -> None:
    for end in {1, 5, 6, 11, 12, 13, 15, 16, 17, len(header) - 2, len(header) - 1}:
        if 0 < end < len(header):
            assert parse_header(header[:end]) is None


@pytest.mark.parametrize("start", NO_HEADERS, ids=lambda start: repr(start[:60]))
def test_what_is_no_header_is_noticed(start: bytes) -> None:
    with pytest.raises(BadHeaderError):
        parse_header(start)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary())
def test_whatever_comes_is_a_header_or_is_not_or_not_yet(start: bytes, data: bytes) -> None:
    try:
        header = parse_header(start + data)
    except BadHeaderError:
        return
    assert header is None or 0 < header.length <= len(start + data)


# The connection


class Proxied:
    """Somebody who comes in through a proxy."""

    def __init__(self, world: World, factory: ProxiedFactory) -> None:
        self.world = world
        self.transport = world.transport(PROXY)
        self.protocol = cast(ProxiedProtocol, factory.buildProtocol(self.transport.address))
        self.protocol.makeConnection(cast(Any, self.transport))  # type: ignore[no-untyped-call]  # Twisted's own

    def send(self, *chunks: bytes) -> None:
        """Send *chunks*, and let everything happen after each."""
        for chunk in chunks:
            self.world.until(lambda: self.transport.reading)
            self.protocol.dataReceived(chunk)
            self.world.settle()

    def read(self) -> bytes:
        """What came since the last look."""
        seen = bytes(self.transport.sent)
        self.transport.sent.clear()
        return seen

    def vanish(self, error: Exception) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(error))  # type: ignore[no-untyped-call]  # likewise
        self.world.settle()

    @property
    def is_refused(self) -> bool:
        """Whether the connection was closed with a line that says why."""
        return self.transport.closed and bytes(self.transport.sent).startswith(b" * This port is for a proxy")


@pytest.fixture(params=[World, DirectWorld])
def world(request: pytest.FixtureRequest) -> World:
    """A server with nobody in it, over each kind of outlet."""
    world = request.param(limits=LIMITS.without_client_limits())
    assert isinstance(world, World)
    return world


@pytest.fixture
def factory(world: World) -> Iterator[ProxiedFactory]:
    """What makes the connections; nothing may be left of them."""
    factory = ProxiedFactory(cast(IProtocolFactory, world.factory), world.clock, world.connections.limiter)
    yield factory
    assert not factory.waiting


@pytest.fixture
def somebody(world: World, factory: ProxiedFactory) -> Proxied:
    """Somebody who has sent nothing yet."""
    return Proxied(world, factory)


Cut: TypeAlias = Callable[[bytes], Sequence[bytes]]


def in_one(data: bytes) -> Sequence[bytes]:
    return [data]


def in_bytes(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def in_halves(data: bytes) -> Sequence[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


@pytest.mark.parametrize("cut", [in_one, in_bytes, in_halves])
@pytest.mark.parametrize("header", [some for some in HEADERS if len(some) < 1000], ids=lambda some: repr(some[:20]))
def test_the_session_begins_when_the_header_is_complete_with_the_right_address(
    somebody: Proxied, header: bytes, cut: Cut
) -> None:
    *chunks, last = cut(header)
    somebody.send(*chunks)
    before = (somebody.read(), set(somebody.world.connections))
    somebody.send(last)
    assert before == (b"", set())
    assert somebody.read() == WELCOME
    (connection,) = somebody.world.connections
    transport = cast(Any, connection.transport)
    assert transport.getPeer() == HEADERS[header] or (HEADERS[header] is None and transport.getPeer() == PROXY)


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n", four()])
def test_what_comes_with_the_header_is_typed_by_whoever_is_behind_it(somebody: Proxied, header: bytes) -> None:
    (ann,) = somebody.world.join("ann")
    with capturedLogs() as events:
        somebody.send(header + b"bob\r\nhi\r\n")
    assert ann.lines() == [" * bob joined.", "bob: hi"]
    assert "bob joined from 192.0.2.7 port 56324" in map(formatEvent, events)


def test_the_end_of_input_counts_as_it_does_without_a_proxy(somebody: Proxied) -> None:
    assert verifyObject(IHalfCloseableProtocol, somebody.protocol)
    somebody.send(four() + b"bob\nhi\n/ping")
    somebody.protocol.readConnectionLost()
    somebody.world.settle()
    assert somebody.read().endswith(b"-> pong\r\n * Goodbye, bob.\r\n")
    assert (somebody.transport.finished, somebody.transport.closed) == (True, False)
    somebody.protocol.writeConnectionLost()
    assert somebody.transport.closed
    somebody.vanish(ConnectionDone())
    assert not somebody.world.connections


def test_the_loss_of_the_connection_is_passed_on_with_its_reason(somebody: Proxied) -> None:
    (ann,) = somebody.world.join("ann")
    somebody.send(four() + b"bob\n")
    somebody.vanish(ConnectionLost())
    assert ann.lines() == [" * bob joined.", " * bob left: connection lost"]
    assert somebody.world.clock.getDelayedCalls() == []


def test_bursts_reach_who_is_behind_a_proxy_in_the_same_way(somebody: Proxied) -> None:
    (ann,) = somebody.world.join("ann")
    somebody.send(four() + b"bob\n")
    somebody.read()
    ann.say("hi")
    assert somebody.read() == b"ann: hi\r\n"


def test_a_plain_socket_behind_a_proxy_is_sent_to_directly() -> None:
    class Reactor(Clock):
        """One that waits for file descriptors."""

    class Handled(MemoryTransport):
        def __init__(self, handle: socket.socket) -> None:
            super().__init__(PROXY)
            self.getHandle = lambda: handle

    class Outlets(Whole):
        def connectionMade(self) -> None:
            self.outlet = writer_for(reactor, cast(StreamTransport, self.transport))
            self.socket = tcp_socket(self.transport)

    reactor = Reactor()
    directlyProvides(reactor, IReactorFDSet)
    behind = Outlets()
    factory = ProxiedFactory(cast(IProtocolFactory, OneFactory(behind)), reactor, ConnectionLimiter(LIMITS))
    protocol = cast(ProxiedProtocol, factory.buildProtocol(PROXY))
    with socket.socket() as handle:
        protocol.makeConnection(cast(Any, Handled(handle)))  # type: ignore[no-untyped-call]  # Twisted's own
        protocol.dataReceived(four())
        assert isinstance(behind.outlet, SocketWriter)
        assert behind.socket is handle


# Nobody behind it


@pytest.mark.parametrize("cut", [in_one, in_bytes])
@pytest.mark.parametrize("start", NO_HEADERS, ids=lambda start: repr(start[:60]))
def test_who_sends_no_header_is_told_and_closed(somebody: Proxied, start: bytes, cut: Cut) -> None:
    with capturedLogs() as events:
        somebody.send(*cut(start), b"more\r\n", four())
    assert somebody.is_refused
    assert somebody.transport.sent.count(b"\r\n") == 1
    assert [formatEvent(event) for event in events] == [
        "Connections refused: 1, the last one: no PROXY header from 127.0.0.1 port 40000"
    ]
    assert not somebody.world.connections
    somebody.vanish(ConnectionDone())
    somebody.world.clock.advance(LOG_SECONDS)
    assert somebody.world.clock.getDelayedCalls() == []
    assert somebody.world.connections.limiter.total == 0


def test_those_who_are_refused_do_not_fill_the_log(world: World, factory: ProxiedFactory) -> None:
    with capturedLogs() as events:
        for _ in range(50):
            somebody = Proxied(world, factory)
            somebody.send(b"bob\n")
            somebody.vanish(ConnectionDone())
        world.clock.advance(LOG_SECONDS)
    assert [event["count"] for event in events] == [1, 49]


def test_who_waits_with_no_header_counts_until_it_is_known_who_they_are(world: World, factory: ProxiedFactory) -> None:
    """Else they would take the files that are not for connections."""
    people = [Proxied(world, factory) for _ in range(3)]
    late = Proxied(world, factory)
    assert (late.read(), late.transport.closed) == (b" * This server is full. Try again later.\r\n", True)
    late.send(four())
    assert not world.connections
    people[0].send(four() + b"ann\n")
    assert world.connections.limiter.total == 3
    people[1].vanish(ConnectionLost())
    bob = Proxied(world, factory)
    bob.send(four() + b"bob\n")
    assert b"You are bob." in bob.read()
    people[2].send(b"no header\n")
    assert world.connections.limiter.total == 3, "the connection is still there"
    for person in (late, people[2]):
        person.vanish(ConnectionDone())


def test_a_header_is_not_waited_for_for_ever(somebody: Proxied) -> None:
    refused: list[bool] = []
    for seconds in (HEADER_SECONDS - 1, 1):
        somebody.send(b"R" if refused else b"P")
        somebody.world.clock.advance(seconds)
        refused.append(somebody.is_refused)
    assert refused == [False, True]


def test_after_the_header_that_time_is_over(somebody: Proxied) -> None:
    somebody.send(four() + b"bob\n")
    somebody.world.clock.advance(HEADER_SECONDS)
    assert not somebody.transport.closed


def test_who_was_refused_and_does_not_let_go_is_aborted(somebody: Proxied) -> None:
    somebody.send(b"bob\n")
    aborted = [somebody.transport.aborted]
    somebody.world.clock.advance(LIMITS.linger_seconds)
    aborted.append(somebody.transport.aborted)
    assert aborted == [False, True]


def test_who_closes_without_a_header_is_let_go_without_a_word(somebody: Proxied) -> None:
    """A proxy looks whether the server is there."""
    with capturedLogs() as events:
        somebody.protocol.readConnectionLost()
        somebody.protocol.writeConnectionLost()
        assert somebody.transport.closed
        somebody.vanish(ConnectionDone())
    assert (somebody.read(), events, somebody.world.connections.limiter.total) == (b"", [], 0)
    assert somebody.world.clock.getDelayedCalls() == []


def test_nobody_begins_after_the_port_was_closed(somebody: Proxied, factory: ProxiedFactory) -> None:
    factory.doStart()
    factory.doStop()
    assert somebody.transport.closed
    somebody.send(four() + b"bob\n")
    assert somebody.read() == b" * The server is going down.\r\n"
    assert not somebody.world.connections


# Other factories


class Whole(Protocol):
    """A protocol that knows no half-closing."""

    def __init__(self) -> None:
        self.data = b""
        self.leaves = False

    def connectionMade(self) -> None:
        if self.leaves:
            assert self.transport is not None
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class OneFactory(Factory):
    """Has made its protocol, or wants none; counts the ports."""

    noisy = False

    def __init__(self, made: Whole | None) -> None:
        self.made = made
        self.addresses: list[IAddress | None] = []

    def buildProtocol(self, addr: IAddress | None) -> Whole | None:
        self.addresses.append(addr)
        return self.made


class Closing(MemoryTransport):
    """Tells whether it is being closed, as Twisted's do."""

    @property
    def disconnecting(self) -> bool:
        return self.closed


def proxied(behind: OneFactory) -> tuple[ProxiedProtocol, Closing]:
    """A connection for what *behind* makes."""
    transport = Closing(PROXY)
    alsoProvides(transport, ISSLTransport)
    factory = ProxiedFactory(cast(IProtocolFactory, behind), Clock(), ConnectionLimiter(LIMITS))
    protocol = cast(ProxiedProtocol, factory.buildProtocol(PROXY))
    protocol.makeConnection(cast(Any, transport))  # type: ignore[no-untyped-call]  # Twisted's own
    return protocol, transport


def test_a_factory_is_asked_with_the_right_address_and_may_want_nobody() -> None:
    behind = OneFactory(None)
    protocol, transport = proxied(behind)
    protocol.dataReceived(four() + b"hi")
    protocol.dataReceived(b"more")
    assert (behind.addresses, transport.closed) == ([ANN], True)


def test_the_transport_is_as_it_is_but_for_the_address() -> None:
    behind = Whole()
    protocol, transport = proxied(OneFactory(behind))
    protocol.dataReceived(four() + b"hi")
    assert behind.data == b"hi"
    assert ISSLTransport.providedBy(behind.transport)
    assert cast(Any, behind.transport).getPeer() == ANN
    assert cast(Any, behind.transport).sent is transport.sent


def test_who_is_turned_away_at_once_is_told_nothing_more() -> None:
    behind = Whole()
    behind.leaves = True
    protocol, transport = proxied(OneFactory(behind))
    protocol.dataReceived(four() + b"hi")
    assert (transport.closed, behind.data) == (True, b"")


def test_a_protocol_that_knows_no_half_closing_is_closed_at_the_end_of_input() -> None:
    protocol, transport = proxied(OneFactory(Whole()))
    protocol.dataReceived(four())
    protocol.writeConnectionLost()
    before = transport.closed
    protocol.readConnectionLost()
    assert (before, transport.closed) == (False, True)


def test_the_factory_behind_is_told_of_ports() -> None:
    behind = OneFactory(None)
    factory = ProxiedFactory(cast(IProtocolFactory, behind), Clock(), ConnectionLimiter(LIMITS))
    factory.doStart()
    ports = [behind.numPorts]
    factory.doStop()
    assert [*ports, behind.numPorts] == [1, 0]


def test_an_endpoint_listens_for_proxies_only() -> None:
    listening: list[object] = []

    class Endpoint:
        def listen(self, factory: object) -> None:
            listening.append(factory)

    endpoint = ProxiedEndpoint(cast(IStreamServerEndpoint, Endpoint()), Clock(), ConnectionLimiter(LIMITS))
    assert verifyObject(IStreamServerEndpoint, endpoint)
    behind = cast(IProtocolFactory, OneFactory(None))
    endpoint.listen(behind)
    assert isinstance(listening[0], ProxiedFactory)
    assert listening[0].wrapped is behind
