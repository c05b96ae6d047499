"""Ports accept few connections in a turn, and leave most of the time to lines while people talk."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.tcp import Port

from broadcast.net.accept_pacing import (
    ACCEPT_SECONDS,
    MAX_PAUSE_SECONDS,
    PAUSE_FACTOR,
    QUIET_ACCEPTS,
    TALK_SECONDS,
    AcceptPacer,
)

COST = ACCEPT_SECONDS / 4
"""Seconds that a connection takes."""
BUSY_ACCEPTS = 4
"""Number of connections that a port accepts in one turn while people talk."""


class FakePort:
    """A port with *waiting* connections."""

    def __init__(self, clock: Clock, waiting: int = 0) -> None:
        self.waiting = waiting
        self.cost = COST
        self.numberAccepts = 100
        self.sessionno = 0
        self.connected = True
        self.disconnecting = False
        self.reading = True
        self._clock = clock

    def doRead(self) -> None:  # noqa: N802 -- Twisted's name
        accepted = min(self.waiting, self.numberAccepts)
        self.waiting -= accepted
        self.sessionno += accepted
        self._clock.rightNow += accepted * self.cost

    def startReading(self) -> None:  # noqa: N802 -- Twisted's name
        self.reading = True

    def stopReading(self) -> None:  # noqa: N802 -- Twisted's name
        self.reading = False


class Paced:
    """Two ports with the same pacer."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines = 0
        pacer = AcceptPacer(self.clock, self.clock.seconds, lambda: self.lines)
        self.port, self.other = FakePort(self.clock, 1000), FakePort(self.clock, 1000)
        for port in (self.port, self.other):
            pacer.install(cast(Port, port))

    def accepted(self, port: FakePort) -> int:
        """Let the reactor find *port* readable, and return the number of connections accepted in this turn."""
        before = port.sessionno
        port.doRead()
        return port.sessionno - before


@pytest.fixture
def paced() -> Paced:
    return Paced()


def test_quiet_room_accepts_without_a_pause(paced: Paced) -> None:
    assert [paced.accepted(paced.port) for _ in range(3)] == [QUIET_ACCEPTS] * 3
    assert paced.port.reading


def test_all_ports_pause_while_people_talk(paced: Paced) -> None:
    paced.lines = 1
    assert paced.accepted(paced.port) == BUSY_ACCEPTS
    assert not paced.port.reading
    assert paced.accepted(paced.other) == 0
    assert not paced.other.reading
    paced.clock.advance(PAUSE_FACTOR * ACCEPT_SECONDS - COST / 2)
    assert [port.reading for port in (paced.port, paced.other)] == [False, False]
    paced.clock.advance(COST)
    assert [port.reading for port in (paced.port, paced.other)] == [True, True]
    assert paced.accepted(paced.other) == BUSY_ACCEPTS


def test_pause_is_as_long_as_the_connections_that_waited_need(paced: Paced) -> None:
    paced.lines = 1
    paced.port.waiting = 1
    assert paced.accepted(paced.port) == 1
    paced.clock.advance(PAUSE_FACTOR * COST)
    assert paced.port.reading


def test_connection_that_takes_long_is_the_only_one_of_its_turn(paced: Paced) -> None:
    paced.lines = 1
    paced.port.cost = ACCEPT_SECONDS
    assert paced.accepted(paced.port) == 1


def test_arrivals_have_all_the_time_again_when_talk_ends(paced: Paced) -> None:
    paced.lines = 1
    paced.accepted(paced.port)
    paced.clock.advance(TALK_SECONDS)
    assert paced.accepted(paced.port) == QUIET_ACCEPTS


def test_time_of_other_processes_makes_no_pause_longer(paced: Paced) -> None:
    cpu_seconds = iter((1.0, 1.0 + COST, 1.0 + COST))
    accept = FakePort.doRead

    def stopped(port: FakePort) -> None:
        accept(port)
        paced.clock.rightNow += 60

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakePort, "doRead", stopped)
        late = FakePort(paced.clock, 1)
        AcceptPacer(paced.clock, lambda: next(cpu_seconds), lambda: 1).install(cast(Port, late))
        late.doRead()
    assert not late.reading
    paced.clock.advance(PAUSE_FACTOR * COST * 1.001)
    assert late.reading


