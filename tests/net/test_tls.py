"""A connection with TLS carries a door in both directions, and hostile handshakes cost the others nothing."""

from __future__ import annotations

import errno
import gc
import ssl
import weakref
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from broadcast.core.limits import Limits
from broadcast.core.source import Source
from broadcast.net.addresses import source_of
from broadcast.net.connection_log import REJECTION_SECONDS
from broadcast.net.tls import (
    HANDSHAKE_SECONDS,
    INTERNAL_ERROR_ALERT,
    MAX_UNCOUNTED,
    MAX_UNREAD_BYTES,
    RECORD_BYTES,
    TlsConnection,
)
from broadcast.net.writers import SocketWriter, peek_byte, writer_for
from tests.harness import NOON, is_read_from, logged
from tests.tls import TlsClient, TlsPerson, TlsWorld, client_context

WELCOME = b"Welcome to Broadcast. Type a nickname and press Enter.\r\nNickname: "
NO_TLS = (
    b" * This port speaks TLS: connect with broadcast-client --tls, ncat --ssl, "
    b"or openssl s_client -quiet -connect.\r\n"
)
HOME = IPv4Address("TCP", "192.0.2.7", 40000)


@pytest.fixture
def world() -> TlsWorld:
    return TlsWorld()


def door_of(client: TlsClient) -> Protocol | None:
    return client.server._wrapped


def is_closed(client: TlsClient) -> bool:
    return client.transport.closed


def connected(world: TlsWorld, context: ssl.SSLContext | None = None) -> TlsClient:
    """Return a client after its handshake."""
    client = world.open(context=context)
    client.shake_hands()
    return client


# The handshake


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_door_begins_after_the_handshake(world: TlsWorld, version: ssl.TLSVersion) -> None:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    client = world.open(context=context)
    assert not client.transport.sent
    assert door_of(client) is None
    client.shake_hands()
    assert client.read() == WELCOME
    assert ISSLTransport.providedBy(client.server)
    client.server.dataReceived(client.encrypt(b"ann\r\n"))
    world.settle()
    assert client.read().startswith(b" * You are ann.")


@given(cuts=st.lists(st.integers(1, 600), max_size=20))
def test_handshake_and_input_may_arrive_in_any_pieces(cuts: Sequence[int]) -> None:
    world = TlsWorld()
    client = world.open()

    def feed(data: bytes) -> None:
        start = 0
        for end in [*sorted({cut for cut in cuts if cut < len(data)}), len(data)]:
            client.server.dataReceived(data[start:end])
            world.clock.advance(0)
            start = end

    while data := client.step():
        feed(data)
    feed(client.encrypt(b"ann\r\n") + client.encrypt(b"hi\r\n/ping\r\n"))
    world.settle()
    assert client.read().endswith(b"-> pong\r\n")


def test_input_that_comes_with_the_end_of_the_handshake_is_not_lost(world: TlsWorld) -> None:
    seen: list[bytes] = []

    class Door(Protocol):
        def connectionMade(self) -> None:
            seen.append(peek_byte(cast(TlsConnection, self.transport)))

        def dataReceived(self, data: bytes) -> None:
            seen.append(data)

    world.tls_factory.wrapped = Factory.forProtocol(Door)
    client = world.open()
    client.server.dataReceived(client.step())
    world.clock.advance(0)
    client.server.dataReceived(client.step() + client.encrypt(b'{"id": 1}\n'))
    assert seen == [b"{", b'{"id": 1}\n']
    client.server.readConnectionLost()  # this door does not support half-closing
    assert client.transport.closed


@pytest.mark.parametrize("data", [b"bob\r\n", b"GET / HTTP/1.1\r\n\r\n", b'{"jsonrpc"', b"\x80\x01", b"\r\n"])
def test_client_without_tls_reads_what_the_port_speaks(world: TlsWorld, data: bytes) -> None:
    client = world.open()
    with logged() as events:
        client.server.dataReceived(data)
        client.server.dataReceived(data)
    assert client.transport.sent == NO_TLS
    assert client.transport.closed
    assert [event["why"] for event in events] == ["no TLS from 127.0.0.1 port 40000"]
    world.clock.advance(world.factory.limits.linger_seconds)
    assert client.transport.aborted


def test_silent_client_reads_what_the_port_speaks(world: TlsWorld) -> None:
    client = world.open()
    world.clock.advance(HANDSHAKE_SECONDS - 1)
    assert not client.transport.closed
    world.clock.advance(1)
    assert client.transport.sent == NO_TLS
    assert client.transport.closed


