"""The dead peer detector closes connections whose peer answers nothing, and no others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock

from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.net.keepalive import CHECKS_PER_SLICE, Connection, DeadPeerDetector
from broadcast.net.tcp_info import KeepalivePolicy, TcpInfo
from tests.platforms import needs_unix_sockets

POLICY = KeepalivePolicy(60, 150)


class FakeTransport:
    """A transport that has a socket."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle
        self.aborted = False

    def getHandle(self) -> socket.socket:  # noqa: N802 -- Twisted's name
        return self.handle

    def abortConnection(self) -> None:
        self.aborted = True


class FakeConnection:
    """A connection with the TCP counters that the system reports."""

    def __init__(self, handle: socket.socket) -> None:
        self.transport = FakeTransport(handle)
        self.heard_from = True
        self.must_answer = False
        self.noops = 0
        self.tcp_info: TcpInfo | None = TcpInfo(closed=False, sent=0, received=0)
        self.checks = 0

    def send_noop(self) -> None:
        self.noops += 1

    @property
    def aborted(self) -> bool:
        return self.transport.aborted

    def count(self, sent: int = 0, received: int = 0) -> None:
        """Add to the numbers of segments."""
        assert self.tcp_info is not None
        old = self.tcp_info
        self.tcp_info = TcpInfo(old.closed, (old.sent + sent) % 2**32, (old.received + received) % 2**32)


_connection: type[Connection] = FakeConnection


class TickingClock(Clock):
    """A clock that moves by *tick* seconds each time it is read."""

    tick = 0.0

    def seconds(self) -> float:
        self.rightNow: float = self.rightNow + self.tick
        return self.rightNow


class Setup:
    """A running detector and its connections."""

    def __init__(self, policy: KeepalivePolicy = POLICY) -> None:
        self.clock = TickingClock()
        self.clock.advance(1000)
        self.calls: list[Callable[[], None]] = []
        self.connections: set[FakeConnection] = set()
        self.sockets: list[socket.socket] = []
        self.detector = DeadPeerDetector(self.connections, policy, self._tcp_info, self.clock, self.calls.append)
        self.detector.start()

    def _tcp_info(self, handle: socket.socket) -> TcpInfo | None:
        (connection,) = [each for each in self.connections if each.transport.handle is handle]
        connection.checks += 1
        return connection.tcp_info

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> FakeConnection:
        self.sockets.append(socket.socket(family))
        connection = FakeConnection(self.sockets[-1])
        self.connections.add(connection)
        return connection

    def wait(self, seconds: float, before_sweep: Callable[[float], None] = lambda _elapsed: None) -> None:
        """Let time pass with its sweeps, and call *before_sweep* with the seconds elapsed before each."""
        start = self.clock.rightNow
        while (due := self.next_sweep) is not None and due <= start + seconds:
            before_sweep(due - start)
            self.start_sweep()
            self.run_calls()
        self.clock.advance(start + seconds - self.clock.rightNow)

    @property
    def next_sweep(self) -> float | None:
        """The time of the next sweep, or None."""
        return next((call.getTime() for call in self.clock.getDelayedCalls()), None)

    def start_sweep(self) -> None:
        """Let time pass until the next sweep starts."""
        assert self.next_sweep is not None
        self.clock.advance(max(0.0, self.next_sweep - self.clock.rightNow))

    def run_calls(self) -> None:
        while self.calls:
            self.calls.pop(0)()


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    for handle in setup.sockets:
        handle.close()


@pytest.fixture
def ann(setup: Setup) -> FakeConnection:
    """A connection that has been checked once."""
    ann = setup.connect()
    setup.start_sweep()
    setup.run_calls()
    return ann


# Dead peers


def test_peer_that_answers_nothing_is_aborted_in_time_and_not_before(setup: Setup, ann: FakeConnection) -> None:
    aborted_after: list[float] = []

    def send_unanswered_segment(elapsed: float) -> None:
        if ann.aborted:
            aborted_after.append(elapsed)
        ann.count(sent=1)

    setup.wait(POLICY.gone, send_unanswered_segment)
    assert POLICY.gone * 0.8 <= aborted_after[0] <= POLICY.gone


