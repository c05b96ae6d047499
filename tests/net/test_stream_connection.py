"""The life of a connection, in each order of its events."""

from __future__ import annotations

from weakref import proxy

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from broadcast.core.limits import DEFAULTS
from broadcast.net.connections import Connections
from broadcast.net.input_loop import InputLoop
from broadcast.net.stream_connection import State, StreamConnection
from tests.harness import MemoryTransport


class FakePeer:
    """An output that records what happens to it."""

    congested = False

    def __init__(self) -> None:
        self.calls: list[str] = []

    def connection_lost(self) -> None:
        self.calls.append("connection_lost")

    def drop_callbacks(self) -> None:
        self.calls.append("drop_callbacks")


class FakeConnection(StreamConnection):
    """A connection of a door whose session has received no line."""

    ready = True
    buffered_bytes = 0

    def __init__(self) -> None:
        self.transport = self.memory = MemoryTransport()
        self.peer = self.output = FakePeer()
        self.clock = Clock()
        self.connections = self._connections = Connections(DEFAULTS, self.clock)
        self._input = InputLoop(proxy(self), self.transport, self.connections, self.clock, lambda _: None, self)
        self.has_eof = False
        self.has_timers = True
        self.reason: str | None = None
        """The reason of the end of the session; None before."""
        self.connections.add(self)

    def _receive_eof(self) -> None:
        self.has_eof = True

    def _stop_timers(self) -> None:
        self.has_timers = False

    def happen(self, event: str) -> None:
        """Let *event* happen, one of the rows of the table in ``State``."""
        match event:
            case "eof":
                self.readConnectionLost()
            case "sent":
                self.writeConnectionLost()
            case "breaks":
                self.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
            case "closes":
                self.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
            case "over":
                self.end_session()

    def end_session(self) -> None:
        reason = self._end_reason
        if self._end_session():
            self.reason = reason
            self._input.end()
            self._release_if_gone()

    def handle_line(self) -> bool:
        return False

    def notify_queue(self) -> None: ...

    def discard_backlog(self) -> None: ...

    def send_noop(self) -> None: ...

    def send_shutdown_notice(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ("", State.OPEN),
        ("sent", State.OPEN),
        ("eof", State.INPUT_ENDED),
        ("eof sent", State.INPUT_ENDED),
        ("breaks", State.BROKEN),
        ("closes", State.GONE),
        ("eof breaks", State.GONE),
        ("over", State.CLOSING),
        ("over over", State.CLOSING),
        ("over eof", State.HALF_CLOSED),
        ("over sent", State.HALF_CLOSED),
        ("eof over", State.HALF_CLOSED),
        ("over breaks", State.CLOSED),
        ("over eof closes", State.CLOSED),
        ("breaks over", State.CLOSED),
        ("closes over", State.CLOSED),
    ],
)
def test_each_event_leads_to_the_state_in_the_table(events: str, state: State) -> None:
    connection = FakeConnection()
    for event in events.split():
        connection.happen(event)
    assert connection._state is state
    assert connection.is_open is ("over" not in events)
    assert connection.is_gone is (state in {State.BROKEN, State.GONE})
    assert connection.has_eof is events.startswith(("eof", "breaks", "closes"))
    assert connection.output.calls.count("drop_callbacks") == (state is State.CLOSED)
    assert not connection.memory.closed


@pytest.mark.parametrize("events", ["over eof sent", "over sent eof", "eof over sent"])
def test_transport_is_closed_when_both_directions_are(events: str) -> None:
    connection = FakeConnection()
    for event in events.split():
        connection.happen(event)
    assert connection.memory.closed


@pytest.mark.parametrize(("event", "reason"), [("eof", ""), ("closes", ""), ("breaks", "connection lost")])
def test_only_a_broken_connection_is_a_reason(event: str, reason: str) -> None:
    connection = FakeConnection()
    connection.happen(event)
    connection.happen("over")
    assert connection.reason == reason
    assert not connection.has_timers


def test_lost_connection_is_in_the_backlog_until_its_session_is_over() -> None:
    connection = FakeConnection()
    connection.happen("breaks")
    assert connection not in connection.connections
    assert connection.connections._backlog
    connection.happen("over")
    assert not connection.connections._backlog
    assert connection.output.calls == ["connection_lost", "drop_callbacks"]


def test_connection_whose_session_is_over_is_drained() -> None:
    connection = FakeConnection()
    connection.happen("over")
    assert connection.drain().called
