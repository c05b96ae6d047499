"""An outlet delivers what it took, in order, then closes its direction; who does not read is aborted in time."""

from __future__ import annotations

import pytest
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.task import Clock
from zope.interface import directlyProvides, implementer

from broadcast.outlets import LINGER_SECONDS, Outlet, StreamTransport, TransportOutlet
from tests.harness import MemoryTransport


class TLSTransport(MemoryTransport):
    """One that encrypts, and cannot close one direction alone."""

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, ISSLTransport)

    def loseWriteConnection(self) -> None:
        raise NotImplementedError


@implementer(IPushProducer)
class Producer:
    """A producer that is never called."""

    def pauseProducing(self) -> None:
        raise NotImplementedError

    def resumeProducing(self) -> None:
        raise NotImplementedError

    def stopProducing(self) -> None:
        raise NotImplementedError


_transport: type[StreamTransport] = MemoryTransport
_outlet: type[Outlet] = TransportOutlet


@pytest.fixture(params=[MemoryTransport, TLSTransport])
def transport(request: pytest.FixtureRequest) -> MemoryTransport:
    """A connection, plain and encrypted."""
    transport = request.param()
    assert isinstance(transport, MemoryTransport)
    return transport


def test_all_that_is_offered_is_taken_in_order(transport: MemoryTransport) -> None:
    outlet = TransportOutlet(transport, Clock())
    transport.takes = False
    assert [outlet.offer(data) for data in (b"one ", b"", b"two")] == [4, 0, 3]
    transport.take_again()
    assert transport.sent == b"one two"


def test_finishing_closes_our_direction_and_waits_for_theirs() -> None:
    transport = MemoryTransport()
    transport.registerProducer(Producer(), streaming=True)
    outlet = TransportOutlet(transport, Clock())
    outlet.offer(b"bye")
    outlet.finish()
    assert transport.finished
    assert not transport.closed
    assert transport.producer is None


def test_finishing_closes_tls_whole() -> None:
    transport = TLSTransport()
    outlet = TransportOutlet(transport, Clock())
    outlet.offer(b"bye")
    outlet.finish()
    assert transport.closed
    assert not transport.aborted


def test_who_does_not_let_go_is_aborted_in_time(transport: MemoryTransport) -> None:
    clock = Clock()
    TransportOutlet(transport, clock).finish()
    aborted = []
    for seconds in (LINGER_SECONDS - 0.1, 0.1):
        clock.advance(seconds)
        aborted.append(transport.aborted)
    assert aborted == [False, True]


def test_who_is_gone_is_not_aborted(transport: MemoryTransport) -> None:
    clock = Clock()
    outlet = TransportOutlet(transport, clock)
    outlet.finish()
    outlet.lost()
    assert not clock.getDelayedCalls()


def test_a_connection_may_be_lost_before_it_was_finished_and_after_it_was_aborted(transport: MemoryTransport) -> None:
    clock = Clock()
    TransportOutlet(MemoryTransport(), clock).lost()
    outlet = TransportOutlet(transport, clock)
    outlet.finish()
    clock.advance(LINGER_SECONDS)
    outlet.lost()
    assert transport.aborted
