"""A PROXY header gives the address of a client, and everything else works as without a proxy."""

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
    ISSLTransport,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from broadcast.core.limits import ConnectionLimiter, Limits
from broadcast.net.connection_log import REJECTION_SECONDS
from broadcast.net.proxy_protocol import (
    BadHeaderError,
    Header,
    ProxiedEndpoint,
    ProxiedFactory,
    ProxiedProtocol,
    parse_header,
)
from broadcast.net.tcp_info import tcp_socket
from broadcast.net.writers import SocketWriter, StreamTransport, writer_for
from tests.harness import DirectWorld, MemoryTransport, World
from tests.operators import give_account, join_operator, member_of

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
WELCOME = b"Welcome to Broadcast. Type a nickname and press Enter.\r\nNickname: "
LIMITS = Limits(nickname_seconds=20, linger_seconds=5, connections=3)
HEADER_SECONDS = LIMITS.nickname_seconds
PROXY = IPv4Address("TCP", "127.0.0.1", 40000)
ANN = IPv4Address("TCP", "192.0.2.7", 56324)


def v2_header(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def v2_ipv4(protocol: int = 1, more: bytes = b"") -> bytes:
    return v2_header(0x10 | protocol, bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 56324, 5555) + more)


def v2_ipv6(source: str, protocol: int = 1) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    return v2_header(0x20 | protocol, addresses + struct.pack("!HH", 56324, 5555))


HEADERS: dict[bytes, IAddress | None] = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n": ANN,
    b"PROXY TCP6 2001:db8:0:0::7 2001:db8::1 56324 5555\r\n": IPv6Address("TCP", "2001:db8::7", 56324),
    b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 56324 5555\r\n": ANN,
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n": None,
    v2_ipv4(): ANN,
    v2_ipv4(2): ANN,
    v2_ipv4(more=b"\x03\0\x04abcd" + bytes(60000)): ANN,
    v2_ipv6("2001:db8::7"): IPv6Address("TCP", "2001:db8::7", 56324),
    v2_ipv6("::ffff:192.0.2.7", 2): ANN,
    v2_header(0x31, b"/run/ann".ljust(108, b"\0") + bytes(108)): UNIXAddress(b"/run/ann"),
    v2_header(0x32, bytes(216)): UNIXAddress(None),
    v2_header(0, b""): None,
    v2_header(0, b"whatever"): None,
    v2_header(0x10, b""): None,
    v2_header(0x11, b"", command=0x20): None,
}
"""Valid headers, and the client addresses that they contain."""

INVALID_HEADERS = [
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
    b"PROXY TCP6 fe80::7%eth0 fe80::1 56324 5555\r\n",
    b"PROXY TCP6 fe80::7 fe80::1%eth0 56324 5555\r\n",
    b"PROXY \xff\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\n",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN " + b"x" * 93,
    v2_header(0x11, b"", command=0x11),
    v2_header(0x11, b"", command=0x22),
    v2_header(0x11, bytes(11)),
    v2_header(0x21, bytes(35)),
    v2_header(0x31, bytes(215)),
    v2_header(0x13, bytes(12)),
    v2_header(0x03, b""),
    v2_header(0x41, bytes(500)),
    SIGNATURE[:-1] + b"x",
]


# The parser


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:40]))
def test_header_gives_the_address_once_it_is_complete(header: bytes) -> None:
    assert parse_header(header) == Header(len(header), HEADERS[header])
    assert parse_header(bytearray(header + b"bob\r\n")) == Header(len(header), HEADERS[header])
    for end in {1, 5, 6, 11, 12, 13, 15, 16, 17, len(header) - 2, len(header) - 1}:
        if 0 < end < len(header):
            assert parse_header(header[:end]) is None


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary())
def test_parser_raises_only_its_own_error(start: bytes, data: bytes) -> None:
    try:
        header = parse_header(start + data)
    except BadHeaderError:
        return
    assert header is None or 0 < header.length <= len(start + data)


# Connections with a header


