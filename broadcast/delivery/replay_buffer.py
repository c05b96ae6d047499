"""The part of a room's stream that is kept in memory: shared by all readers, for those who fall behind."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import Final

from broadcast.core.events import PRIVATE_EVENTS, STORED, Barrier, Event, text_length
from broadcast.core.interfaces import Batch, Encoder, Override
from broadcast.core.limits import DEFAULTS

_UNSEEN: Final = (Barrier, *PRIVATE_EVENTS)
"""What no rendering shows."""
OVERRIDE_BYTES: Final = 128
"""What it takes in memory that something differs for one reader, in bytes, roughly."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A burst in one view: all its bytes, and where each event's end. What shows to nobody has no bytes."""

    payload: bytes
    ends: Sequence[int]
    shown: int
    """How many of the events it shows."""

    def start_of(self, index: int) -> int:
        """Where the event *index* begins in the payload."""
        return self.ends[index - 1] if index else 0

    def index_at(self, offset: int) -> int:
        """The index of the event that the byte at *offset* belongs to; how many there are, at the end."""
        return bisect_right(self.ends, offset)


@dataclass(slots=True)
class PlacedBatch:
    """A burst, and its place: *start* is the position of its first event, *seq* the last number before it."""

    start: int
    seq: int
    events: Sequence[Event]
    overrides: Mapping[int, Sequence[Override]]
    size: int = 0
    """What it counts for in the window, in bytes."""
    _encoded: dict[Encoder, EncodedBatch] = field(default_factory=dict)
    _stored_indexes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Find the numbered ones once; their numbers are dense."""
        self._stored_indexes = [at for at, event in enumerate(self.events) if isinstance(event, STORED)]

    @property
    def end(self) -> int:
        """The position behind its last event."""
        return self.start + len(self.events)

    def encoded(self, wire: Encoder) -> EncodedBatch:
        """The burst as *wire* shows it, made once."""
        rendering = self._encoded.get(wire)
        if rendering is None:
            pieces = [b"" if isinstance(event, _UNSEEN) else wire.encode(event) for event in self.events]
            rendering = self._encoded[wire] = EncodedBatch(
                b"".join(pieces), list(accumulate(map(len, pieces))), len(pieces) - pieces.count(b"")
            )
        return rendering

    def seq_before(self, index: int) -> int:
        """The number of the last kept event in front of the event *index*."""
        return self.seq + bisect_left(self._stored_indexes, index)

    def drop_overrides_except(self, sessions: Iterable[int]) -> None:
        """Of what differs, only what does for *sessions* is wanted from here on."""
        self.overrides = {session: self.overrides[session] for session in sessions}

    def measure(self) -> int:
        """Settle what it counts for: its longest rendering or its text, what no rendering shows, and what differs."""
        sizes = [len(rendering.payload) for rendering in self._encoded.values()]
        shown = max(sizes) if sizes else sum(text_length(event) for event in self.events if isinstance(event, STORED))
        alone = sum(text_length(event) for event in self.events if isinstance(event, PRIVATE_EVENTS))
        differs = sum(map(len, {id(edits): edits for edits in self.overrides.values()}.values()))  # some share theirs
        self.size = shown + alone + OVERRIDE_BYTES * differs
        return self.size


class ReplayBuffer:
    """The last bursts, without gaps.

    It holds at most so many *events* and bytes (*size*), but always the last burst. A position is the place of any
    event, kept or passing, in the stream of this process; the first is 0.
    """

    def __init__(self, events: int = DEFAULTS.replay_events, size: int = DEFAULTS.replay_bytes) -> None:
        self._max_events = events
        self._max_bytes = size
        self._batches: deque[PlacedBatch] = deque()
        self._bytes = 0
        self.end = 0
        """The position of the next event."""
        self.seq = 0
        """The number of the last kept event."""

    @property
    def start(self) -> int:
        """The position of the first event that is still held."""
        return self._batches[0].start if self._batches else self.end

    @property
    def seq_before(self) -> int:
        """The number of the last kept event that is not held any more."""
        return self._batches[0].seq if self._batches else self.seq

    def add(self, burst: Batch) -> PlacedBatch:
        """Take *burst* in at the end."""
        told = PlacedBatch(self.end, burst.last_seq, burst.events, burst.overrides)
        self.end = told.end
        self.seq = told.seq_before(len(burst.events))
        self._batches.append(told)
        return told

    def trim(self) -> None:
        """Let go of what is too much; once for each burst, after it was rendered."""
        self._bytes += self._batches[-1].measure()
        while len(self._batches) > 1 and (self.end - self.start > self._max_events or self._bytes > self._max_bytes):
            self._bytes -= self._batches.popleft().size

    def from_offset(self, position: int, most: int) -> Iterator[PlacedBatch]:
        """The bursts from the one that holds *position*, which is from ``start`` to before ``end``; *most* at most."""
        low = bisect_right(self._batches, position, key=attrgetter("start")) - 1
        for at in range(low, min(low + most, len(self._batches))):
            yield self._batches[at]