def test_idle_peer_is_not_aborted(setup: Setup, ann: FakeConnection) -> None:
    """The peer answers keepalives; without keepalives the counters do not move."""
    setup.wait(7 * POLICY.gone, lambda _elapsed: ann.count(sent=1, received=1))
    setup.wait(7 * POLICY.gone)
    assert not ann.aborted


def test_peer_that_reads_nothing_but_answers_some_window_probes_is_not_aborted(
    setup: Setup, ann: FakeConnection
) -> None:
    """Linux before 6.15 sends a window probe only every two minutes, and one probe may be lost."""
    for _ in range(20):
        setup.wait(120)
        ann.count(sent=1)
        setup.wait(119)
        assert not ann.aborted
        ann.count(sent=1)
        setup.wait(1)
        ann.count(received=1)
    assert not ann.aborted


def test_peer_is_aborted_after_the_second_unanswered_window_probe(setup: Setup, ann: FakeConnection) -> None:
    for _ in range(2):
        setup.wait(120)
        ann.count(sent=1)
    setup.wait(POLICY.sweep_interval)
    assert not ann.aborted, "the answer may be on its way"
    setup.wait(POLICY.sweep_interval)
    assert ann.aborted


def test_segments_sent_before_the_last_answer_do_not_count(setup: Setup, ann: FakeConnection) -> None:
    """Many segments that were sent together are lost together."""
    ann.count(sent=100, received=1)
    setup.wait(3 * POLICY.gone)
    assert not ann.aborted


def test_counters_may_wrap_around(setup: Setup, ann: FakeConnection) -> None:
    ann.count(sent=2**32 - 1, received=2**32 - 1)
    setup.wait(POLICY.sweep_interval)
    setup.wait(POLICY.gone, lambda _elapsed: ann.count(sent=1, received=1))
    assert not ann.aborted
    ann.tcp_info = TcpInfo(closed=False, sent=2**32 - 1, received=0)
    setup.wait(POLICY.sweep_interval)
    ann.count(sent=2)
    setup.wait(POLICY.gone)
    assert ann.aborted


def test_clock_jump_aborts_nobody(setup: Setup, ann: FakeConnection) -> None:
    """While the machine slept, nothing was sent, so nothing went unanswered."""
    setup.wait(POLICY.gone, lambda _elapsed: ann.count(sent=1, received=1))
    setup.clock.rightNow += 3600
    setup.wait(POLICY.sweep_interval)
    ann.count(sent=1)
    setup.wait(POLICY.sweep_interval)
    assert not ann.aborted


def test_closed_connection_is_aborted_at_the_next_sweep(setup: Setup, ann: FakeConnection) -> None:
    """The reactor notices a reset only on a connection that it reads from or writes to."""
    ann.tcp_info = TcpInfo(closed=True, sent=0, received=0)
    bob = setup.connect()
    bob.tcp_info = TcpInfo(closed=True, sent=0, received=5)
    setup.wait(POLICY.sweep_interval)
    assert ann.aborted
    assert bob.aborted


@needs_unix_sockets
def test_connection_without_tcp_information_is_not_aborted(setup: Setup, ann: FakeConnection) -> None:
    ann.tcp_info = None
    local = setup.connect(socket.AF_UNIX)
    setup.wait(7 * POLICY.gone)
    assert not ann.aborted
    assert (local.checks, local.aborted, local.noops > 0) == (0, False, True)


# Keepalives


def test_silent_connection_is_probed_by_the_system_and_sent_no_ops(setup: Setup, ann: FakeConnection) -> None:
    assert ann.transport.handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for seconds, noops in (
        (POLICY.probe - 1, 0),
        (POLICY.sweep_interval, 1),
        (3 * (POLICY.probe + POLICY.sweep_interval), 4),
    ):
        setup.wait(seconds)
        assert ann.noops == noops


