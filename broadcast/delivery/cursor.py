"""Where a subscriber that lags stands in the room's stream, and what it is sent from there; no I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from broadcast.core.events import Gap

if TYPE_CHECKING:
    from broadcast.core.interfaces import Encoder
    from broadcast.delivery.replay_buffer import PlacedBatch, ReplayBuffer

RUN_BYTES: Final = 64 * 1024
"""The size of a run, in bytes: the most that is offered to a socket at once. A run has at least one event."""
RUN_BATCHES: Final = 256
"""The most batches that a run covers. It bounds the work for batches that this view does not show."""


class _SharedSlice(NamedTuple):
    """Bytes that all subscribers with one view share: *data* starts at byte *start* of the encoded *batch*."""

    batch: PlacedBatch
    start: int
    data: bytes


class Run(NamedTuple):
    """Consecutive events as *encoder* encodes them; *end* is the offset after the last of them."""

    encoder: Encoder
    slices: list[_SharedSlice]
    end: int

    @property
    def data(self) -> bytes:
        """The bytes of the run."""
        if len(self.slices) == 1:
            return self.slices[0].data
        return b"".join([part.data for part in self.slices])

    def split(self, accepted: int) -> tuple[bytes, int]:
        """Return the rest of the event at byte *accepted* (less than the length of *data*), and the offset after it.

        Where an event ends at *accepted*, the rest is the whole next event.
        """
        ends = list(accumulate(len(part.data) for part in self.slices))
        part = bisect_right(ends, accepted)
        batch, start, _ = self.slices[part]
        place = start + accepted - (ends[part - 1] if part else 0)
        encoded = batch.encoded(self.encoder)
        index = encoded.index_at(place)
        return encoded.payload[place : encoded.ends[index]], batch.start + index + 1


class Cursor:
    """The next event to send from *replay_buffer*: its *offset*, and *seq*, the last stored number before it."""

    def __init__(self, replay_buffer: ReplayBuffer) -> None:
        self._replay_buffer = replay_buffer
        self.offset = 0
        self.seq = 0

    @property
    def has_gap(self) -> bool:
        """Whether the replay buffer has moved past the cursor."""
        return self.offset < self._replay_buffer.start

    def move_to(self, offset: int, seq: int) -> None:
        """Put the cursor before the event at *offset*, after the stored event numbered *seq*."""
        self.offset, self.seq = offset, seq

    def advance(self, offset: int) -> None:
        """Put the cursor before the event at *offset*, where the event before that is in the replay buffer."""
        batch = next(self._replay_buffer.from_offset(offset - 1, 1))
        self.move_to(offset, batch.seq_before(offset - batch.start))

    def skip_to(self, offset: int, seq: int) -> Gap | None:
        """Put the cursor there, and return the gap between; None where no stored event is in it.

        The gap may include messages of the subscriber's own: to know that would cost memory for each message.
        """
        first = self.seq + 1
        self.move_to(offset, seq)
        return Gap(first, seq) if first <= seq else None

    def next_run(self, end: int, session: int, encoder: Encoder) -> Run:
        """Return the events from the cursor to before *end*, up to about ``RUN_BYTES``.

        Left out are the events for which *session* has an override: it gets something else, or nothing, in their
        place. The cursor stays where it is.
        """
        slices: list[_SharedSlice] = []
        room = RUN_BYTES
        offset = self.offset
        for batch in self._replay_buffer.from_offset(offset, RUN_BATCHES):
            encoded = batch.encoded(encoder)
            first, stop = offset - batch.start, min(end, batch.end) - batch.start
            for index in _shared_until(batch, session, first, stop):
                if first < index:
                    start = encoded.start_of(first)
                    cut = min(index, max(first + 1, encoded.index_at(start + room)))
                    data = encoded.payload[start : encoded.start_of(cut)]
                    slices.append(_SharedSlice(batch, start, data))
                    room -= len(data)
                    if cut < index or room <= 0:
                        return Run(encoder, slices, batch.start + cut)
                first = index + 1
            offset = batch.start + stop
            if offset == end:
                break
        return Run(encoder, slices, offset)


def _shared_until(batch: PlacedBatch, session: int, first: int, stop: int) -> Iterator[int]:
    """Return the indexes from *first* to before *stop* at which *session* has an override, then *stop*."""
    overrides = batch.overrides.get(session, ())
    for place in range(bisect_left(overrides, first, key=itemgetter(0)), len(overrides)):
        if (index := overrides[place][0]) >= stop:
            break
        yield index
    yield stop
