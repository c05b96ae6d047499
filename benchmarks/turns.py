#!/usr/bin/env python3
"""How long the reactor's turns get when much happens at once: ``python benchmarks/turns.py [RUNS | --tiny]``.

Runs the server's classes, with the journal in memory, on a real reactor with real sockets (``socketpair``), and prints
the figures of ``docs/performance.rst``: for each case the longest turn and all turns together, in milliseconds of
processor time of the reactor's thread, system calls included. Medians of so many runs (5), each in a process of its
own, with the extremes. Processor time is also what the fan-out goes by here, so that other programs change nothing.
Python's garbage collector is part of the turns, and its longest run is also a figure of its own. Not counted in a turn
is what the script itself does to bring a case about. ``--tiny`` only shows that it all works.
"""

from __future__ import annotations

import gc
import platform
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from threading import Thread
from typing import Any, TypeAlias, cast

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IAddress
from twisted.internet.main import installReactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

import twisted
from broadcast.accounts.hashing import Hasher
from broadcast.core.accounts import Accounts, Authenticator
from broadcast.core.hub import Hub
from broadcast.core.limits import Limits
from broadcast.core.settings import Settings
from broadcast.delivery.dispatcher import Dispatcher
from broadcast.delivery.fanout import Fanout
from broadcast.doors.line.protocol import BroadcastFactory, BroadcastProtocol
from broadcast.journals.memory import MemoryJournal
from broadcast.net.connections import Connections
from broadcast.net.writers import writer_for
from broadcast.server.capacity import raise_file_limit
from broadcast.server.gc_pauses import GcPauseLimiter
from broadcast.server.reactor import shorten_turns

MANY = 9_000
"""Number of connections. Both ends fit into 20,000 files, a common limit of a process."""
TINY = 100
"""The tiny form divides every number by this."""
LINE = "x" * 60
QUIET_SECONDS = 0.5
"""Seconds with almost no work after which a case is over."""


class Watched(EPollReactor):
    """A reactor that measures the CPU time of its turns, in seconds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        shorten_turns(self)
        self.longest = self.total = self.collecting = 0.0
        self._last = time.thread_time()
        self._began = 0.0
        gc.callbacks.append(self._collect)

    def _collect(self, phase: str, _info: object) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.collecting = max(self.collecting, now - self._began)

    def runUntilCurrent(self) -> None:  # noqa: N802 - Twisted's name
        """Start a new turn, and record the one before."""
        self._end()
        super().runUntilCurrent()

    def _end(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.total += now - self._last
        self._last = now

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Exclude the work in this context from the turn."""
        before, last = time.thread_time(), self._last
        yield
        self._last = last + time.thread_time() - before

    def begin(self) -> None:
        """Reset all measurements."""
        self._end()
        self.longest = self.total = self.collecting = 0.0


class Doors(BroadcastFactory):
    """A factory that remembers its newest protocol."""

    newest: BroadcastProtocol

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ANN401 - as Twisted's
        """Build a protocol and remember it."""
        self.newest = cast(BroadcastProtocol, super().buildProtocol(addr))
        return self.newest


