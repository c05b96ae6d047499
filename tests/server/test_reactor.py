"""Deadlines depend neither on the wall clock nor on a pause of the process, and turns stay short."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.base import ReactorBase
from twisted.logger import formatEvent

from broadcast.server import reactor as reactor_module
from broadcast.server.reactor import limit_turns, use_monotonic_clock
from tests.harness import logged

NOON = 1_768_478_400.0
HOUR = 3600.0


class Reactor(ReactorBase):
    """A reactor with timed calls and without I/O."""

    def installWaker(self) -> None:  # noqa: N802 -- Twisted's name
        """Do nothing."""


class Clocks:
    """A wall clock, a monotonic clock, and a reactor that uses them."""

    def __init__(self) -> None:
        self.wall = NOON
        self.monotonic = 77.0
        self.reactor = Reactor()
        self.called: list[str] = []
        self.install()

    def install(self) -> None:
        use_monotonic_clock(cast(Any, self.reactor), lambda: self.wall, lambda: self.monotonic)

    def call_later(self, seconds: float, name: str) -> None:
        """Append *name* to ``called`` after *seconds*."""
        self.reactor.callLater(seconds, self.called.append, name)

    def run(self, seconds: float) -> None:
        """Advance both clocks second by second."""
        for _ in range(round(seconds)):
            self.advance(1)

    def advance(self, seconds: float) -> None:
        """Advance both clocks at once."""
        self.wall += seconds
        self.monotonic += seconds
        self.reactor.runUntilCurrent()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_deadline_does_not_depend_on_jumps_of_the_wall_clock(jump: float) -> None:
    clocks = Clocks()
    assert clocks.reactor.seconds() == NOON
    clocks.call_later(0, "at once")
    clocks.call_later(60, "in a minute")
    clocks.wall += jump
    clocks.advance(0)
    assert clocks.called == ["at once"]
    clocks.install()  # a second installation changes nothing
    clocks.run(59)
    assert clocks.called == ["at once"]
    clocks.run(1)
    assert clocks.called == ["at once", "in a minute"]


@pytest.mark.parametrize("pause", [4, 300, HOUR])
def test_deadline_does_not_count_the_time_in_which_the_process_was_stopped(pause: float) -> None:
    clocks = Clocks()
    clocks.call_later(60, "in a minute")
    clocks.run(58)
    with logged() as events:
        clocks.advance(pause)
        assert clocks.called == []
        clocks.run(1)
    assert clocks.called == ["in a minute"]
    assert [formatEvent(event) for event in events] == [
        f"The server stood still for {pause - 1:.0f} seconds. No deadline counts them."
    ]


def test_idle_reactor_is_not_a_stopped_process() -> None:
    clocks = Clocks()
    clocks.call_later(60, "in a minute")
    with logged() as events:
        for _ in range(60):
            clocks.advance(clocks.reactor.timeout() or 0)
    assert clocks.called == ["in a minute"]
    assert events == []


# Turns


class Reader:
    """One end of a connection in which a byte waits. It records in *served* that it was served, and does not read."""

    def __init__(self, end: socket.socket, served: list[int]) -> None:
        self.fileno = end.fileno
        self._served = served

    def doRead(self) -> None:  # noqa: N802 -- Twisted's name
        self._served.append(self.fileno())

    def logPrefix(self) -> str:  # noqa: N802
        return "reader"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has epoll")
def test_connections_are_served_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 -- on Linux only

    monkeypatch.setattr(reactor_module, "MAX_EVENTS", 2)
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
    limit_turns(reactor)
    pairs = [socket.socketpair() for _ in range(5)]
    served: list[int] = []
    try:
        readers = [Reader(near, served) for near, _far in pairs]
        for reader, (_near, far) in zip(readers, pairs, strict=True):
            reactor.addReader(reader)
            far.send(b"x")
        for turn in range(1, 6):
            reactor.doIteration(0)
            assert len(served) == 2 * turn
        assert {served.count(reader.fileno()) for reader in readers} == {2}
        for reader in readers:
            reactor.removeReader(reader)
    finally:
        reactor.removeAll()
        for near, far in pairs:
            near.close()
            far.close()


def test_reactor_without_epoll_stays_as_it_is() -> None:
    for reactor in (SimpleNamespace(), SimpleNamespace(_poller=object())):
        before = dict(vars(reactor))
        limit_turns(reactor)
        assert vars(reactor) == before