@pytest.mark.parametrize("steps", [0, 1])
def test_handshake_has_a_time_limit(world: TlsWorld, steps: int) -> None:
    client = world.open()
    for _ in range(steps):
        client.server.dataReceived(client.step())
        world.clock.advance(0)
    client.server.dataReceived(client.step()[:20] or b"\x16")
    with logged() as events:
        world.clock.advance(HANDSHAKE_SECONDS)
    assert client.transport.closed
    assert [event["why"] for event in events] == ["TLS handshake with 127.0.0.1 port 40000 not complete after 10 s"]
    client.server.dataReceived(b"more")


def test_client_that_sends_its_handshake_byte_by_byte_gets_no_more_time(world: TlsWorld) -> None:
    client = world.open()
    for byte in client.step():
        client.server.dataReceived(bytes([byte]))
        world.clock.advance(0.4)
        if is_closed(client):
            break
    assert world.clock.seconds() == pytest.approx(NOON + HANDSHAKE_SECONDS)


def test_time_in_which_the_client_waits_for_its_turn_does_not_count(world: TlsWorld) -> None:
    busy = world.tls_factory.pacer
    busy._is_talking = lambda: True
    busy._cpu_seconds = world.clock.seconds
    busy.submit(lambda: world.clock.advance(1))
    client = world.open()
    world.clock.advance(HANDSHAKE_SECONDS - 1)
    busy._next = world.clock.callLater(100, busy._end_pause)
    client.server.dataReceived(client.step())
    assert not client.transport.reading
    world.clock.advance(100)
    assert not is_closed(client)
    client.shake_hands()
    assert client.read() == WELCOME


@pytest.mark.parametrize(
    "data",
    [
        b"\x16" * 1000,
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    ],
)
def test_garbage_ends_the_handshake(world: TlsWorld, data: bytes) -> None:
    client = world.open()
    with logged() as events:
        client.server.dataReceived(data)
    assert client.transport.closed
    assert door_of(client) is None
    assert [str(event["why"]).startswith("TLS handshake with 127.0.0.1 port 40000 failed: ") for event in events] == [
        True
    ]
    assert not world.tls_factory.handshaking


@given(st.binary(max_size=300), st.integers(0, 600))
def test_no_input_raises_an_error(data: bytes, place: int) -> None:
    world = TlsWorld()
    client = world.open()
    hello = client.step()
    client.server.dataReceived(hello[:place] + data + hello[place:])
    world.clock.advance(HANDSHAKE_SECONDS)
    world.clock.advance(world.factory.limits.linger_seconds)


@given(st.binary(min_size=1, max_size=300))
def test_damaged_record_ends_the_connection(data: bytes) -> None:
    world = TlsWorld()
    client = connected(world)
    client.server.dataReceived(b"\x17\x03\x03" + len(data).to_bytes(2, "big") + data)
    assert client.transport.aborted


def test_client_that_offers_only_old_versions_reads_an_alert(world: TlsWorld) -> None:
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    client = world.open(context=context)
    with logged() as events:
        client.server.dataReceived(client.step())
    assert str(events[0]["why"]).endswith("failed: UNSUPPORTED_PROTOCOL")
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        client.step()


def test_connection_counts_from_the_beginning_of_its_handshake_and_only_once() -> None:
    world = TlsWorld(limits=Limits(connections=2, address_connections=2))
    limiter = world.connections.limiter
    first = world.open(HOME)
    assert limiter.total == 1
    first.shake_hands()
    assert limiter.total == 1
    second = world.open(HOME)
    assert limiter.total == 2
    for client in (first, second):
        client.server.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
        world.settle()
    assert limiter.total == 0


def test_clients_above_a_limit_read_the_reason_unless_they_are_too_many() -> None:
    world = TlsWorld(limits=Limits(address_connections=1))
    world.open(HOME)
    rejected = [world.open(HOME) for _ in range(MAX_UNCOUNTED)]
    with logged() as events:
        last = world.open(HOME)
    assert last.transport.sent == INTERNAL_ERROR_ALERT
    assert last.transport.closed
    reason = "Too many connections from 192.0.2.7: this server takes 1 from one address."
    assert [event["why"] for event in events] == [reason]
    with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
        last.step()
    rejected[0].shake_hands()
    assert rejected[0].read().endswith(f" * {reason}\r\n".encode())
    assert rejected[0].ended
    assert world.open(HOME).transport.sent == b""  # there is room for another one that reads the reason
    assert len(world.tls_factory.uncounted) == MAX_UNCOUNTED