class Crowd:
    """A server and its clients, which read in a thread of their own once ``read`` was called."""

    def __init__(self, reactor: Watched, replay: int, scale: int) -> None:
        self.reactor = reactor
        self._scale = scale
        soon: Callable[[Callable[[], None]], object] = reactor.callFromThread
        fanout = Fanout(Dispatcher(soon, time.thread_time))
        settings = Settings(replay=replay, limits=Limits().without_client_limits())
        journal = MemoryJournal(soon)
        authenticator = Authenticator(Accounts(journal.records), Hasher(soon), time.monotonic, time.time, str)
        self.hub = Hub(journal, lambda: fanout, settings, reactor.seconds(), authenticator)
        connections = Connections(settings.limits, reactor)
        self.doors = Doors(self.hub, connections, reactor, soon, time.time, partial(writer_for, reactor))
        self.hub.open(lambda _room: None)
        GcPauseLimiter(connections, reactor.seconds).start()
        self._clients: dict[BroadcastProtocol, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        Thread(target=self._read, daemon=True).start()

    def some(self, count: int) -> int:
        """Return *count*, or less in the tiny form."""
        return max(count // self._scale, 2)

    def come(self, count: int) -> list[BroadcastProtocol]:
        """Open *count* connections without a nickname."""
        made = []
        for _ in range(count):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            cast(Any, self.reactor).adoptStreamConnection(ours.fileno(), socket.AF_UNIX, self.doors)
            ours.close()
            self._clients[self.doors.newest] = theirs
            made.append(self.doors.newest)
        return made

    async def join(self, count: int) -> list[BroadcastProtocol]:
        """Let *count* people join, and wait until all joins are delivered."""
        people = self.come(count)
        for at in range(0, count, 100):
            for number, person in enumerate(people[at : at + 100], at):
                person.dataReceived(b"p%023d\n" % number)
            await self.quiet(0.0)
        await self.quiet()
        return people

    def read(self, people: Sequence[BroadcastProtocol]) -> None:
        """Let the clients of *people* read from now on."""
        for person in people:
            self._selector.register(self._clients[person], selectors.EVENT_READ)

    def close(self, people: Sequence[BroadcastProtocol]) -> None:
        """Close the clients of *people*, which do not read: their connections are reset."""
        for person in people:
            self._clients[person].close()

    def _read(self) -> None:
        while True:
            if not self._selector.get_map():
                time.sleep(0.01)
                continue
            for key, _events in self._selector.select(0.05):
                with suppress(BlockingIOError):
                    cast(socket.socket, key.fileobj).recv(1 << 20)

    async def turn(self) -> None:
        """Wait for another turn of the reactor."""
        turned: Deferred[None] = Deferred()
        self.reactor.callFromThread(turned.callback, None)
        await turned

    async def quiet(self, seconds: float = QUIET_SECONDS) -> None:
        """Wait until the server is idle."""
        seconds /= self._scale
        while True:
            total = self.reactor.total
            await deferLater(self.reactor, max(seconds, 0.001))
            await self.turn()  # the one that this was in is over, and counted
            if self.reactor.total - total < 0.01:
                return

    def say(self, people: Sequence[BroadcastProtocol]) -> None:
        """Let each of *people* say a line, all in one batch."""
        with self.reactor.unseen():
            for person in people:
                self.hub.lobby.say(person.session.member, LINE, 0.0)


async def one_who_catches_up(crowd: Crowd) -> None:
    """One person reads on after 9,000 batches of one line."""
    slow, fast = await crowd.join(2)
    crowd.read([fast])
    await lag(crowd, fast, 9_000)
    crowd.reactor.begin()
    crowd.read([slow])


async def many_who_catch_up(crowd: Crowd) -> None:
    """1,000 people read on at once after 4,000 batches of one line."""
    fast, *slow = await crowd.join(crowd.some(1_001))
    crowd.read([fast])
    await lag(crowd, fast, 4_000)
    crowd.reactor.begin()
    crowd.read(slow)


async def lag(crowd: Crowd, fast: BroadcastProtocol, batches: int) -> None:
    """Say one line per batch until the clients that do not read lag behind."""
    for _ in range(crowd.some(batches)):
        crowd.say([fast])
        await crowd.turn()
        await crowd.turn()
    await crowd.quiet()


async def all_talk(crowd: Crowd) -> None:
    """9,000 people say a line each, in one batch."""
    people = await crowd.join(crowd.some(MANY))
    crowd.read(people)
    await crowd.quiet()
    crowd.reactor.begin()
    crowd.say(people)


async def all_come(crowd: Crowd) -> None:
    """9,000 people join in one batch."""
    fast, *_ = await crowd.join(2)
    for _ in range(20):
        crowd.say([fast])
    await crowd.quiet()
    people = crowd.come(crowd.some(MANY))
    crowd.read(people)
    await crowd.quiet()
    crowd.reactor.begin()
    with crowd.reactor.unseen():
        for number, person in enumerate(people):
            person.dataReceived(b"q%023d\n" % number)


async def long_replay(crowd: Crowd) -> None:
    """100 people join in one batch and receive 1,000 lines each."""
    (fast,) = await crowd.join(1)
    for _ in range(crowd.some(1_000)):
        crowd.say([fast])
    people = crowd.come(crowd.some(100))
    crowd.read([fast, *people])
    await crowd.quiet()
    crowd.reactor.begin()
    with crowd.reactor.unseen():
        for number, person in enumerate(people):
            person.dataReceived(b"q%023d\n" % number)


async def all_leave(crowd: Crowd) -> None:
    """9,000 people leave in one batch."""
    people = await crowd.join(crowd.some(MANY))
    crowd.read(people)
    await crowd.quiet()
    crowd.reactor.begin()
    with crowd.reactor.unseen():
        for person in people:
            person.dataReceived(b"quit\n")


async def all_vanish(crowd: Crowd) -> None:
    """1,000 of 2,000 people close their connections at once."""
    people = await crowd.join(crowd.some(2_000))
    crowd.read(people[::2])
    await crowd.quiet()
    crowd.reactor.begin()
    with crowd.reactor.unseen():
        crowd.close(people[1::2])


async def many_ask(crowd: Crowd) -> None:
    """10 of 9,000 people ask for all names, at once."""
    people = await crowd.join(crowd.some(MANY))
    crowd.read(people)
    await crowd.quiet()
    crowd.reactor.begin()
    for person in people[:10]:
        person.dataReceived(b"/names\n")


async def talk(crowd: Crowd) -> None:
    """500 people receive 2,000 lines, one in each batch."""
    people = await crowd.join(crowd.some(500))
    crowd.read(people)
    await crowd.quiet()
    crowd.reactor.begin()
    for number in range(crowd.some(2_000)):
        crowd.say([people[number % crowd.some(20)]])
        await crowd.turn()
        await crowd.turn()


Case: TypeAlias = Callable[[Crowd], Awaitable[None]]
CASES: dict[str, tuple[Case, int]] = {
    "catching up": (one_who_catches_up, 20),
    "catching up, many": (many_who_catch_up, 20),
    "authors": (all_talk, 20),
    "joins": (all_come, 20),
    "leaves": (all_leave, 20),
    "vanishing": (all_vanish, 20),
    "replay": (long_replay, 1_000),
    "names": (many_ask, 20),
    "talk": (talk, 20),
}


def measure(name: str, scale: int, report: Callable[[Sequence[float]], None]) -> None:
    """Run one case. Report the seconds of its longest turn, of all turns, and of the longest collection."""
    raise_file_limit()
    case, replay = CASES[name]
    reactor = Watched()
    installReactor(reactor)  # type: ignore[no-untyped-call]  # likewise
    crowd = Crowd(reactor, replay, scale)

    async def run() -> None:
        await case(crowd)
        await crowd.quiet()
        report([reactor.longest, reactor.total, reactor.collecting])

    def fail(failure: Failure) -> None:
        failure.printTraceback(sys.stderr)  # type: ignore[no-untyped-call]  # likewise

    def start() -> None:
        done = Deferred.fromCoroutine(cast(Any, run()))
        done.addErrback(fail)
        done.addBoth(lambda _result: reactor.crash())

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)


def shown(values: Sequence[float]) -> str:
    """Return the median of *values* in milliseconds, with the extremes."""
    low, median, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
    return f"{median:9,.1f} ({low:,.1f} to {high:,.1f})"


def measure_apart(name: str, scale: int) -> list[float]:
    """Run one case in a process of its own, which in the tiny form has not to import everything again."""
    if scale == TINY:
        forking = get_context("fork")
        results, theirs = forking.Pipe(duplex=False)
        process = forking.Process(target=measure, args=(name, scale, theirs.send))
        process.start()
        theirs.close()
        try:
            return cast(list[float], results.recv())
        finally:
            process.join()
    done = subprocess.run([sys.executable, __file__, name, str(scale)], stdout=subprocess.PIPE, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def main(runs: int, scale: int) -> None:
    """Run all cases in turn, *runs* times, and print the results."""
    print(f"Python {platform.python_version()}, Twisted {twisted.__version__}, Linux {platform.release()}")
    results: dict[str, list[list[float]]] = {name: [] for name in CASES}
    for _ in range(runs):
        for name, values in results.items():
            values.append(measure_apart(name, scale))
    for name, values in results.items():
        longest, total, collecting = map(shown, zip(*values, strict=True))
        print(f"{CASES[name][0].__doc__}")
        print(f"    longest turn {longest}, all turns {total}, longest collection {collecting} ms")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, scale] if name in CASES:
            measure(name, int(scale), lambda values: print(*values))
        case ["--tiny"]:
            main(1, TINY)
        case []:
            main(5, 1)
        case [runs]:
            main(int(runs), 1)
