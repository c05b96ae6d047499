"""The recent part of a room's stream in memory. All subscribers that lag share it."""

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
"""Events that have no bytes in an encoded batch."""
OVERRIDE_BYTES: Final = 128
"""Estimated memory of one override, in bytes."""


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """The bytes of a batch in one view. *ends* has the end of each event in *payload*; hidden events have no bytes."""

    payload: bytes
    ends: Sequence[int]
    shown: int
    """Number of events that have bytes."""

    def start_of(self, index: int) -> int:
        """Return the byte at which the event *index* starts."""
        return self.ends[index - 1] if index else 0

    def index_at(self, byte: int) -> int:
        """Return the index of the event that holds *byte*, or the number of events if *byte* is the end."""
        return bisect_right(self.ends, byte)


@dataclass(slots=True)
class PlacedBatch:
    """A batch and its place in the stream.

    *start* is the offset of its first event. *seq* is the number of the last stored event before the batch.
    """

    start: int
    seq: int
    events: Sequence[Event]
    overrides: Mapping[int, Sequence[Override]]
    size: int = 0
    """Estimated memory of the batch, in bytes; 0 until ``measure``."""
    _encoded: dict[Encoder, EncodedBatch] = field(default_factory=dict)
    _stored_indexes: list[int] | None = None

    @property
    def end(self) -> int:
        """The offset after the last event."""
        return self.start + len(self.events)

    def encoded(self, encoder: Encoder) -> EncodedBatch:
        """Return the batch as *encoder* encodes it. Each encoder does so only once."""
        encoded = self._encoded.get(encoder)
        if encoded is None:
            pieces = [b"" if isinstance(event, _NOT_SHARED) else encoder.encode(event) for event in self.events]
            encoded = self._encoded[encoder] = EncodedBatch(
                b"".join(pieces), list(accumulate(map(len, pieces))), len(pieces) - pieces.count(b"")
            )
        return encoded

    def seq_before(self, index: int) -> int:
        """Return the number of the last stored event before the event *index*.

        The numbers are dense, so the indexes of the stored events are enough. Only subscribers that lag need them.
        """
        if self._stored_indexes is None:
            self._stored_indexes = [index for index, event in enumerate(self.events) if isinstance(event, STORED)]
        return self.seq + bisect_left(self._stored_indexes, index)

    def drop_overrides_except(self, sessions: Iterable[int]) -> None:
        """Drop the overrides of all other sessions, because they were sent."""
        self.overrides = {session: self.overrides[session] for session in sessions}

    def measure(self) -> int:
        """Set ``size`` and return it: the sum of the longest encoding, the private events and the overrides.

        The text counts in place of the encoding if no subscriber needed one.
        """
        sizes = [len(encoded.payload) for encoded in self._encoded.values()]
        shared = max(sizes) if sizes else sum(text_length(event) for event in self.events if isinstance(event, STORED))
        private = sum([text_length(event) for event in self.events if isinstance(event, PRIVATE_EVENTS)])
        # Sessions that ignore the same nicknames share one list of overrides, which counts once.
        overrides = sum(map(len, {id(overrides): overrides for overrides in self.overrides.values()}.values()))
        self.size = shared + private + OVERRIDE_BYTES * overrides
        return self.size


class ReplayBuffer:
    """The last batches of a stream, without gaps.

    It holds at most *max_events* events and *max_bytes* bytes, but always the last batch. It holds only that one while
    no subscriber lags. Offsets count all events in this process, stored and transient, from 0.
    """

    def __init__(self, max_events: int = DEFAULTS.replay_events, max_bytes: int = DEFAULTS.replay_bytes) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batches: deque[PlacedBatch] = deque()
        self._bytes = 0
        self.end = 0
        """Offset of the next event."""
        self.seq = 0
        """Number of the last stored event."""

    @property
    def start(self) -> int:
        """Offset of the first event in the buffer."""
        return self._batches[0].start if self._batches else self.end

    @property
    def seq_before(self) -> int:
        """Number of the last stored event before the first event in the buffer."""
        return self._batches[0].seq if self._batches else self.seq

    def add(self, batch: Batch) -> PlacedBatch:
        """Append *batch* and return it with its place."""
        placed = PlacedBatch(self.end, batch.last_seq, batch.events, batch.overrides)
        self.end = placed.end
        self.seq = batch.last_seq
        for event in reversed(batch.events):
            if isinstance(event, STORED):
                self.seq = event.seq
                break
        self._batches.append(placed)
        return placed

    def trim(self, *, in_use: bool) -> None:
        """Drop the oldest batches until the limits hold, or all but the last one unless a subscriber lags (*in_use*).

        Call it once per batch, after the batch was encoded.
        """
        batches = self._batches
        if not in_use:  # nearly always, so that no batch needs to be measured
            while len(batches) > 1:
                batches.popleft()
            batches[0].size = self._bytes = 0
            return
        if len(batches) > 1 and not batches[-2].size:
            self._bytes += batches[-2].measure()
        self._bytes += batches[-1].measure()
        while len(batches) > 1 and (self.end - self.start > self._max_events or self._bytes > self._max_bytes):
            self._bytes -= batches.popleft().size

    def from_offset(self, offset: int, limit: int) -> Iterator[PlacedBatch]:
        """Yield at most *limit* batches. The first is the one that holds *offset* (``start`` to before ``end``)."""
        first = bisect_right(self._batches, offset, key=attrgetter("start")) - 1
        for index in range(first, min(first + limit, len(self._batches))):
            yield self._batches[index]