def test_server_that_goes_down_closes_connections_in_their_handshake(world: TlsWorld) -> None:
    client, silent = world.open(), world.open()
    client.server.dataReceived(client.step())
    world.tls_factory.doStart()
    world.tls_factory.doStop()
    assert client.transport.closed
    assert silent.transport.closed


def test_client_that_leaves_during_the_handshake_is_forgotten(world: TlsWorld) -> None:
    client = world.open()
    client.server.dataReceived(client.step()[:50])
    client.server.readConnectionLost()
    assert client.transport.closed
    client.server.writeConnectionLost()
    client.server.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert not world.tls_factory.handshaking
    world.clock.advance(0)  # the end of the pacer's pause
    assert not world.clock.getDelayedCalls()


# The end


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ends", ["close_notify", "FIN", "both"])
def test_end_of_the_input_counts_and_the_replies_still_arrive(
    world: TlsWorld, ends: str, version: ssl.TLSVersion
) -> None:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    client = connected(world, context)
    client.server.dataReceived(client.encrypt(b"ann\r\nhi\r\n/ping\r\nlast"))
    if ends != "FIN":
        client.collect()  # what comes after close_notify is in the stream, but ssl does not return it here
        client.server.dataReceived(client.close_notify())
    if ends != "close_notify":
        client.server.readConnectionLost()
    world.settle()
    assert (client.transport.finished, client.transport.closed) == (True, False)
    client.server.writeConnectionLost()
    assert is_closed(client)
    client.server.dataReceived(b"ignored")
    if ends == "FIN":
        assert client.read().endswith(b"-> pong\r\n * Goodbye, ann.\r\n")
        assert client.ended
    client.server.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    world.settle()
    assert not world.connections


def test_server_closes_with_close_notify_and_reads_on_until_the_client_does(world: TlsWorld) -> None:
    client = connected(world)
    client.server.dataReceived(client.encrypt(b"ann\r\nquit\r\n"))
    world.settle()
    assert client.read().endswith(b"Goodbye, ann.\r\n")
    assert client.ended
    assert client.transport.finished
    assert not is_closed(client)
    client.server.writeConnectionLost()
    client.server.dataReceived(client.encrypt(b"more\r\n"))
    client.server.dataReceived(client.close_notify())
    assert is_closed(client)
    assert not client.transport.aborted


def test_client_that_never_closes_is_aborted_after_the_linger_time(world: TlsWorld) -> None:
    client = connected(world)
    client.server.dataReceived(client.encrypt(b"ann\r\nquit\r\n"))
    world.settle()
    world.clock.advance(world.factory.limits.linger_seconds)
    assert client.transport.aborted


def test_lost_connection_is_freed_at_once(world: TlsWorld) -> None:
    world.tls_factory.wrapped = Factory.forProtocol(Protocol)
    client = connected(world)
    writer = writer_for(world.clock, client.server)
    server, door = weakref.ref(client.server), weakref.ref(cast(Protocol, door_of(client)))
    gc.disable()
    try:
        client.server.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
        del client, writer
        world.clock.advance(1000)
        assert server() is None
        assert door() is None
    finally:
        gc.enable()


# Output


@pytest.fixture
def ann(world: TlsWorld) -> TlsPerson:
    """The first person in the room. She has read everything so far."""
    (ann,) = world.join("ann")
    return cast(TlsPerson, ann)


@given(rooms=st.lists(st.integers(0, 40_000), max_size=12), sizes=st.lists(st.integers(1, 60_000), max_size=6))
def test_slow_reader_gets_everything_in_order(rooms: Sequence[int], sizes: Sequence[int]) -> None:
    world = TlsWorld()
    client = connected(world)
    client.read()
    writer = SocketWriter(client.server, world.clock, client.server)
    expected = b""
    rest = b""
    drained = [True]

    def on_drained() -> None:
        drained.append(True)
        writer.stop_drain()

    for number, size in enumerate(sizes):
        client.transport.room = rooms[number % len(rooms)] if rooms else None
        data = bytes([number]) * size
        if drained:
            accepted = writer.send(data)
            expected += data[:accepted]
            if rest := data[accepted:]:
                drained.clear()
                writer.write_rest(rest, on_drained)
                expected += rest
        for room in rooms:
            client.transport.take_again(room)
    client.transport.take_again()
    client.transport.take_again()
    assert drained
    assert client.read() == expected


