"""The recent part of a room's stream, in memory: all subscribers that lag share it."""

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

_NOT_SHARED: Final = (Barrier, *PRIVATE_EVENTS)
"""The events that no encoded batch shows."""
OVERRIDE_BYTES: Final = 128
"""Memory of one override, in bytes, roughly."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A batch in one view: the bytes, and where each event's bytes end. An event that is not shown has no bytes."""

    payload: bytes
    ends: Sequence[int]
    shown: int
    """Number of events that have bytes."""

    def start_of(self, index: int) -> int:
        """Return where the event *index* starts in the payload."""
        return self.ends[index - 1] if index else 0

    def index_at(self, place: int) -> int:
        """Return the index of the event that the byte *place* belongs to; at the end, the number of events."""
        return bisect_right(self.ends, place)


@dataclass(slots=True)
class PlacedBatch:
    """A batch and its place in the stream: the offset *start* of its first event, and *seq*, the last number before."""

    start: int
    seq: int
    events: Sequence[Event]
    overrides: Mapping[int, Sequence[Override]]
    size: int = 0
    """The bytes that the batch counts for in the replay buffer; 0 until ``measure``."""
    _encoded: dict[Encoder, EncodedBatch] = field(default_factory=dict)
    _stored_indexes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Find the stored events once. Their numbers are dense, so a number follows from an index."""
        self._stored_indexes = [index for index, event in enumerate(self.events) if isinstance(event, STORED)]

    @property
    def end(self) -> int:
        """The offset after the last event."""
        return self.start + len(self.events)

    def encoded(self, encoder: Encoder) -> EncodedBatch:
        """Return the batch as *encoder* encodes it; each encoder encodes it once."""
        encoded = self._encoded.get(encoder)
        if encoded is None:
            pieces = [b"" if isinstance(event, _NOT_SHARED) else encoder.encode(event) for event in self.events]
            encoded = self._encoded[encoder] = EncodedBatch(
                b"".join(pieces), list(accumulate(map(len, pieces))), len(pieces) - pieces.count(b"")
            )
        return encoded

    def seq_before(self, index: int) -> int:
        """Return the number of the last stored event before the event *index*."""
        return self.seq + bisect_left(self._stored_indexes, index)

    def drop_overrides_except(self, sessions: Iterable[int]) -> None:
        """Keep only the overrides of *sessions*: the others were sent."""
        self.overrides = {session: self.overrides[session] for session in sessions}

    def measure(self) -> int:
        """Set ``size``, and return it: the longest encoding or the text, the private events, and the overrides."""
        sizes = [len(encoded.payload) for encoded in self._encoded.values()]
        shared = max(sizes) if sizes else sum(text_length(event) for event in self.events if isinstance(event, STORED))
        private = sum(text_length(event) for event in self.events if isinstance(event, PRIVATE_EVENTS))
        # Sessions that ignore the same people share one list of overrides.
        overrides = sum(map(len, {id(overrides): overrides for overrides in self.overrides.values()}.values()))
        self.size = shared + private + OVERRIDE_BYTES * overrides
        return self.size


class ReplayBuffer:
    """The last batches of a stream, without gaps.

    It holds at most *max_events* events and *max_bytes* bytes, but always the last batch. The offset of the first event
    in this process is 0.
    """

    def __init__(self, max_events: int = DEFAULTS.replay_events, max_bytes: int = DEFAULTS.replay_bytes) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batches: deque[PlacedBatch] = deque()
        self._bytes = 0
        self.end = 0
        """The offset of the next event."""
        self.seq = 0
        """The number of the last stored event."""

    @property
    def start(self) -> int:
        """The offset of the first event in the buffer."""
        return self._batches[0].start if self._batches else self.end

    @property
    def seq_before(self) -> int:
        """The number of the last stored event before the first event in the buffer."""
        return self._batches[0].seq if self._batches else self.seq

    def add(self, batch: Batch) -> PlacedBatch:
        """Append *batch*."""
        placed = PlacedBatch(self.end, batch.last_seq, batch.events, batch.overrides)
        self.end = placed.end
        self.seq = placed.seq_before(len(batch.events))
        self._batches.append(placed)
        return placed

    def trim(self) -> None:
        """Drop the oldest batches beyond the limits; called once for each batch, after it was encoded."""
        self._bytes += self._batches[-1].measure()
        while len(self._batches) > 1 and (self.end - self.start > self._max_events or self._bytes > self._max_bytes):
            self._bytes -= self._batches.popleft().size

    def from_offset(self, offset: int, limit: int) -> Iterator[PlacedBatch]:
        """Yield at most *limit* batches, from the one that holds *offset* (``start`` to before ``end``)."""
        first = bisect_right(self._batches, offset, key=attrgetter("start")) - 1
        for index in range(first, min(first + limit, len(self._batches))):
            yield self._batches[index]
