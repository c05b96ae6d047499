"""Deadlines depend neither on the wall clock nor on a pause of the process, and turns stay short."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from select import select
from threading import Thread
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from broadcast.server import reactor as reactor_module
from broadcast.server.reactor import CLEAN_UP_SECONDS, call_last, shorten_turns, use_monotonic_clock
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


EpollReactor: TypeAlias = Any
"""Twisted's reactor for Linux, which has no types."""
Pairs: TypeAlias = list[tuple[socket.socket, socket.socket]]


class Reader:
    """One end of a connection in which a byte waits. It records in *served* that it was served, and does not read."""

    def __init__(self, end: socket.socket, served: list[int]) -> None:
        self.fileno = end.fileno
        self._served = served

    def doRead(self) -> None:  # noqa: N802 -- Twisted's name
        self._served.append(self.fileno())

    def logPrefix(self) -> str:  # noqa: N802
        return "reader"


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """Return connections."""
    pairs = [socket.socketpair() for _ in range(5)]
    yield pairs
    for near, far in pairs:
        near.close()
        far.close()


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the reactor."""
    return Clock()


@pytest.fixture
def reactor(clock: Clock, pairs: Pairs) -> Iterator[EpollReactor]:
    """Return a reactor with short turns."""
    if sys.platform != "linux":
        pytest.skip("only Linux has epoll")
    from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 -- on Linux only

    reactor: EpollReactor = EPollReactor()  # type: ignore[no-untyped-call]
    reactor.seconds = clock.seconds
    shorten_turns(reactor)
    yield reactor
    reactor.removeAll()
    reactor.waker.connectionLost(None)  # closes its pipe


def test_connections_are_served_in_turn(monkeypatch: pytest.MonkeyPatch, reactor: EpollReactor, pairs: Pairs) -> None:
    monkeypatch.setattr(reactor_module, "MAX_EVENTS", 2)
    served: list[int] = []
    readers = [Reader(near, served) for near, _far in pairs]
    for reader, (_near, far) in zip(readers, pairs, strict=True):
        reactor.addReader(reader)
        far.send(b"x")
    for turn in range(1, 6):
        reactor.doIteration(0)
        assert len(served) == 2 * turn
    assert {served.count(reader.fileno()) for reader in readers} == {2}


def test_connection_that_another_one_has_closed_is_not_served(reactor: EpollReactor, pairs: Pairs) -> None:
    served: list[int] = []

    class Closer(Reader):
        def doRead(self) -> None:  # noqa: N802
            super().doRead()
            reactor.removeAll()

    for near, far in pairs:
        reactor.addReader(Closer(near, served))
        far.send(b"x")
    reactor.doIteration(0)
    assert len(served) == 1


class Ending:
    """A connection that has ended. Each clean-up takes a time slice, and is recorded in *events*, as is the end."""

    def __init__(self, end: socket.socket, clock: Clock, events: list[str], *, clean: bool = False) -> None:
        self.fileno = end.fileno
        self.disconnected = self._writeDisconnected = False
        self._clock = clock
        self._events = events
        self._end = CONNECTION_DONE if clean else CONNECTION_LOST

    def doRead(self) -> Exception:  # noqa: N802 -- Twisted's name
        self._events.append("found")
        return self._end

    def connectionLost(self, reason: Failure) -> None:
        self.disconnected = True
        self._events.append("lost" if isinstance(reason.value, ConnectionLost) else "done")
        self._clock.advance(CLEAN_UP_SECONDS)

    def logPrefix(self) -> str:  # noqa: N802
        return "ending"


def end_all(
    reactor: EpollReactor, pairs: Pairs, clock: Clock, *, clean: bool = False
) -> tuple[list[Ending], list[str]]:
    """Return connections that have all ended, and the record of what happens to them."""
    events: list[str] = []
    ending = [Ending(near, clock, events, clean=clean) for near, _far in pairs]
    for connection, (_near, far) in zip(ending, pairs, strict=True):
        reactor.addReader(connection)
        far.send(b"x")
    return ending, events


@pytest.mark.parametrize("clean", [False, True])
def test_turn_cleans_up_after_ended_connections_for_one_slice(
    reactor: EpollReactor, clock: Clock, pairs: Pairs, clean: bool
) -> None:
    _ending, events = end_all(reactor, pairs, clock, clean=clean)
    for _ in range(5):
        reactor.doIteration(None)  # returns at once
    assert events == ["found"] * 5 + ["done" if clean else "lost"] * 5
    assert reactor.getReaders() == [reactor.waker]


def test_connections_with_events_are_served_before_ended_ones_are_cleaned_up(
    monkeypatch: pytest.MonkeyPatch, reactor: EpollReactor, clock: Clock, pairs: Pairs
) -> None:
    monkeypatch.setattr(reactor_module, "MAX_EVENTS", 2)
    monkeypatch.setattr(reactor_module, "CLEAN_UP_SECONDS", 1.0)
    _ending, events = end_all(reactor, pairs, clock)
    turns = []
    for _ in range(3):
        reactor.doIteration(0)
        turns.append(events[:])
        events.clear()
    assert turns == [["found", "found", "lost"], ["found", "found", "lost"], ["found", "lost", "lost", "lost"]]


def test_connection_that_is_aborted_before_the_clean_up_is_lost_once(
    reactor: EpollReactor, clock: Clock, pairs: Pairs
) -> None:
    ending, events = end_all(reactor, pairs[:2], clock)
    reactor.doIteration(0)
    for connection in ending:
        connection.disconnected = True
    reactor.doIteration(0)
    assert events == ["found", "found", "lost"]


def test_ended_connection_is_watched_only_for_output_that_can_still_be_sent(
    reactor: EpollReactor, clock: Clock, pairs: Pairs
) -> None:
    broken, _events = end_all(reactor, pairs[:2], clock)
    half_closed, _events = end_all(reactor, pairs[2:], clock, clean=True)
    for connection in broken + half_closed:
        reactor.addWriter(connection)
    reactor.doIteration(0)  # cleans up after the first one
    assert set(reactor.getWriters()) == set(half_closed)
    assert [connection._writeDisconnected for connection in broken + half_closed] == [True, True, False, False, False]


def test_connection_whose_end_is_read_twice_is_lost_once(reactor: EpollReactor, clock: Clock, pairs: Pairs) -> None:
    ending, events = end_all(reactor, pairs[:2], clock)
    reactor.doIteration(0)  # cleans up after the first one
    for connection in ending:
        if not connection.disconnected:
            reactor.addReader(connection)
    for _ in range(2):
        reactor.doIteration(0)
    assert events == ["found", "found", "lost", "found", "lost"]


def test_both_sides_of_a_broken_connection_learn_of_its_end(reactor: EpollReactor) -> None:
    lost: list[Protocol] = []

    class Peer(Protocol):
        def connectionLost(self, reason: Failure = connectionDone) -> None:
            lost.append(self)

    class Breaking(Peer):
        def connectionMade(self) -> None:
            cast("ITCPTransport", self.transport).abortConnection()

    port = reactor.listenTCP(0, Factory.forProtocol(Breaking), interface="127.0.0.1")
    reactor.connectTCP("127.0.0.1", port.getHost().port, ClientFactory.forProtocol(Peer))
    for _ in range(1000):
        if len(lost) == 2:
            break
        reactor.runUntilCurrent()
        reactor.doIteration(0.1)
    port.stopListening()
    reactor.runUntilCurrent()
    assert len(lost) == 2


def test_second_call_changes_nothing(reactor: EpollReactor, clock: Clock, pairs: Pairs) -> None:
    before = dict(vars(reactor))
    shorten_turns(reactor)
    assert vars(reactor) == before
    _ending, events = end_all(reactor, pairs[:1], clock)
    reactor.doIteration(0)
    assert events == ["found", "lost"]


def test_log_names_the_connection_in_which_an_error_happened(reactor: EpollReactor, pairs: Pairs) -> None:
    class Faulty(Reader):
        def doRead(self) -> None:  # noqa: N802
            raise ValueError

        def connectionLost(self, reason: object) -> None:
            raise KeyError

    (near, far), (other, other_far), *_ = pairs
    served: list[int] = []
    for reader, end in ((Faulty(near, []), far), (Reader(other, served), other_far)):
        reactor.addReader(reader)
        end.send(b"x")
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(cast("ILogObserver", events.append))
    try:
        reactor.doIteration(0)
    finally:
        globalLogPublisher.removeObserver(cast("ILogObserver", events.append))
    assert served == [other.fileno()]
    assert [event["log_system"] for event in events] == ["reader", "reader"]


def test_call_of_another_thread_ends_the_wait_of_the_reactor(reactor: EpollReactor) -> None:
    called: list[str] = []
    thread = Thread(target=reactor.callFromThread, args=(called.append, "call"))
    thread.start()
    while not called:  # the call comes before the wait, or ends it
        reactor.runUntilCurrent()
        if not called:
            reactor.doIteration(None)
    thread.join(60)


def test_reactor_that_does_not_wait_is_not_woken(reactor: EpollReactor) -> None:
    called: list[str] = []
    reactor.callFromThread(called.append, "call")
    assert select([reactor.waker], [], [], 0)[0] == []
    reactor.doIteration(None)  # returns at once
    reactor.runUntilCurrent()
    assert called == ["call"]


def test_reactor_without_epoll_stays_as_it_is() -> None:
    for reactor in (SimpleNamespace(), SimpleNamespace(_poller=object())):
        before = dict(vars(reactor))
        shorten_turns(reactor)
        assert vars(reactor) == before


def test_last_calls_of_a_turn_follow_those_that_were_scheduled_later(reactor: EpollReactor) -> None:
    called: list[str] = []
    call_soon = call_last(reactor)

    def work() -> None:
        called.append("work")
        call_soon(work)

    call_soon(work)
    reactor.callFromThread(called.append, "line 1")
    reactor.runUntilCurrent()
    reactor.callFromThread(called.append, "line 2")
    reactor.runUntilCurrent()
    assert called == ["line 1", "work", "line 2", "work"]
