"""The part of a room's stream that is kept in memory: shared by all readers, for those who fall behind."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import Final

from broadcast.core.events import ALONE, KEPT, Event, Marked, written
from broadcast.core.interfaces import Burst, Edit, Wire
from broadcast.core.limits import DEFAULTS

_UNSEEN: Final = (Marked, *ALONE)
"""What no rendering shows."""
EDIT: Final = 128
"""What it takes in memory that something differs for one reader, in bytes, roughly."""


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
    _kept: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Find the numbered ones once; their numbers are dense."""
        self._kept = [at for at, event in enumerate(self.events) if isinstance(event, KEPT)]

    @property
    def end(self) -> int:
        """The position behind its last event."""
        return self.start + len(self.events)

    def rendering(self, wire: Wire) -> Rendering:
        """The burst as *wire* shows it, made once."""
        rendering = self._renderings.get(wire)
        if rendering is None:
            pieces = [b"" if isinstance(event, _UNSEEN) else wire.encode(event) for event in self.events]
            rendering = self._renderings[wire] = Rendering(
                b"".join(pieces), list(accumulate(map(len, pieces))), len(pieces) - pieces.count(b"")
            )
        return rendering

    def seq_before(self, index: int) -> int:
        """The number of the last kept event in front of the event *index*."""
        return self.seq + bisect_left(self._kept, index)

    def keep_for(self, sessions: Iterable[int]) -> None:
        """Of what differs, only what does for *sessions* is wanted from here on."""
        self.edits = {session: self.edits[session] for session in sessions}

    def weigh(self) -> int:
        """Settle what it counts for: its longest rendering or its text, what no rendering shows, and what differs."""
        sizes = [len(rendering.payload) for rendering in self._renderings.values()]
        shown = max(sizes) if sizes else sum(written(event) for event in self.events if isinstance(event, KEPT))
        alone = sum(written(event) for event in self.events if isinstance(event, ALONE))
        differs = sum(map(len, {id(edits): edits for edits in self.edits.values()}.values()))  # some share theirs
        self.size = shown + alone + EDIT * differs
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
        low = bisect_right(self._told, position, key=attrgetter("start")) - 1
        for at in range(low, min(low + most, len(self._told))):
            yield self._told[at]
