"""Who is silent is probed; who does not answer at all is gone; nobody else is, whatever they do or do not do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock

from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.net.keepalive import CHECKS_PER_SLICE, Connection, DeadPeerDetector
from broadcast.net.tcp_info import KeepalivePolicy, TcpInfo

PATIENCE = KeepalivePolicy(60, 150)


class FakeTransport:
    """What a door has below it: a socket of whatever family."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle
        self.aborted = False

    def getHandle(self) -> socket.socket:  # noqa: N802 -- Twisted's name
        return self.handle

    def abortConnection(self) -> None:
        self.aborted = True


class FakeConnection:
    """A connection, and what the system would say of it."""

    def __init__(self, handle: socket.socket) -> None:
        self.transport = FakeTransport(handle)
        self.heard_from = True
        self.nudges = 0
        self.vitals: TcpInfo | None = TcpInfo(closed=False, sent=0, received=0)
        self.looks = 0

    def send_noop(self) -> None:
        self.nudges += 1

    @property
    def gone(self) -> bool:
        """Whether it was ended."""
        return self.transport.aborted

    def move(self, sent: int = 0, received: int = 0) -> None:
        """So many segments more."""
        assert self.vitals is not None
        self.vitals = TcpInfo(
            self.vitals.closed, (self.vitals.sent + sent) % 2**32, (self.vitals.received + received) % 2**32
        )


_connection: type[Connection] = FakeConnection


class TickingClock(Clock):
    """Time passes when somebody looks at it, too."""

    tick = 0.0

    def seconds(self) -> float:
        self.rightNow: float = self.rightNow + self.tick
        return self.rightNow


class Ward:
    """A heartbeat, and those whom it looks after."""

    def __init__(self, patience: KeepalivePolicy = PATIENCE) -> None:
        self.clock = TickingClock()
        self.clock.advance(1000)
        self.soon: list[Callable[[], None]] = []
        self.people: set[FakeConnection] = set()
        self.sockets: list[socket.socket] = []
        self.heartbeat = DeadPeerDetector(self.people, patience, self.vitals, self.clock, self.soon.append)
        self.heartbeat.start()

    def vitals(self, handle: socket.socket) -> TcpInfo | None:
        for person in self.people:
            if person.transport.handle is handle:
                person.looks += 1
                return person.vitals
        raise AssertionError("somebody who has left was looked at")

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> FakeConnection:
        self.sockets.append(socket.socket(family))
        person = FakeConnection(self.sockets[-1])
        self.people.add(person)
        return person

    def wait(self, seconds: float, meanwhile: Callable[[float], None] = lambda _at: None) -> None:
        """Let time pass, and the sweeps happen; *meanwhile* is told how much has passed before each."""
        began = self.clock.rightNow
        while (due := self.next_beat) is not None and due <= began + seconds:
            meanwhile(due - began)
            self.beat()
            self.settle()
        self.clock.advance(began + seconds - self.clock.rightNow)

    @property
    def next_beat(self) -> float | None:
        """When the next sweep begins; None: never."""
        return next((call.getTime() for call in self.clock.getDelayedCalls()), None)

    def beat(self) -> None:
        """Let time pass until the next sweep begins."""
        assert self.next_beat is not None
        self.clock.advance(max(0.0, self.next_beat - self.clock.rightNow))

    def settle(self) -> None:
        while self.soon:
            self.soon.pop(0)()


@pytest.fixture
def wards() -> Iterator[Callable[[], Ward]]:
    """Makes them."""
    made: list[Ward] = []

    def make() -> Ward:
        made.append(Ward())
        return made[-1]

    yield make
    for ward in made:
        for handle in ward.sockets:
            handle.close()


@pytest.fixture
def ward(wards: Callable[[], Ward]) -> Ward:
    """One."""
    return wards()


@pytest.fixture
def ann(ward: Ward) -> FakeConnection:
    """Somebody in it, who was looked at once."""
    ann = ward.connect()
    ward.beat()
    ward.settle()
    return ann


# Who is gone


def test_who_answers_nothing_is_gone_in_time_and_not_before(ward: Ward, ann: FakeConnection) -> None:
    gone_at: list[float] = []

    def look(passed: float) -> None:
        if ann.gone and not gone_at:
            gone_at.append(passed)
        ann.move(sent=1)

    ward.wait(PATIENCE.gone, look)
    assert PATIENCE.gone * 0.8 <= gone_at[0] <= PATIENCE.gone


def test_who_is_idle_stays_for_ever(ward: Ward, ann: FakeConnection) -> None:
    """Nothing is sent to them but keepalives, which they answer; and where there are none, nothing is known."""
    ward.wait(7 * PATIENCE.gone, lambda _at: ann.move(sent=1, received=1))
    ward.wait(7 * PATIENCE.gone)
    assert not ann.gone


def test_who_reads_nothing_but_answers_now_and_then_stays(ward: Ward, ann: FakeConnection) -> None:
    """Linux before 6.15 asks only every two minutes whether there is room: one question may get lost."""
    for _ in range(20):
        ward.wait(120)
        ann.move(sent=1)
        ward.wait(119)
        assert not ann.gone
        ann.move(sent=1)
        ward.wait(1)
        ann.move(received=1)
    assert not ann.gone


def test_who_reads_nothing_and_answers_nothing_is_gone_after_the_second_question(
    ward: Ward, ann: FakeConnection
) -> None:
    for _ in range(2):
        ward.wait(120)
        ann.move(sent=1)
    ward.wait(PATIENCE.sweep_interval)
    assert not ann.gone, "the answer may be on its way"
    ward.wait(PATIENCE.sweep_interval)
    assert ann.gone


