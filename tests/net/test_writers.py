"""An outlet delivers what it took, in order, then closes its direction; who does not read is aborted in time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
from twisted.internet.interfaces import IPullProducer, IPushProducer, IReactorFDSet, ISSLTransport
from twisted.internet.task import Clock
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from broadcast.core.limits import DEFAULTS
from broadcast.net.writers import SocketWriter, StreamTransport, TransportWriter, Writer, writer_for
from tests.harness import ROOM_FOR_OUTPUT, MemoryTransport, SocketTransport


class TLSTransport(MemoryTransport):
    """One that encrypts, and cannot close one direction alone."""

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, ISSLTransport)

    def loseWriteConnection(self) -> None:
        raise NotImplementedError


_transport: type[StreamTransport] = MemoryTransport
_outlets: tuple[type[Writer], ...] = (SocketWriter, TransportWriter)


def through(transport: MemoryTransport, clock: Clock) -> Writer:
    return TransportWriter(transport, clock)


def direct(transport: MemoryTransport, clock: Clock) -> Writer:
    assert isinstance(transport, SocketTransport)
    return SocketWriter(transport, clock, transport.socket.handle)


class Given:
    """An outlet and everything around it; *drained* is how often it asked for more."""

    def __init__(self, transport: MemoryTransport, outlet: Callable[[MemoryTransport, Clock], Writer]) -> None:
        self.clock = Clock()
        self.transport = transport
        self.outlet = outlet(transport, self.clock)
        self.drained = 0

    def asked(self) -> None:
        self.drained += 1
        self.outlet.stop_drain()


@pytest.fixture(params=["transport", "TLS", "direct"])
def given(request: pytest.FixtureRequest) -> Given:
    """An outlet of each kind."""
    if request.param == "direct":
        return Given(SocketTransport(), direct)
    return Given(MemoryTransport() if request.param == "transport" else TLSTransport(), through)


@pytest.fixture
def straight() -> Given:
    """The one that sends to the socket."""
    return Given(SocketTransport(), direct)


# What both do


def test_all_that_is_offered_is_taken_in_order(given: Given) -> None:
    assert [given.outlet.send(data) for data in (b"one ", b"", b"two")] == [4, 0, 3]
    assert given.outlet.send_parts([b" three", memoryview(b" four")]) == 11
    assert given.transport.sent == b"one two three four"


def test_what_is_held_goes_before_what_is_taken_afterwards(given: Given) -> None:
    given.transport.takes = False
    big = b"x" * 4 * ROOM_FOR_OUTPUT
    try:
        taken = given.outlet.send(big)
    except BlockingIOError:
        taken = 0
    assert taken < len(big)
    given.outlet.write_rest(b"the rest ", given.asked)
    drained = [given.drained]
    given.transport.take_again()
    drained.append(given.drained)
    assert drained == [0, 1]
    assert given.outlet.send(b"and more") == 8
    assert given.transport.sent == big[:taken] + b"the rest and more"
    given.transport.take_again()
    assert given.drained == 1


def test_it_asks_for_more_until_it_is_released(given: Given) -> None:
    drained: list[int] = []

    def asked() -> None:
        drained.append(len(drained))
        given.transport.takes = False
        with pytest.raises(BlockingIOError) if isinstance(given.outlet, SocketWriter) else nullcontext():
            given.outlet.send(b"y" * 4 * ROOM_FOR_OUTPUT)
        given.outlet.write_rest(b"more ", asked)

    given.transport.takes = False
    if isinstance(given.outlet, TransportWriter):
        given.outlet.send(b"y" * 4 * ROOM_FOR_OUTPUT)
    given.outlet.write_rest(b"first ", asked)
    for _ in range(3):
        given.transport.take_again()
    given.outlet.stop_drain()
    given.transport.take_again()
    assert drained == [0, 1, 2]
    assert given.transport.sent.replace(b"y", b"") == b"first more more more "


@pytest.mark.parametrize(("transport", "outlet"), [(MemoryTransport, through), (SocketTransport, direct)])
def test_finishing_closes_our_direction_and_waits_for_theirs(
    transport: type[MemoryTransport], outlet: Callable[[MemoryTransport, Clock], Writer]
) -> None:
    given = Given(transport(), outlet)
    given.outlet.send(b"bye")
    given.outlet.close()
    assert given.transport.finished
    assert not given.transport.closed
    assert given.transport.producer is None


def test_finishing_closes_tls_whole() -> None:
    given = Given(TLSTransport(), through)
    given.outlet.send(b"bye")
    given.outlet.close()
    assert given.transport.closed
    assert not given.transport.aborted


def test_who_does_not_let_go_is_aborted_in_time(given: Given) -> None:
    given.outlet.close()
    aborted = []
    for seconds in (DEFAULTS.linger_seconds - 0.1, 0.1):
        given.clock.advance(seconds)
        aborted.append(given.transport.aborted)
    assert aborted == [False, True]


def test_the_time_to_read_the_rest_begins_once(given: Given) -> None:
    given.outlet.start_linger()
    given.clock.advance(DEFAULTS.linger_seconds - 1)
    given.outlet.start_linger()
    given.outlet.close()
    given.clock.advance(1)
    assert given.transport.aborted


def test_who_is_gone_is_not_aborted(given: Given) -> None:
    given.outlet.close()
    given.outlet.connection_lost()
    assert not given.clock.getDelayedCalls()


def test_a_connection_may_be_lost_before_it_was_finished(given: Given) -> None:
    given.outlet.connection_lost()
    assert not given.clock.getDelayedCalls()


def test_a_connection_may_be_lost_after_it_was_aborted(given: Given) -> None:
    given.outlet.close()
    given.clock.advance(DEFAULTS.linger_seconds)
    given.outlet.connection_lost()
    assert given.transport.aborted


def test_stop_producing_is_only_news_of_the_loss(given: Given) -> None:
    assert isinstance(given.outlet, SocketWriter | TransportWriter)
    given.outlet.stopProducing()
    assert given.outlet.send(b"x") == 1


# Straight to the socket


def test_one_offer_is_one_send_and_the_bytes_are_not_copied_together(straight: Given) -> None:
    assert isinstance(straight.transport, SocketTransport)
    straight.outlet.send(b"one")
    straight.outlet.send_parts([b"two"] * 1024)
    assert (straight.transport.socket.sends, straight.transport.socket.sendmsgs) == (1, 1)


def test_more_pieces_than_the_kernel_takes_at_once_are_one_offer_all_the_same(straight: Given) -> None:
    assert isinstance(straight.transport, SocketTransport)
    assert straight.outlet.send_parts([b"ab", memoryview(b"c")] * 513) == 3 * 513
    assert straight.transport.sent == b"abc" * 513
    assert straight.transport.socket.offers == 1


@pytest.mark.parametrize("fault", [BlockingIOError(), BrokenPipeError(), OSError(errno.EBADF, "bad")])
def test_a_faulty_socket_says_so_and_what_is_held_goes_to_the_transport(straight: Given, fault: OSError) -> None:
    assert isinstance(straight.transport, SocketTransport)
    straight.transport.socket.fault = fault
    with pytest.raises(type(fault)):
        straight.outlet.send(b"x")
    straight.outlet.write_rest(b"x", straight.asked)
    assert straight.transport.held == b"x"


def test_the_transport_is_asked_for_as_much_as_a_line_and_has_no_producer_otherwise(straight: Given) -> None:
    producers = [straight.transport.producer]
    straight.outlet.write_rest(b"rest", straight.asked)
    producers.append(straight.transport.producer)
    assert straight.transport.held == b"rest"
    straight.transport.take_again()
    producers.append(straight.transport.producer)
    outlet: object = straight.outlet
    assert producers == [None, outlet, None]
    assert verifyObject(IPullProducer, straight.outlet)


def test_being_asked_for_more_after_the_release_does_nothing(straight: Given) -> None:
    assert isinstance(straight.outlet, SocketWriter)
    straight.outlet.stop_drain()
    straight.outlet.resumeProducing()
    assert straight.transport.sent == b""


# Through the transport


def test_what_a_transport_holds_is_bounded_whatever_it_is_offered() -> None:
    given = Given(MemoryTransport(), through)
    given.transport.takes = False
    data = bytes(range(256)) * 4096 * 8
    taken = given.outlet.send(data)
    assert taken <= 2 * ROOM_FOR_OUTPUT
    assert given.outlet.send(data[taken:]) == 0
    given.transport.take_again()
    assert given.transport.sent == data[:taken]


def test_the_transport_is_followed_when_it_asks_for_a_pause() -> None:
    given = Given(MemoryTransport(), through)
    assert isinstance(given.outlet, TransportWriter)
    assert verifyObject(IPushProducer, given.outlet)
    given.outlet.pauseProducing()
    taken = [given.outlet.send(b"x")]
    given.outlet.resumeProducing()
    taken.append(given.outlet.send(b"x"))
    assert taken == [0, 1]


# Which one


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected ones."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


class Handled(MemoryTransport):
    """A transport with a handle."""

    def __init__(self, handle: object) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> object:  # noqa: N802 -- Twisted's name
        return self.handle


class Waits(Clock):
    """A reactor that waits for file descriptors."""

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, IReactorFDSet)


def test_a_plain_socket_is_sent_to_directly(sockets: tuple[socket.socket, socket.socket]) -> None:
    one, other = sockets
    outlet = writer_for(Waits(), Handled(one))
    assert isinstance(outlet, SocketWriter)
    outlet.send(b"hi")
    assert other.recv(9) == b"hi"


def test_everything_else_goes_through_the_transport(sockets: tuple[socket.socket, socket.socket]) -> None:
    for clock, transport in (
        (Clock(), Handled(sockets[0])),  # a reactor that does not leave the socket to us
        (Waits(), Handled(object())),  # TLS: its handle has a send that strands what it encrypts
        (Waits(), MemoryTransport()),
    ):
        assert isinstance(writer_for(clock, transport), TransportWriter)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_burst_is_sent_at_once_over_tcp(family: socket.AddressFamily) -> None:
    """Nagle's algorithm would wait for the acknowledgement of the last one."""
    with socket.socket(family) as handle:
        writer_for(Waits(), Handled(handle))
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