class ProxiedClient:
    """A client that connects through a proxy."""

    def __init__(self, world: World, factory: ProxiedFactory) -> None:
        self.world = world
        self.transport = world.transport(PROXY)
        self.protocol = cast(ProxiedProtocol, factory.buildProtocol(self.transport.address))
        self.protocol.makeConnection(cast(Any, self.transport))  # type: ignore[no-untyped-call]  # Twisted's own

    def send(self, *chunks: bytes) -> None:
        """Send *chunks*, and run the reactor after each."""
        for chunk in chunks:
            self.world.until(lambda: self.transport.reading)
            self.protocol.dataReceived(chunk)
            self.world.settle()

    def read(self) -> bytes:
        """Return what was received since the last call."""
        received = bytes(self.transport.sent)
        self.transport.sent.clear()
        return received

    def disconnect(self, error: Exception) -> None:
        self.protocol.connectionLost(Failure(error))  # type: ignore[no-untyped-call]  # likewise
        self.world.settle()

    @property
    def rejected(self) -> bool:
        """Whether the connection was closed with a message that says why."""
        return self.transport.closed and bytes(self.transport.sent).startswith(b" * This port is for a proxy")

    @property
    def admitted(self) -> int:
        """Number of connections that count towards the limits."""
        return self.world.connections.limiter.total

    def check_no_timers(self) -> None:
        assert self.world.clock.getDelayedCalls() == []


@pytest.fixture(params=[World, DirectWorld])
def world(request: pytest.FixtureRequest) -> World:
    """An empty server, with each kind of writer."""
    world = request.param(limits=LIMITS.without_client_limits())
    assert isinstance(world, World)
    return world


@pytest.fixture
def factory(world: World) -> Iterator[ProxiedFactory]:
    """The factory of the connections. None may still be waiting for a header at the end."""
    factory = ProxiedFactory(cast(IProtocolFactory, world.factory), world.clock, world.connections.limiter)
    yield factory
    assert not factory.waiting


@pytest.fixture
def client(world: World, factory: ProxiedFactory) -> ProxiedClient:
    """A client that has not sent anything."""
    return ProxiedClient(world, factory)


Cut: TypeAlias = Callable[[bytes], Sequence[bytes]]


def in_one(data: bytes) -> Sequence[bytes]:
    return [data]