def test_what_went_in_front_of_the_first_look_counts_for_nothing(ward: Ward, ann: FakeConnection) -> None:
    """Many segments of one burst are lost together."""
    ann.move(sent=100, received=1)
    ward.wait(3 * PATIENCE.gone)
    assert not ann.gone


def test_the_counters_of_the_system_may_run_over(ward: Ward, ann: FakeConnection) -> None:
    ann.move(sent=2**32 - 1, received=2**32 - 1)
    ward.wait(PATIENCE.sweep_interval)
    ward.wait(PATIENCE.gone, lambda _at: ann.move(sent=1, received=1))
    assert not ann.gone
    ann.move(sent=2**32 - 1, received=1)
    ward.wait(PATIENCE.sweep_interval)
    ann.move(sent=2)
    ward.wait(PATIENCE.gone)
    assert ann.gone


def test_a_clock_that_leaps_ends_nobody(ward: Ward, ann: FakeConnection) -> None:
    """The machine slept: nothing was sent meanwhile, so nothing was in vain."""
    ward.wait(PATIENCE.gone, lambda _at: ann.move(sent=1, received=1))
    ward.clock.rightNow += 3600
    ward.wait(PATIENCE.sweep_interval)
    ann.move(sent=1)
    ward.wait(PATIENCE.sweep_interval)
    assert not ann.gone


def test_a_connection_that_has_ended_unnoticed_is_ended(ward: Ward, ann: FakeConnection) -> None:
    """The reactor notices only what it reads from or writes to."""
    ann.vitals = TcpInfo(closed=True, sent=0, received=0)
    ward.wait(PATIENCE.sweep_interval)
    assert ann.gone
    bob = ward.connect()
    bob.vitals = TcpInfo(closed=True, sent=0, received=5)
    ward.wait(PATIENCE.sweep_interval)
    assert bob.gone


def test_where_the_system_tells_nothing_nobody_is_ended(ward: Ward, ann: FakeConnection) -> None:
    ann.vitals = None
    ward.wait(7 * PATIENCE.gone)
    assert not ann.gone


def test_a_socket_of_this_machine_is_left_alone(ward: Ward) -> None:
    ann = ward.connect(socket.AF_UNIX)
    ward.wait(PATIENCE.gone)
    assert (ann.looks, ann.gone, ann.nudges > 0) == (0, False, True)


def test_a_new_connection_is_probed_by_the_system(ward: Ward, ann: FakeConnection) -> None:
    assert ann.transport.handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# Who is nudged


def test_who_is_silent_is_nudged_again_and_again(ward: Ward, ann: FakeConnection) -> None:
    ward.wait(PATIENCE.probe - 1)
    nudges = [ann.nudges]
    ward.wait(PATIENCE.sweep_interval)
    nudges.append(ann.nudges)
    ward.wait(3 * (PATIENCE.probe + PATIENCE.sweep_interval))
    nudges.append(ann.nudges)
    assert nudges == [0, 1, 4]


def test_who_types_is_not_nudged(ward: Ward, ann: FakeConnection) -> None:
    def type_now_and_then(passed: float) -> None:
        if passed % 30 == 0:
            ann.heard_from = True

    ward.wait(600, type_now_and_then)
    assert ann.nudges == 0


# The sweep


def test_it_goes_on_for_as_many_turns_as_it_takes_and_skips_who_leaves_meanwhile(wards: Callable[[], Ward]) -> None:
    ward = wards()
    people = [ward.connect() for _ in range(5 * CHECKS_PER_SLICE // 2)]
    ward.clock.tick = SLICE_SECONDS
    ward.beat()
    turns = [sum(person.looks for person in people)]
    ward.people -= {person for person in people if not person.looks}
    ward.beat()  # one at a time: this one comes too early
    while ward.soon:
        ward.soon.pop(0)()
        turns.append(sum(person.looks for person in people))
    assert turns == [CHECKS_PER_SLICE] * 4, "the last one finds nobody left"
    ward.beat()
    ward.settle()
    assert [person.looks for person in people if person in ward.people] == [2] * CHECKS_PER_SLICE


def test_whoever_cannot_be_looked_at_the_others_are(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [ward.connect() for _ in range(3)]
    look = ward.heartbeat._check

    def fail(connection: FakeConnection, now: float) -> None:
        if connection is people[0]:
            raise RuntimeError("a look")
        look(connection, now)

    monkeypatch.setattr(ward.heartbeat, "_check", fail)
    failed = 0
    for _ in range(2):
        turns = [ward.beat]
        while turns:
            try:
                turns.pop()()
            except RuntimeError:
                failed += 1
            turns += ward.soon
            ward.soon.clear()
    assert failed == 2
    assert [person.looks for person in people] == [0, 2, 2]


def test_those_who_have_left_are_forgotten(ward: Ward, ann: FakeConnection) -> None:
    ward.people.clear()
    ward.wait(PATIENCE.sweep_interval)
    assert not ward.heartbeat._states
    assert not ward.heartbeat._previous_states


def test_it_stops_in_the_middle(wards: Callable[[], Ward]) -> None:
    ward = wards()
    people = [ward.connect() for _ in range(2 * CHECKS_PER_SLICE)]
    ward.clock.tick = SLICE_SECONDS
    ward.beat()
    ward.heartbeat.stop()
    ward.settle()
    assert sum(person.looks for person in people) == CHECKS_PER_SLICE
    assert ward.next_beat is None


def test_where_nobody_is_to_be_probed_it_does_not_begin() -> None:
    ward = Ward(KeepalivePolicy(0, 150))
    assert ward.next_beat is None
    ward.heartbeat.stop()
