"""A simulation of a busy room on several servers that share a database, with constants that were measured."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

LINES = 2000
"""Number of lines of a simulation."""
HOPELESS_MS = 10_000.0
"""Waiting time at which a simulation ends: the room takes fewer lines."""


@dataclass(frozen=True, slots=True)
class Constants:
    """The measured times, in microseconds of one processor unless noted."""

    append_us: float = 0.0
    """Duration of a call of ``append`` with one line, during which the room is locked, the disk included."""
    append_line_us: float = 0.0
    """The same for each further line of the call."""
    append_cpu_us: float = 0.0
    """CPU time of the database for this call with one line."""
    tail_us: float = 0.0
    """CPU time of the database when a server reads the new lines of one room: one line."""
    tail_line_us: float = 0.0
    """The same for each further line."""
    notify_us: float = 0.0
    """CPU time of the database for each server that is notified of a commit."""
    line_us: float = 0.0
    """CPU time of a server for a line that somebody says there, with its delivery to one other person."""
    send_us: float = 0.0
    """CPU time of a server for the delivery of a batch to one person, without its lines."""
    send_line_us: float = 0.0
    """The same for each line of the batch."""
    person_us: float = 0.0
    """CPU time of a server when it learns of a person on another one."""
    person_bytes: float = 0.0
    """Memory that it needs for this person, in bytes."""


def simulate(constants: Constants, nodes: int, rate: float, members: int, processors: int) -> tuple[float, float]:
    """Simulate a room with *members* at so many *nodes*, in which *rate* lines per second are said in all.

    The database has so many *processors*. Return the median and the 99th percentile of the milliseconds until a line is
    delivered at a node; infinity if the lines come faster than they are stored and delivered.
    """
    room = _Room(constants, nodes, members / nodes, processors)
    for number in range(LINES):
        room.schedule(number / rate * 1000, partial(room.say, room.nodes[number % nodes], number / rate * 1000))
    waits = sorted(room.run())
    if not waits:
        return float("inf"), float("inf")
    return waits[len(waits) // 2], waits[len(waits) * 99 // 100]


class _Node:
    """A server in the simulation. Times are milliseconds since its start."""

    def __init__(self) -> None:
        self.waiting: list[float] = []
        """The times of the lines that were said here and are not in a batch yet."""
        self.is_storing = False
        self.is_reading = False
        self.read_to = 0
        """Number of lines that were read."""
        self.free_at = 0.0
        """Time at which the reactor has done what it has to do so far."""


class _Room:
    """A room in the simulation. The database has *processors* of its own. Its work waits in one queue."""

    def __init__(self, constants: Constants, nodes: int, members: float, processors: int) -> None:
        self.nodes = [_Node() for _ in range(nodes)]
        self._constants = constants
        self._members = members
        self._now = 0.0
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._idle = processors
        self._tasks: deque[tuple[float, Callable[[], None]]] = deque()
        self._lock: deque[tuple[_Node, list[float]]] = deque()
        """The batches that wait for the lock of the room. The first one has it."""
        self._lines: list[float] = []
        """When each stored line was said."""
        self._waits: list[float] = []

    def schedule(self, at: float, call: Callable[[], None]) -> None:
        """Run *call* at the time *at*."""
        heapq.heappush(self._events, (at, next(self._numbers), call))

    def run(self) -> list[float]:
        """Return how long each line took at each node, or nothing if the room takes fewer lines."""
        while self._events:
            self._now, _, call = heapq.heappop(self._events)
            call()
            if self._waits and self._waits[-1] > HOPELESS_MS:
                return []
        return self._waits

    def say(self, node: _Node, at: float) -> None:
        """Say a line at *node*."""
        node.waiting.append(at)
        if not node.is_storing:
            self._store(node)

    def _store(self, node: _Node) -> None:
        """Let *node* send all lines that wait as a batch."""
        node.is_storing = bool(node.waiting)
        if node.is_storing:
            self._lock.append((node, node.waiting))
            node.waiting = []
            if len(self._lock) == 1:
                self._append()

    def _append(self) -> None:
        """Let the database store the batch that has the lock."""
        batch = self._lock[0][1]
        self._work(self._constants.append_us + self._constants.append_line_us * (len(batch) - 1), self._appended)

    def _appended(self) -> None:
        node, batch = self._lock.popleft()
        if self._lock:
            self._append()
        self._lines += batch
        self._work(self._constants.notify_us * len(self.nodes), lambda: None)
        for reader in self.nodes:
            if not reader.is_reading:
                self._read(reader)
        self._store(node)

    def _read(self, node: _Node) -> None:
        """Let *node* read the new lines of the room."""
        new = len(self._lines) - node.read_to
        node.is_reading = new > 0
        if node.is_reading:
            end = len(self._lines)
            self._work(self._constants.tail_us + self._constants.tail_line_us * (new - 1), lambda: self._got(node, end))

    def _got(self, node: _Node, end: int) -> None:
        """Deliver the lines up to *end* to the members at *node*."""
        new = self._lines[node.read_to : end]
        cost = self._members * (self._constants.send_us + self._constants.send_line_us * len(new))
        node.free_at = max(node.free_at, self._now) + cost / 1000
        self._waits += [node.free_at - at for at in new]
        node.read_to = end
        self.schedule(node.free_at, partial(self._read, node))  # lines that come meanwhile are delivered together

    def _work(self, microseconds: float, done: Callable[[], None]) -> None:
        """Let the database work so long, then call *done*."""
        self._tasks.append((microseconds, done))
        self._begin()

    def _begin(self) -> None:
        while self._idle and self._tasks:
            microseconds, done = self._tasks.popleft()
            self._idle -= 1
            self.schedule(self._now + microseconds / 1000, partial(self._end, done))

    def _end(self, done: Callable[[], None]) -> None:
        self._idle += 1
        done()
        self._begin()
