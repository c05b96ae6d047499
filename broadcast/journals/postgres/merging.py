"""The merging of the events of this node and of the other nodes, in the order of the database.

The position of a room is a pair: the number of its last line, and the place of its last event without a number. Each
batch of this node is a *segment* of the room: it begins at the position to which the database had come before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from broadcast.core.events import STORED, Event, Stored
from broadcast.journals.commit_queue import CommittedQueue, Receiver

Position: TypeAlias = tuple[int, int]
"""Number of the last line, and place of the last event in the table ``stream``."""


def is_behind(found: Position, delivered: Position) -> bool:
    """Return whether the database, which has come to *found*, lacks events that it had when they were *delivered*."""
    return found[0] < delivered[0] or found[1] < delivered[1]


class LineKey(NamedTuple):
    """The values that distinguish a line from another one with the same number."""

    seq: int
    session: int
    at: float
    """The time at which the line was said, in seconds since the epoch."""

    @classmethod
    def of(cls, line: Stored) -> LineKey:
        """Return the key of *line*."""
        return cls(line.seq, line.session, line.at)


class Segment(NamedTuple):
    """Events of this node that follow one another in a room, from the position *begin* to *end*."""

    begin: Position
    end: Position
    events: list[Event]
    corrections: Sequence[Event] = ()
    """The events at the end of *events* that undo outdated events of this node; see ``make_corrections``."""


class ReadEvent(NamedTuple):
    """An event that was read from the database, and the position after it."""

    position: Position
    event: Event | None
    """None if this node does not deliver it, unless as a part of a segment."""


class MergedStream:
    """The events of a room that were not delivered yet. A ``Merger`` merges them."""

    def __init__(self, position: Position) -> None:
        self.position = position
        """The position up to which all events were delivered."""
        self.read_to = position
        """The position up to which events were read. It is never behind ``position``."""
        self.last_line: LineKey | None = None
        """The last line that was delivered; None if there is none."""
        self.segments: deque[Segment] = deque()
        self.read_events: deque[ReadEvent] = deque()
        """Events that were read from the database. Some of them may be those of a segment."""
        self.foreign: deque[Event] = deque()
        """Events of other nodes that ``drain`` has returned, and that are not in delivery yet."""
        self.in_flight = False
        """Whether a batch with events of this room was sent, and its result is not known yet."""

    def take_foreign(self, events: Sequence[Event]) -> list[Event]:
        """Remove the events of other nodes that are among *events*, which are being delivered, and return them."""
        if not self.foreign:
            return []
        ids = {id(event) for event in events}
        taken: list[Event] = []
        while self.foreign and id(self.foreign[0]) in ids:  # without an iterator, because other threads append events
            taken.append(self.foreign.popleft())
        return taken

    def drain(self) -> list[Event]:
        """Remove the events that can be delivered now, and return them in order."""
        ready: list[Event] = []
        while True:
            segment = self.segments[0] if self.segments else None
            # While a batch is in flight, an event that was read may be part of it. The segment of the batch will tell.
            if self.read_events and (
                not self.in_flight if segment is None else self.read_events[0].position <= segment.begin
            ):
                position, event = self.read_events.popleft()
                if position > self.position:
                    self.position = position
                    if event is not None:
                        ready.append(event)
                        self.foreign.append(event)
            elif segment is not None and self.read_to >= segment.begin:
                self.segments.popleft()
                ready += segment.events
                self.foreign.extend(segment.corrections)  # they say what other nodes know of their own sessions
                self.position = max(self.position, segment.end)
                self.read_to = max(self.read_to, segment.end)
                while self.read_events and self.read_events[0].position <= segment.end:
                    self.read_events.popleft()
            else:
                lines = (LineKey.of(event) for event in reversed(ready) if isinstance(event, STORED))
                self.last_line = next(lines, self.last_line)
                return ready


class MergedLog(Receiver, Protocol):
    """The log of a room."""

    @property
    def stream(self) -> MergedStream:
        """The state of the merging."""


L = TypeVar("L", bound=MergedLog)


class Merger(Generic[L]):
    """The merging of the events of this node and of the others into the queue *committed*. Any thread may use it."""

    def __init__(self, committed: CommittedQueue[L]) -> None:
        self._committed = committed
        self._lock = Lock()

    def begin(self, logs: Iterable[L]) -> None:
        """Note that a batch with events of *logs* is in flight."""
        with self._lock:
            for log in logs:
                log.stream.in_flight = True

    def end(self, logs: Iterable[L]) -> None:
        """Note that the batch in flight, with events of *logs*, has not taken effect."""
        with self._lock:
            for log in logs:
                log.stream.in_flight = False
                self._deliver(log)

    def add_own(self, segments: Iterable[tuple[L, Segment]]) -> list[L]:
        """Add the segments of the batch in flight. Return the logs in which events of other nodes come first."""
        with self._lock:
            ready: list[tuple[L, Sequence[Event]]] = []
            behind: list[L] = []
            added: dict[L, None] = {}
            for log, segment in segments:
                log.stream.in_flight = False
                log.stream.segments.append(segment)
                added[log] = None
            # This comes after all additions, because a room can have several segments, which may all have been read.
            for log in added:
                if events := log.stream.drain():
                    ready.append((log, events))
                if log.stream.segments:
                    behind.append(log)
            if ready:
                self._committed.add(ready)
            return behind

    def add_unstored(self, chunks: Iterable[tuple[L, Sequence[Event]]]) -> None:
        """Deliver events that are not in the database after the events of this node that were added before."""
        with self._lock:
            ready: list[tuple[L, Sequence[Event]]] = []
            for log, events in chunks:
                if log.stream.segments:
                    log.stream.segments[-1].events.extend(events)
                elif events:
                    ready.append((log, events))
            if ready:
                self._committed.add(ready)

    def add_read(self, log: L, events: Iterable[ReadEvent], read_to: Position) -> None:
        """Add *events* of all nodes, in order, which were read up to the position *read_to*."""
        with self._lock:
            stream = log.stream
            stream.read_events.extend(each for each in events if each.position > stream.read_to)
            stream.read_to = max(stream.read_to, read_to)
            self._deliver(log)

    def start(self, log: L, events: Sequence[Event]) -> None:
        """Deliver *events* of other nodes as the first ones of *log*."""
        with self._lock:
            if events:
                log.stream.foreign.extend(events)
                self._committed.add([(log, events)])

    def add_unstored_first(self, chunks: Sequence[tuple[L, Sequence[Event]]]) -> None:
        """Deliver events that are not in the database at once, before the events that wait in a segment."""
        with self._lock:
            if chunks := [chunk for chunk in chunks if chunk[1]]:
                self._committed.add(chunks)

    def _deliver(self, log: L) -> None:
        if events := log.stream.drain():
            self._committed.add([(log, events)])