def in_bytes(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def in_halves(data: bytes) -> Sequence[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


@pytest.mark.parametrize("cut", [in_one, in_bytes, in_halves])
def test_session_starts_with_the_address_of_a_complete_header(world: World, factory: ProxiedFactory, cut: Cut) -> None:
    for header in (each for each in HEADERS if len(each) < 1000):
        client = ProxiedClient(world, factory)
        *chunks, last = cut(header)
        client.send(*chunks)
        assert (header, client.read(), set(world.connections)) == (header, b"", set())
        client.send(last)
        assert (header, client.read()) == (header, WELCOME)
        (connection,) = world.connections
        assert cast(Any, connection.transport).getPeer() == (HEADERS[header] or PROXY)
        client.disconnect(ConnectionLost())


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n", v2_ipv4()])
def test_bytes_after_the_header_are_the_input_of_the_client(client: ProxiedClient, header: bytes) -> None:
    (ann,) = client.world.join("ann")
    with capturedLogs() as events:
        client.send(header + b"bob\r\nhi\r\n")
    assert ann.lines() == [" * bob joined.", "bob: hi"]
    assert "bob joined from 192.0.2.7 port 56324" in map(formatEvent, events)
    client.read()
    ann.say("hello")
    assert client.read() == b"ann: hello\r\n"
    client.disconnect(ConnectionLost())
    assert ann.lines()[-1] == " * bob left: connection lost"
    client.check_no_timers()


def test_end_of_input_works_as_without_a_proxy(client: ProxiedClient) -> None:
    assert verifyObject(IHalfCloseableProtocol, client.protocol)
    client.send(v2_ipv4() + b"bob\nhi\n/ping")
    client.protocol.readConnectionLost()
    client.world.settle()
    assert client.read().endswith(b"-> pong\r\n * Goodbye, bob.\r\n")
    assert (client.transport.finished, client.transport.closed) == (True, False)
    client.protocol.writeConnectionLost()
    assert client.transport.closed
    client.disconnect(ConnectionDone())
    assert not client.world.connections


def test_plain_socket_behind_a_proxy_is_written_directly() -> None:
    class SocketTransport(MemoryTransport):
        def __init__(self, handle: socket.socket) -> None:
            super().__init__(PROXY)
            self.getHandle = lambda: handle

    class WriterProtocol(PlainProtocol):
        def connectionMade(self) -> None:
            self.writer = writer_for(reactor, cast(StreamTransport, self.transport))
            self.socket = tcp_socket(self.transport)

    reactor = Clock()
    wrapped = WriterProtocol()
    factory = ProxiedFactory(cast(IProtocolFactory, FakeFactory(wrapped)), reactor, ConnectionLimiter(LIMITS))
    protocol = cast(ProxiedProtocol, factory.buildProtocol(PROXY))
    with socket.socket() as handle:
        protocol.makeConnection(cast(Any, SocketTransport(handle)))  # type: ignore[no-untyped-call]  # Twisted's own
        protocol.dataReceived(v2_ipv4())
        assert isinstance(wrapped.writer, SocketWriter)
        assert wrapped.socket is handle


# Connections without a header


@pytest.mark.parametrize("cut", [in_one, in_bytes])
def test_invalid_header_is_rejected_logged_and_closed(world: World, factory: ProxiedFactory, cut: Cut) -> None:
    for start in INVALID_HEADERS:
        client = ProxiedClient(world, factory)
        with pytest.raises(BadHeaderError):
            parse_header(start)
        with capturedLogs() as events:
            client.send(*cut(start), b"more\r\n", v2_ipv4())
        assert (start, client.rejected) == (start, True)
        assert client.transport.sent.count(b"\r\n") == 1
        assert [formatEvent(event) for event in events] == [
            "Connections refused: 1, the last one: no PROXY header from 127.0.0.1 port 40000"
        ]
        assert not world.connections
        client.disconnect(ConnectionDone())
        world.clock.advance(REJECTION_SECONDS)
        client.check_no_timers()
        assert client.admitted == 0


def test_connection_counts_before_its_header_is_complete(world: World, factory: ProxiedFactory) -> None:
    """Otherwise these connections could use up descriptors that are reserved for other purposes."""
    clients = [ProxiedClient(world, factory) for _ in range(3)]
    late = ProxiedClient(world, factory)
    assert (late.read(), late.transport.closed) == (b" * This server is full. Try again later.\r\n", True)
    late.send(v2_ipv4())
    assert not world.connections
    clients[0].send(v2_ipv4() + b"ann\n")
    assert clients[0].admitted == 3
    clients[1].disconnect(ConnectionLost())
    bob = ProxiedClient(world, factory)
    bob.send(v2_ipv4() + b"bob\n")
    assert b"You are bob." in bob.read()
    clients[2].send(b"no header\n")
    assert bob.admitted == 3, "the connection still exists"
    for client in (late, clients[2]):
        client.disconnect(ConnectionDone())


def test_incomplete_header_is_rejected_after_a_time_out_then_aborted(client: ProxiedClient) -> None:
    client.send(b"P")
    client.world.clock.advance(1)
    client.send(b"R")  # does not start the time-out again
    for seconds, rejected, aborted in (
        (HEADER_SECONDS - 2, False, False),
        (1, True, False),
        (LIMITS.linger_seconds, True, True),
    ):
        client.world.clock.advance(seconds)
        assert (client.rejected, client.transport.aborted) == (rejected, aborted)


def test_header_time_out_ends_with_the_header(client: ProxiedClient) -> None:
    client.send(v2_ipv4() + b"bob\n")
    client.world.clock.advance(HEADER_SECONDS)
    assert not client.transport.closed


def test_connection_without_any_byte_is_closed_silently(client: ProxiedClient) -> None:
    """A proxy connects like this to check whether the server is up."""
    with capturedLogs() as events:
        client.protocol.readConnectionLost()
        client.protocol.writeConnectionLost()
        assert client.transport.closed
        client.disconnect(ConnectionDone())
    assert (client.read(), events, client.admitted) == (b"", [], 0)
    client.check_no_timers()


def test_no_session_starts_after_the_port_was_closed(client: ProxiedClient, factory: ProxiedFactory) -> None:
    factory.doStart()
    factory.doStop()
    assert client.transport.closed
    client.send(v2_ipv4() + b"bob\n")
    assert client.read() == b" * The server is going down.\r\n"
    assert not client.world.connections


# Other wrapped factories


class PlainProtocol(Protocol):
    """A protocol without half-close, which may close its connection at once."""

    def __init__(self, *, closes_at_once: bool = False) -> None:
        self.data = b""
        self.closes_at_once = closes_at_once

    def connectionMade(self) -> None:
        if self.closes_at_once:
            assert self.transport is not None
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class FakeFactory(Factory):
    """A factory that returns a given protocol, or None to reject the connection."""

    noisy = False

    def __init__(self, protocol: PlainProtocol | None) -> None:
        self.built = protocol
        self.addresses: list[IAddress | None] = []

    def buildProtocol(self, addr: IAddress | None) -> PlainProtocol | None:
        self.addresses.append(addr)
        return self.built


class TlsTransport(MemoryTransport):
    """A transport with an additional interface, and with ``disconnecting`` as Twisted's have it."""

    def __init__(self) -> None:
        super().__init__(PROXY)
        alsoProvides(self, ISSLTransport)

    @property
    def disconnecting(self) -> bool:
        return self.closed


def connect(protocol: PlainProtocol | None) -> tuple[ProxiedProtocol, TlsTransport, FakeFactory]:
    """Connect through a proxy to a factory that returns *protocol*."""
    transport, wrapped = TlsTransport(), FakeFactory(protocol)
    factory = ProxiedFactory(cast(IProtocolFactory, wrapped), Clock(), ConnectionLimiter(LIMITS))
    proxied = cast(ProxiedProtocol, factory.buildProtocol(PROXY))
    proxied.makeConnection(cast(Any, transport))  # type: ignore[no-untyped-call]  # Twisted's own
    return proxied, transport, wrapped


def test_wrapped_factory_gets_the_address_and_may_reject_it() -> None:
    proxied, transport, wrapped = connect(None)
    proxied.dataReceived(v2_ipv4() + b"hi")
    proxied.dataReceived(b"more")
    assert (wrapped.addresses, transport.closed) == ([ANN], True)


def test_wrapped_transport_differs_only_in_its_address() -> None:
    protocol = PlainProtocol()
    proxied, transport, _ = connect(protocol)
    proxied.dataReceived(v2_ipv4() + b"hi")
    assert protocol.data == b"hi"
    assert ISSLTransport.providedBy(protocol.transport)
    assert cast(Any, protocol.transport).getPeer() == ANN
    assert cast(Any, protocol.transport).sent is transport.sent


def test_protocol_that_closes_at_once_receives_no_data() -> None:
    protocol = PlainProtocol(closes_at_once=True)
    proxied, transport, _ = connect(protocol)
    proxied.dataReceived(v2_ipv4() + b"hi")
    assert (transport.closed, protocol.data) == (True, b"")


def test_protocol_without_half_close_is_closed_at_the_end_of_input() -> None:
    proxied, transport, _ = connect(PlainProtocol())
    proxied.dataReceived(v2_ipv4())
    proxied.writeConnectionLost()
    assert not transport.closed
    proxied.readConnectionLost()
    assert transport.closed


def test_endpoint_wraps_the_factory_and_passes_on_its_ports() -> None:
    factories: list[ProxiedFactory] = []

    class Endpoint:
        def listen(self, factory: ProxiedFactory) -> None:
            factories.append(factory)

    endpoint = ProxiedEndpoint(cast(IStreamServerEndpoint, Endpoint()), Clock(), ConnectionLimiter(LIMITS))
    assert verifyObject(IStreamServerEndpoint, endpoint)
    wrapped = FakeFactory(None)
    endpoint.listen(cast(IProtocolFactory, wrapped))
    assert cast(Any, factories[0].wrapped) is wrapped
    factories[0].doStart()
    ports = [wrapped.numPorts]
    factories[0].doStop()
    assert [*ports, wrapped.numPorts] == [1, 0]


def test_ban_reaches_the_client_and_never_the_proxy() -> None:
    world = World()
    factory = ProxiedFactory(cast(IProtocolFactory, world.factory), world.clock, world.connections.limiter)
    ann = join_operator(world, "ann")

    def connect(header: bytes, nick: str = "") -> ProxiedClient:
        client = ProxiedClient(world, factory)
        client.send(header, f"{nick}\r\n".encode() if nick else b"")
        client.read()
        return client

    named, unnamed, local = (
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP4 127.0.0.1 10.0.0.1 1 2\r\n",
    )
    people = [connect(header, nick) for header, nick in ((named, "bob"), (unnamed, "carol"), (local, "dave"))]
    ann.read()
    ann.say("/ban bob", "/ban carol", "/ban dave")
    assert all(person.transport.finished for person in people)
    assert [line for line in ann.lines() if line.startswith("->")] == [
        "-> the nickname bob and the address 192.0.2.7/32 are banned. /unban bob ends it.",
        "-> the nickname carol is banned. Not the address, which is of this machine or a proxy. /unban carol ends it.",
        "-> the nickname dave is banned. Not the address, which is of this machine or a proxy. /unban dave ends it.",
    ]
    assert [connect(header).transport.finished for header in (named, unnamed, local)] == [True, False, False]
    for header, nick in ((unnamed, "erin"), (local, "frank")):
        connect(header, nick)
        give_account(world, nick, "operator")
        assert not member_of(world, nick).source.is_safe