def test_nothing_is_encrypted_for_a_client_that_does_not_read(world: TlsWorld, ann: TlsPerson) -> None:
    ann.stop_reading()
    send = cast(TlsConnection, ann.protocol.transport).send
    assert send(b"x" * 10 * RECORD_BYTES) == RECORD_BYTES
    assert send(b"y") == 0
    assert len(ann.transport.held) < RECORD_BYTES + 100
    ann.read_on()
    assert send(b"") == 0
    assert send(b"y") == 1
    assert ann.read() == "x" * RECORD_BYTES + "y"


def test_close_waits_for_the_ciphertext_that_the_client_has_not_read(world: TlsWorld, ann: TlsPerson) -> None:
    ann.stop_reading(100)
    ann.put("/help\r\nquit\r\n")
    world.settle()
    finished = [ann.transport.finished]
    ann.read_on()
    world.settle()
    finished.append(ann.transport.finished)
    assert finished == [False, True]
    assert ann.read().endswith("Goodbye, ann.\r\n")


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT])
def test_reset_that_a_send_reports_aborts_the_connection(world: TlsWorld, ann: TlsPerson, number: int) -> None:
    ann.socket.fault = OSError(number, "gone")
    (bob,) = world.join("bob")
    bob.say("hi")
    assert ann.transport.aborted


def test_other_errors_of_a_send_are_left_to_the_transport(world: TlsWorld, ann: TlsPerson) -> None:
    ann.socket.fault = OSError(errno.ENOBUFS, "no buffers")
    world.join("bob")
    ann.socket.fault = None
    ann.read_on()
    world.settle()
    assert not ann.transport.aborted
    assert ann.read() == " * bob joined.\r\n"


def test_reactor_without_sockets_sends_through_the_transport() -> None:
    world = TlsWorld()
    world.tls_factory.socket_of = lambda _transport: None
    client = world.open()
    while data := client.step():
        client.server.dataReceived(data)
        client.transport.take_again()
        world.clock.advance(0)
        client.transport.take_again()
    client.transport.take_again()
    assert client.read() == WELCOME


def test_door_pauses_and_resumes_the_reading(world: TlsWorld, ann: TlsPerson) -> None:
    transport = cast(TlsConnection, ann.protocol.transport)
    transport.pauseProducing()
    assert not is_read_from(ann)
    transport.resumeProducing()
    assert is_read_from(ann)


def test_client_that_makes_the_server_answer_and_reads_nothing_is_aborted(world: TlsWorld) -> None:
    client = connected(world)
    client.transport.room = 0
    client.server.send(b"x" * RECORD_BYTES)
    client.server._outgoing.write(bytes(MAX_UNREAD_BYTES))
    client.server.dataReceived(client.encrypt(b"a"))
    assert not is_closed(client)
    client.server._outgoing.write(b"x")
    client.server.dataReceived(client.encrypt(b"b"))
    assert is_closed(client)


@pytest.mark.parametrize("forwarded", [False, True])
def test_origin_is_secure_and_local_only_without_a_proxy(world: TlsWorld, forwarded: bool) -> None:
    client = world.open()
    client.transport.is_forwarded = forwarded  # type: ignore[attr-defined]  # as that of a proxied connection
    client.shake_hands()
    assert source_of(client.server) == Source("127.0.0.1", is_local=not forwarded, is_encrypted=True)


def test_origin_has_no_address_if_the_proxy_gives_none(world: TlsWorld) -> None:
    client = world.open()
    client.transport.is_forwarded, client.transport.is_address_known = True, False  # type: ignore[attr-defined]
    client.shake_hands()
    assert source_of(client.server) == Source(None, is_local=False, is_encrypted=True)


def test_proxied_half_closing_passes_through() -> None:
    assert IHalfCloseableProtocol.implementedBy(TlsConnection)


def test_rejections_are_logged_at_most_once_in_ten_seconds(world: TlsWorld) -> None:
    with logged() as events:
        for _ in range(1000):
            client = world.open()
            client.server.dataReceived(b"bob\r\n")
        world.clock.advance(REJECTION_SECONDS)
    assert [event["count"] for event in events] == [1, 999]
    assert world.clock.seconds() >= NOON