def test_active_connection_is_sent_no_no_ops(setup: Setup, ann: FakeConnection) -> None:
    def receive_every_30_seconds(elapsed: float) -> None:
        if elapsed % 30 == 0:
            ann.heard_from = True

    setup.wait(600, receive_every_30_seconds)
    assert ann.noops == 0


def test_peer_that_must_answer_and_does_not_is_aborted_in_time_and_not_before(
    setup: Setup, ann: FakeConnection
) -> None:
    ann.must_answer = True
    ann.tcp_info = None  # a proxy acknowledges everything
    setup.wait(POLICY.dead_after - POLICY.sweep_interval)
    assert ann.noops == 2
    assert not ann.aborted
    setup.wait(2 * POLICY.sweep_interval)
    assert ann.aborted


def test_peer_that_answers_is_not_aborted(setup: Setup, ann: FakeConnection) -> None:
    ann.must_answer = True

    def answer(_elapsed: float) -> None:
        ann.heard_from, ann.noops = ann.noops > 0, 0

    setup.wait(10 * POLICY.gone, answer)
    assert not ann.aborted


def test_time_in_which_a_peer_did_not_have_to_answer_does_not_count(setup: Setup, ann: FakeConnection) -> None:
    setup.wait(10 * POLICY.gone)
    ann.must_answer = True
    setup.wait(POLICY.dead_after - POLICY.sweep_interval)
    assert not ann.aborted


# Sweeps


def test_sweep_takes_several_turns_and_skips_lost_connections(setup: Setup) -> None:
    connections = [setup.connect() for _ in range(5 * CHECKS_PER_SLICE // 2)]
    setup.clock.tick = SLICE_SECONDS
    setup.start_sweep()
    checks = [sum(connection.checks for connection in connections)]
    setup.connections -= {connection for connection in connections if not connection.checks}
    setup.start_sweep()  # does nothing, because the previous sweep is not finished
    while setup.calls:
        setup.calls.pop(0)()
        checks.append(sum(connection.checks for connection in connections))
    assert checks == [CHECKS_PER_SLICE] * 4, "the later slices find only lost connections"
    setup.start_sweep()
    setup.run_calls()
    assert [each.checks for each in connections if each in setup.connections] == [2] * CHECKS_PER_SLICE


def test_failed_check_does_not_prevent_the_others(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = [setup.connect() for _ in range(3)]
    check = setup.detector._check

    def fail_for_first(connection: FakeConnection, now: float) -> None:
        if connection is connections[0]:
            raise RuntimeError
        check(connection, now)

    monkeypatch.setattr(setup.detector, "_check", fail_for_first)
    failures = 0
    for _ in range(2):
        calls = [setup.start_sweep]
        while calls:
            try:
                calls.pop()()
            except RuntimeError:
                failures += 1
            calls += setup.calls
            setup.calls.clear()
    assert failures == 2
    assert [connection.checks for connection in connections] == [0, 2, 2]


def test_state_of_lost_connections_is_dropped(setup: Setup, ann: FakeConnection) -> None:
    setup.connections.clear()
    setup.wait(POLICY.sweep_interval)
    assert not setup.detector._states
    assert not setup.detector._previous_states


def test_stop_ends_a_sweep_between_slices(setup: Setup) -> None:
    connections = [setup.connect() for _ in range(2 * CHECKS_PER_SLICE)]
    setup.clock.tick = SLICE_SECONDS
    setup.start_sweep()
    setup.detector.stop()
    setup.run_calls()
    assert sum(connection.checks for connection in connections) == CHECKS_PER_SLICE
    assert setup.next_sweep is None


def test_detector_without_a_probe_interval_does_not_start() -> None:
    setup = Setup(KeepalivePolicy(0, 150))
    assert setup.next_sweep is None
    setup.detector.stop()
