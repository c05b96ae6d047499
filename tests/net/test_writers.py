"""A writer sends what it accepted in order, then closes the connection, and aborts it after a time-out."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from select import select
from typing import Any, cast

import pytest
from twisted.internet.interfaces import IPullProducer, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from broadcast.core.limits import DEFAULTS
from broadcast.net.writers import SocketWriter, StreamTransport, TransportWriter, Writer, peek_byte, writer_for
from tests.harness import ROOM_FOR_OUTPUT, MemoryTransport, SocketTransport
from tests.platforms import not_on_windows

MORE_THAN_ANY_BUFFER = b"x" * 4 * ROOM_FOR_OUTPUT


class TLSTransport(MemoryTransport):
    """A transport that encrypts, and cannot close one direction alone."""

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, ISSLTransport)

    def loseWriteConnection(self) -> None:
        raise NotImplementedError


_transport: type[StreamTransport] = MemoryTransport
_writers: tuple[type[Writer], ...] = (SocketWriter, TransportWriter)


class Setup:
    """A writer of either kind on a transport in memory."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.clock = Clock()
        self.transport = transport
        self.writer = (
            SocketWriter(transport, self.clock, transport.socket.handle)
            if isinstance(transport, SocketTransport)
            else TransportWriter(transport, self.clock)
        )
        self.drained = 0

    def on_drained(self) -> None:
        self.drained += 1
        self.writer.stop_drain()


@pytest.fixture(params=[MemoryTransport, TLSTransport, SocketTransport])
def each(request: pytest.FixtureRequest) -> Setup:
    """A writer of each kind."""
    return Setup(request.param())


@pytest.fixture
def direct() -> tuple[Setup, SocketTransport]:
    """A writer that sends to the socket, and its transport."""
    transport = SocketTransport()
    return Setup(transport), transport


# All writers


def test_writer_accepts_everything_in_order(each: Setup) -> None:
    assert [each.writer.send(data) for data in (b"one ", b"", b"two")] == [4, 0, 3]
    assert each.transport.sent == b"one two"
    assert isinstance(each.writer, SocketWriter | TransportWriter)
    each.writer.stopProducing()  # announces the loss of the connection, and changes nothing
    assert each.writer.send(b"x") == 1


def test_rest_is_written_before_later_data_and_the_drain_is_reported_once(each: Setup) -> None:
    each.transport.takes = False
    try:
        accepted = each.writer.send(MORE_THAN_ANY_BUFFER)
    except BlockingIOError:
        accepted = 0
    assert accepted < len(MORE_THAN_ANY_BUFFER)
    each.writer.write_rest(b"the rest ", each.on_drained)
    assert each.drained == 0
    each.transport.take_again()
    assert each.drained == 1
    assert each.writer.send(b"and more") == 8
    assert each.transport.sent == MORE_THAN_ANY_BUFFER[:accepted] + b"the rest and more"
    each.transport.take_again()
    assert each.drained == 1


def test_each_drain_is_reported_until_drain_is_stopped(each: Setup) -> None:
    drained: list[int] = []

    def on_drained() -> None:
        drained.append(len(drained))
        each.transport.takes = False
        with pytest.raises(BlockingIOError) if isinstance(each.writer, SocketWriter) else nullcontext():
            each.writer.send(MORE_THAN_ANY_BUFFER)
        each.writer.write_rest(b"more ", on_drained)

    each.transport.takes = False
    if isinstance(each.writer, TransportWriter):
        each.writer.send(MORE_THAN_ANY_BUFFER)
    each.writer.write_rest(b"first ", on_drained)
    for _ in range(3):
        each.transport.take_again()
    each.writer.stop_drain()
    each.transport.take_again()
    assert drained == [0, 1, 2]
    assert each.transport.sent.replace(b"x", b"") == b"first more more more "


def test_close_closes_the_sending_direction_or_all_of_tls(each: Setup) -> None:
    each.writer.send(b"bye")
    each.writer.close()
    assert each.transport.closed is isinstance(each.transport, TLSTransport)
    assert each.transport.finished
    assert not each.transport.aborted
    assert each.transport.producer is None


def test_connection_is_aborted_after_the_linger_time_out(each: Setup) -> None:
    each.writer.start_linger()
    each.clock.advance(DEFAULTS.linger_seconds - 1)
    each.writer.start_linger()  # does not start the time-out again
    each.writer.close()
    for seconds, aborted in ((0.9, False), (0.1, True)):
        each.clock.advance(seconds)
        assert each.transport.aborted is aborted
    each.writer.connection_lost()


def test_close_starts_the_linger_time_out(each: Setup) -> None:
    each.writer.close()
    each.clock.advance(DEFAULTS.linger_seconds - 0.1)
    assert not each.transport.aborted
    each.clock.advance(0.1)
    assert each.transport.aborted


