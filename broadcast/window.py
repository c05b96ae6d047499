"""The part of a room's stream that is kept in memory: shared by all readers, for those who fall behind."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from broadcast.core.events import Emoted, Event, Marked, NotKept, Said, Whispered
from broadcast.core.interfaces import Burst, Edit, Wire
from broadcast.core.limits import DEFAULTS

KEPT = (Said, Emoted)


@dataclass(frozen=True, slots=True)
class Rendering:
    """A burst in one view: all its bytes, and where each event's end. What shows to nobody has no bytes."""

    payload: bytes
    ends: Sequence[int]
    shown: int
    """How many of the events it shows."""

    def begin(self, index: int) -> int:
        """Where the event *index* begins in the payload."""
        return self.ends[index - 1] if index else 0

    def holding(self, offset: int) -> int:
        """The index of the event that the byte at *offset* belongs to; how many there are, at the end."""
        return bisect_right(self.ends, offset)


@dataclass(slots=True)
class Told:
    """A burst, and its place: *start* is the position of its first event, *seq* the last number before it."""

    start: int
    seq: int
    events: Sequence[Event]
    edits: Mapping[int, Sequence[Edit]]
    size: int = 0
    """What it counts for in the window, in bytes."""
    _renderings: dict[Wire, Rendering] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The position behind its last event."""
        return self.start + len(self.events)

    def rendering(self, wire: Wire) -> Rendering:
        """The burst as *wire* shows it, made once."""
        rendering = self._renderings.get(wire)
        if rendering is None:
            pieces = [
                b"" if isinstance(event, Marked | NotKept | Whispered) else wire.encode(event) for event in self.events
            ]
            rendering = self._renderings[wire] = Rendering(
                b"".join(pieces), list(accumulate(map(len, pieces))), len(pieces) - pieces.count(b"")
            )
        return rendering

    def seq_before(self, index: int) -> int:
        """The number of the last kept event in front of the event *index*."""
        for at in range(index - 1, -1, -1):
            event = self.events[at]
            if isinstance(event, KEPT):
                return event.seq
        return self.seq

    def weigh(self) -> int:
        """Settle what it counts for: its longest rendering or its text, and the private lines, which show in none."""
        sizes = [len(rendering.payload) for rendering in self._renderings.values()]
        shown = max(sizes) if sizes else sum(len(event.text) for event in self.events if isinstance(event, KEPT))
        self.size = shown + sum(len(event.text) for event in self.events if isinstance(event, Whispered))
        return self.size


class Window:
    """The last bursts, without gaps.

    It holds at most so many *events* and bytes (*size*), but always the last burst. A position is the place of any
    event, kept or passing, in the stream of this process; the first is 0.
    """

    def __init__(self, events: int = DEFAULTS.window_events, size: int = DEFAULTS.window_bytes) -> None:
        self._most_events = events
        self._most_bytes = size
        self._told: deque[Told] = deque()
        self._bytes = 0
        self.end = 0
        """The position of the next event."""
        self.seq = 0
        """The number of the last kept event."""

    @property
    def start(self) -> int:
        """The position of the first event that is still held."""
        return self._told[0].start if self._told else self.end

    @property
    def seq_before(self) -> int:
        """The number of the last kept event that is not held any more."""
        return self._told[0].seq if self._told else self.seq

    def add(self, burst: Burst) -> Told:
        """Take *burst* in at the end."""
        told = Told(self.end, burst.last, burst.events, burst.edits)
        self.end = told.end
        self.seq = told.seq_before(len(burst.events))
        self._told.append(told)
        return told

    def trim(self) -> None:
        """Let go of what is too much; once for each burst, after it was rendered."""
        self._bytes += self._told[-1].weigh()
        while len(self._told) > 1 and (self.end - self.start > self._most_events or self._bytes > self._most_bytes):
            self._bytes -= self._told.popleft().size

    def since(self, position: int, most: int) -> Iterator[Told]:
        """The bursts from the one that holds *position*, which is from ``start`` to before ``end``; *most* at most."""
        low, high = 0, len(self._told) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._told[middle].start <= position:
                low = middle
            else:
                high = middle - 1
        for at in range(low, min(low + most, len(self._told))):
            yield self._told[at]
