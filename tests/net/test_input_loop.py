"""The input loop: lines wait for the session, the client, the rate limit and the turns of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from twisted.internet.task import Clock

from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.session import Session
from broadcast.net.connections import Connections
from broadcast.net.input_loop import LINES_PER_TURN, NOTICE_SECONDS, READ_AHEAD_BYTES, InputLoop
from tests.harness import MemoryTransport

LINE_BYTES = 16


class FakePeer:
    """A client that reads its replies or not."""

    congested = False


class FakeSession:
    """A session that is ready or not."""

    def __init__(self) -> None:
        self.ready = True
        self.peer = FakePeer()


class Setup:
    """A loop over lines, each of which counts toward the rate limit."""

    def __init__(self, limits: Limits) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport()
        self.session = FakeSession()
        self.connections = Connections(limits, self.clock)
        self.lines = 0
        self.handled = 0
        self.soon: list[Callable[[], None]] = []
        self.after_line: Callable[[], None] = lambda: None
        """Called after each line."""
        self.notices: list[int] = []
        """The number of lines that waited at each notice."""
        session = cast(Session, self.session)
        self.loop = InputLoop(session, self.transport, self.connections, self.clock, self.soon.append, self)

    @property
    def buffered_bytes(self) -> int:
        return self.lines * LINE_BYTES

    def notify_queue(self) -> None:
        self.notices.append(self.lines)

    def handle_line(self) -> bool:
        if self.lines == 0:
            return False
        self.lines -= 1
        self.handled += 1
        self.loop.consume()
        self.after_line()
        return True

    def receive(self, lines: int) -> int:
        """Receive *lines* more; return how many have been handled since the last call."""
        self.lines += lines
        self.handled = 0
        self.loop.run()
        return self.handled

    def turn(self) -> int:
        """Run a turn of the reactor, and return how many lines it handled."""
        self.handled = 0
        calls, self.soon[:] = list(self.soon), []
        for call in calls:
            call()
        return self.handled


@pytest.fixture
def setup() -> Setup:
    """A loop without a rate limit."""
    return Setup(DEFAULTS.without_client_limits())


def test_line_waits_while_the_session_is_busy(setup: Setup) -> None:
    def become_busy() -> None:
        setup.session.ready = False

    setup.after_line = become_busy
    assert setup.receive(3) == 1
    assert not setup.transport.reading
    assert setup.receive(0) == 0
    setup.session.ready = True
    assert setup.receive(0) == 1
    setup.session.ready, setup.after_line = True, lambda: None
    assert setup.receive(0) == 1
    assert setup.transport.reading


def test_line_waits_while_the_client_does_not_read(setup: Setup) -> None:
    setup.session.peer.congested = True
    assert setup.receive(1) == 0
    assert not setup.transport.reading
    assert setup.loop.drain().called, "the end of the server does not wait for it"
    setup.session.peer.congested = False
    assert setup.receive(0) == 1


def test_line_waits_while_the_client_is_above_its_rate_limit() -> None:
    setup = Setup(Limits(paste_lines=2, lines_per_second=1))
    assert setup.receive(5) == 2
    assert setup.connections.throttle_count == 1
    setup.clock.advance(0.9)
    assert setup.handled == 2
    setup.clock.advance(0.1)
    assert setup.handled == 3
    assert setup.loop.lift_throttle()
    assert not setup.loop.lift_throttle(), "nothing is delayed any longer"
    assert setup.receive(10) == 12
    assert not setup.clock.getDelayedCalls()


def test_transport_reads_ahead_until_enough_bytes_wait_for_the_rate_limit() -> None:
    setup = Setup(Limits(paste_lines=1, lines_per_second=1))
    most = READ_AHEAD_BYTES // LINE_BYTES
    assert (setup.receive(most), setup.transport.reading) == (1, True)
    assert (setup.receive(1), setup.transport.reading) == (0, False)
    setup.clock.advance(1)
    assert (setup.handled, setup.transport.reading) == (1, True)
    assert (setup.receive(1), setup.transport.reading) == (0, False)
    setup.loop.lift_throttle()
    setup.receive(0)
    while setup.soon:
        setup.turn()
    assert (setup.lines, setup.transport.reading) == (0, True)


def test_one_notice_tells_how_many_lines_wait_once_the_rest_of_a_paste_has_arrived() -> None:
    setup = Setup(Limits(paste_lines=2, lines_per_second=1))
    for _ in range(10):
        setup.receive(1)
    assert setup.notices == []
    setup.clock.advance(NOTICE_SECONDS)
    assert setup.notices == [8]
    setup.clock.pump([1] * 7)
    setup.receive(5)
    setup.clock.pump([1] * 20)
    assert (setup.lines, setup.notices) == (0, [8]), "one notice for a queue"
    setup.receive(9)
    setup.clock.advance(NOTICE_SECONDS)
    assert setup.notices == [8, 7]


def test_there_is_no_notice_if_the_queue_is_empty_or_over_before() -> None:
    setup = Setup(Limits(paste_lines=1, lines_per_second=10))
    setup.receive(2)
    setup.clock.pump([0.1, 0.1, 0.1])
    assert setup.lines == 0
    setup.receive(5)
    setup.loop.end()
    setup.clock.advance(NOTICE_SECONDS)
    assert setup.notices == []
    assert not setup.clock.getDelayedCalls()


def test_other_connections_have_their_turn(setup: Setup) -> None:
    assert setup.receive(LINES_PER_TURN * 2 + 1) == LINES_PER_TURN
    assert not setup.transport.reading
    assert setup.receive(1) == 0
    assert [setup.turn(), setup.turn(), setup.turn()] == [LINES_PER_TURN, 2, 0]
    assert setup.transport.reading


def test_nested_calls_handle_one_line_at_a_time(setup: Setup) -> None:
    handled: list[int] = []

    def run_again() -> None:
        before = setup.handled
        setup.loop.run()
        handled.append(setup.handled - before)

    setup.after_line = run_again
    assert setup.receive(3) == 3
    assert handled == [0, 0, 0]


def test_transport_is_left_alone_after_the_end_of_input(setup: Setup) -> None:
    setup.loop.end_input()
    setup.session.ready = False
    assert setup.receive(1) == 0
    assert setup.transport.reading
    setup.session.ready = True
    assert setup.receive(0) == 1


def test_no_line_is_handled_after_the_end_and_the_transport_reads() -> None:
    setup = Setup(Limits(paste_lines=1, lines_per_second=1))
    assert setup.receive(3) == 1
    drained = setup.loop.drain()
    assert setup.handled == 3, "draining lifts the rate limit"
    assert drained.called
    setup.loop.end()
    assert (setup.loop.ended, setup.receive(1), setup.transport.reading) == (True, 0, True)
    assert setup.loop.drain().called
    assert not setup.clock.getDelayedCalls()


def test_drain_waits_for_the_session(setup: Setup) -> None:
    setup.session.ready = False
    setup.receive(1)
    drained = setup.loop.drain()
    fired_before = bool(drained.called)
    setup.session.ready = True
    assert setup.receive(0) == 1
    assert (fired_before, bool(drained.called)) == (False, True)
    assert not setup.transport.reading
