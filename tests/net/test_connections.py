"""The registry of connections, with connections of no particular door."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from broadcast.core.errors import Banned, TooManyConnections
from broadcast.core.limits import Limits
from broadcast.net.connections import BACKLOG_SECONDS, MAX_REJECTED, Connection, Connections
from tests.harness import MemoryTransport


class FakeConnection:
    """A connection that records what it is asked to do."""

    def __init__(self) -> None:
        self.transport = MemoryTransport()
        self.heard_from = True
        self.must_answer = False
        self.drained: Deferred[None] = Deferred()
        self.calls: list[str] = []

    def discard_backlog(self) -> None:
        self.calls.append("discard_backlog")

    def send_noop(self) -> None:
        self.calls.append("send_noop")

    def send_shutdown_notice(self) -> None:
        self.calls.append("send_shutdown_notice")

    def drain(self) -> Deferred[None]:
        self.calls.append("drain")
        return self.drained

    def close(self) -> None:
        self.calls.append("close")


_conforms: type[Connection] = FakeConnection


@pytest.fixture
def clock() -> Clock:
    """The clock of the registry."""
    return Clock()


@pytest.fixture
def connections(clock: Clock) -> Connections:
    """A registry without connections."""
    return Connections(Limits(), clock)


def test_registry_is_the_collection_of_open_connections(connections: Connections) -> None:
    ann, bob = FakeConnection(), FakeConnection()
    connections.add(ann)
    connections.add(bob)
    assert (set(connections), len(connections), ann in connections) == ({ann, bob}, 2, True)
    connections.remove(ann)
    assert (set(connections), len(connections), ann in connections) == ({bob}, 1, False)


def test_drain_waits_for_open_and_backlogged_connections(connections: Connections) -> None:
    still_open, backlogged, gone = FakeConnection(), FakeConnection(), FakeConnection()
    for connection in (still_open, backlogged, gone):
        connections.add(connection)
    for connection in (backlogged, gone):
        connections.move_to_backlog(connection)
    connections.remove(gone)
    before = connections.stopping
    drained = connections.drain()
    assert (before, connections.stopping) == (False, True)
    assert (still_open.calls, backlogged.calls, gone.calls) == (["drain"], ["drain"], [])
    still_open.drained.callback(None)
    assert not drained.called
    backlogged.drained.callback(None)
    assert drained.called


def test_backlog_is_discarded_after_150_seconds_unless_it_was_handled(connections: Connections, clock: Clock) -> None:
    backlogged, gone = FakeConnection(), FakeConnection()
    for connection in (backlogged, gone):
        connections.add(connection)
        connections.move_to_backlog(connection)
    assert (len(connections), backlogged in connections) == (0, False)
    connections.remove(gone)
    clock.advance(BACKLOG_SECONDS - 1)
    assert backlogged.calls == []
    clock.advance(1)
    assert (backlogged.calls, gone.calls) == (["discard_backlog"], [])
    connections.remove(backlogged)
    assert not clock.getDelayedCalls()


def test_connection_counts_until_its_input_was_handled(clock: Clock) -> None:
    connections = Connections(Limits(connections=1), clock)
    ann, bob = FakeConnection(), FakeConnection()
    connections.add(ann)
    connections.move_to_backlog(ann)
    with pytest.raises(TooManyConnections):
        connections.add(bob)
    assert set(connections) == {bob}, "its client still receives the reason"
    connections.remove(bob)
    connections.remove(ann)
    connections.add(FakeConnection())


def test_successor_counts_in_the_place_of_its_connection(clock: Clock) -> None:
    connections = Connections(Limits(connections=1), clock)
    ann, successor = FakeConnection(), FakeConnection()
    connections.add(ann)
    connections.replace(ann, successor)
    assert (set(connections), connections.limiter.total) == ({successor}, 1)
    connections.remove(successor)
    assert (len(connections), connections.limiter.total) == (0, 0)


def test_disconnect_closes_all_and_waits_for_the_last(connections: Connections) -> None:
    both = [FakeConnection(), FakeConnection()]
    for connection in both:
        connections.add(connection)
    gone = connections.disconnect()
    assert [connection.calls for connection in both] == [["close"], ["close"]]
    for connection in both:
        assert not gone.called
        connections.remove(connection)
    assert gone.called
    assert connections.disconnect().called


def test_rejected_connections_above_the_limit_are_aborted(connections: Connections) -> None:
    rejected = [FakeConnection() for _ in range(MAX_REJECTED + 2)]
    for connection in rejected[:-1]:
        connections.add(connection)
        connections.disconnect_rejected(connection)
    connections.remove(rejected[0])
    connections.remove(rejected[1])
    connections.disconnect_rejected(rejected[-1])
    assert [connection.transport.closed for connection in rejected] == [True] * len(rejected)
    aborted = [connection.transport.aborted for connection in rejected]
    assert aborted == [False] * MAX_REJECTED + [True, False]


def test_banned_address_counts_toward_no_limit(clock: Clock) -> None:
    def ban(_host: str | None) -> None:
        raise Banned("you are banned.", None)

    connections = Connections(Limits(), clock, ban)
    ann = FakeConnection()
    with pytest.raises(Banned):
        connections.add(ann)
    assert (connections.accepted_count, connections.limiter.total, ann in connections) == (1, 0, True)
    connections.disconnect_rejected(ann)
    connections.remove(ann)
    assert len(connections) == 0