def test_pause_has_a_limit(paced: Paced) -> None:
    cpu_seconds = iter((0.0, 60.0))
    port = FakePort(paced.clock, 1)
    AcceptPacer(paced.clock, lambda: next(cpu_seconds), lambda: 1).install(cast(Port, port))
    port.doRead()
    assert not port.reading
    paced.clock.advance(MAX_PAUSE_SECONDS)
    assert port.reading


def test_port_without_a_connection_is_not_touched(paced: Paced) -> None:
    """Its pause for lack of descriptors may be longer."""
    paced.lines = 1
    paced.port.waiting = 0
    paced.port.reading = False
    assert paced.accepted(paced.port) == 0
    paced.clock.advance(MAX_PAUSE_SECONDS)
    assert not paced.port.reading


def test_closed_port_does_not_read_again(paced: Paced) -> None:
    paced.lines = 1
    paced.accepted(paced.port)
    paced.port.connected = False
    paced.clock.advance(MAX_PAUSE_SECONDS)
    assert not paced.port.reading


class FakeIocpPort:
    """A port of the reactor IOCP with *waiting* connections, which accepts one after each request."""

    def __init__(self, clock: Clock, waiting: int) -> None:
        self.waiting = waiting
        self.accepted = 0
        self.asks = True
        """Whether the port has asked for a connection that has not come yet."""
        self.connected = True
        self.disconnecting = False
        self._clock = clock

    def turn(self) -> int:
        """Let the reactor handle the connections that come until the port asks for no more. Return their number."""
        before = self.accepted
        while self.asks and self.waiting:
            self.asks = False
            self.handleAccept(0, object())
            self.doAccept()
        return self.accepted - before

    def handleAccept(self, code: int, event: object) -> bool:  # noqa: N802 -- Twisted's name
        self.waiting -= 1
        self.accepted += 1
        self._clock.rightNow += COST
        return True

    def doAccept(self) -> None:  # noqa: N802 -- Twisted's name
        assert not self.asks
        self.asks = True


class PacedIocp:
    """Two ports of the reactor IOCP with the same pacer."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines = 0
        pacer = AcceptPacer(self.clock, self.clock.seconds, lambda: self.lines)
        self.port, self.other = FakeIocpPort(self.clock, 1000), FakeIocpPort(self.clock, 1000)
        for port in (self.port, self.other):
            pacer.install_iocp(port)


@pytest.fixture
def iocp() -> PacedIocp:
    return PacedIocp()


def test_quiet_iocp_port_goes_on_in_the_next_turn(iocp: PacedIocp) -> None:
    for _ in range(3):
        assert iocp.port.turn() == BUSY_ACCEPTS
        assert not iocp.port.asks
        iocp.clock.advance(0)


def test_all_iocp_ports_pause_while_people_talk(iocp: PacedIocp) -> None:
    iocp.lines = 1
    assert iocp.port.turn() == BUSY_ACCEPTS
    assert iocp.other.turn() == 1  # it had asked before
    iocp.clock.advance(PAUSE_FACTOR * ACCEPT_SECONDS - 2 * COST)
    assert [iocp.port.asks, iocp.other.asks] == [False, False]
    iocp.clock.advance(2 * COST)
    assert [iocp.port.asks, iocp.other.asks] == [True, True]


def test_few_connections_of_an_iocp_port_make_no_pause(iocp: PacedIocp) -> None:
    iocp.lines = 1
    iocp.port.waiting = BUSY_ACCEPTS - 1
    assert iocp.port.turn() == BUSY_ACCEPTS - 1
    assert iocp.port.asks


def test_closed_iocp_port_does_not_ask_again(iocp: PacedIocp) -> None:
    iocp.lines = 1
    iocp.port.turn()
    iocp.port.connected = False
    iocp.clock.advance(MAX_PAUSE_SECONDS)
    assert not iocp.port.asks