@pytest.mark.parametrize("close", [True, False])
def test_lost_connection_is_not_aborted(each: Setup, *, close: bool) -> None:
    if close:
        each.writer.close()
    each.writer.connection_lost()
    assert not each.clock.getDelayedCalls()


# SocketWriter


def test_each_offer_is_one_system_call(direct: tuple[Setup, SocketTransport]) -> None:
    setup, transport = direct
    setup.writer.send(b"one")
    setup.writer.send(b"two" * 1024)
    assert transport.socket.offers == 2


@pytest.mark.parametrize("error", [BlockingIOError(), BrokenPipeError(), OSError(errno.EBADF, "bad")])
def test_socket_error_is_raised_and_the_rest_goes_to_the_transport(
    direct: tuple[Setup, SocketTransport], error: OSError
) -> None:
    setup, transport = direct
    transport.socket.fault = error
    with pytest.raises(type(error)):
        setup.writer.send(b"x")
    setup.writer.write_rest(b"x", setup.on_drained)
    assert transport.held == b"x"


def test_socket_writer_is_a_pull_producer_only_while_draining(direct: tuple[Setup, SocketTransport]) -> None:
    setup, transport = direct
    writer = setup.writer
    assert isinstance(writer, SocketWriter)
    assert verifyObject(IPullProducer, writer)
    producers: list[object] = [transport.producer]
    writer.write_rest(b"rest", setup.on_drained)
    producers.append(transport.producer)
    assert transport.held == b"rest"
    transport.take_again()
    producers.append(transport.producer)
    assert producers == [None, writer, None]
    writer.stop_drain()
    writer.resumeProducing()  # late calls do nothing
    assert transport.sent == b"rest"


# TransportWriter


def test_transport_writer_limits_what_the_transport_buffers() -> None:
    setup = Setup(MemoryTransport())
    setup.transport.takes = False
    data = bytes(range(256)) * 4096 * 8
    accepted = setup.writer.send(data)
    assert accepted <= 2 * ROOM_FOR_OUTPUT
    assert setup.writer.send(data[accepted:]) == 0
    setup.transport.take_again()
    assert setup.transport.sent == data[:accepted]


def test_transport_writer_accepts_nothing_while_paused() -> None:
    writer = Setup(MemoryTransport()).writer
    assert isinstance(writer, TransportWriter)
    assert verifyObject(IPushProducer, writer)
    writer.pauseProducing()
    assert writer.send(b"x") == 0
    writer.resumeProducing()
    assert writer.send(b"x") == 1


# The choice of a writer


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


class HandleTransport(MemoryTransport):
    """A transport with a handle."""

    def __init__(self, handle: object) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> object:  # noqa: N802 -- Twisted's name
        return self.handle


def test_only_a_plain_socket_is_written_directly(sockets: tuple[socket.socket, socket.socket]) -> None:
    one, other = sockets
    one.setblocking(True)  # as Windows' reactor leaves it
    writer = writer_for(Clock(), HandleTransport(one))
    assert isinstance(writer, SocketWriter)
    assert not one.getblocking()
    writer.send(b"hi")
    assert other.recv(9) == b"hi"
    encrypted = HandleTransport(object())  # the handle of a TLS transport loses what it encrypts
    for transport in (encrypted, MemoryTransport()):
        assert isinstance(writer_for(Clock(), transport), TransportWriter)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tcp_sends_without_delay(family: socket.AddressFamily) -> None:
    """Nagle's algorithm would wait for the acknowledgement of the previous data."""
    with socket.socket(family) as handle:
        writer_for(Clock(), HandleTransport(handle))
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Accepted(Connection):
    """The transport of a TCP connection that was accepted."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__(handle, Protocol(), cast(Any, Clock()))
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def test_first_byte_is_seen_and_remains_to_be_read(sockets: tuple[socket.socket, socket.socket]) -> None:
    one, other = sockets
    transport = Accepted(one)
    assert peek_byte(cast(StreamTransport, transport)) == b""
    other.send(b"{}")
    assert peek_byte(cast(StreamTransport, transport)) == b"{"
    assert one.recv(9) == b"{}"
    other.close()
    assert peek_byte(cast(StreamTransport, transport)) == b""
    assert not transport.aborted


@not_on_windows("its reactor has other transports")
def test_connection_that_is_reset_before_the_first_byte_is_aborted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _address = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with accepted:
        transport = Accepted(accepted)
        select([accepted], [], [])
        assert peek_byte(cast(StreamTransport, transport)) == b""
        assert transport.aborted


def test_input_that_another_protocol_reads_is_not_looked_at(sockets: tuple[socket.socket, socket.socket]) -> None:
    one, other = sockets
    other.send(b"{")
    assert peek_byte(HandleTransport(one)) == b""
