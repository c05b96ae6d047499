"""The cursor of a lagging subscriber into the room's stream, and the shared bytes that follow it; no I/O."""

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
"""Maximum size of a run, in bytes, unless one event is longer. A run is offered to the socket at once."""
RUN_BATCHES: Final = 256
"""Maximum number of batches in a run. It limits the work if the view hides the events of many batches."""


class _SharedSlice(NamedTuple):
    """Bytes that all subscribers with one view share. *data* begins at byte *start* of the encoded *batch*."""

    batch: PlacedBatch
    start: int
    data: bytes


class Run(NamedTuple):
    """Consecutive events as *encoder* encodes them. *end* is the offset after the last one."""

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
        """Return the bytes from *accepted* to the end of the event there, and the offset after that event.

        *accepted* is less than the length of ``data``. If an event ends there, the bytes are the whole next event.
        """
        slice_ends = list(accumulate(len(part.data) for part in self.slices))
        number = bisect_right(slice_ends, accepted)
        batch, start, _ = self.slices[number]
        byte = start + accepted - (slice_ends[number - 1] if number else 0)
        encoded = batch.encoded(self.encoder)
        index = encoded.index_at(byte)
        return encoded.payload[byte : encoded.ends[index]], batch.start + index + 1


class Cursor:
    """The next event that a lagging subscriber needs from *replay_buffer*."""

    __slots__ = ("_replay_buffer", "offset", "seq")

    def __init__(self, replay_buffer: ReplayBuffer) -> None:
        self._replay_buffer = replay_buffer
        self.offset = 0
        """Offset of the event."""
        self.seq = 0
        """Number of the last stored event before it."""

    @property
    def has_gap(self) -> bool:
        """Whether the replay buffer has dropped the event."""
        return self.offset < self._replay_buffer.start

    def move_to(self, offset: int, seq: int) -> None:
        """Move to the event at *offset*. *seq* is the number of the last stored event before it."""
        self.offset, self.seq = offset, seq

    def advance(self, offset: int) -> None:
        """Move forward to the event at *offset*. The event before it must be in the replay buffer."""
        batch = next(self._replay_buffer.from_offset(offset - 1, 1))
        self.move_to(offset, batch.seq_before(offset - batch.start))

    def skip_to(self, offset: int, seq: int) -> Gap:
        """Move as with ``move_to``. Return the skipped numbers as a gap, which is empty if no stored event was skipped.

        The gap may include the subscriber's own messages. To leave them out would cost memory for each message.
        """
        first = self.seq + 1
        self.move_to(offset, seq)
        return Gap(first, seq)

    def next_run(self, end: int, session: int, encoder: Encoder) -> Run:
        """Return the events from the cursor up to the offset *end*, which is excluded. The cursor does not move.

        The run ends early after about ``RUN_BYTES``. It omits events for which *session* has an override, because the
        private queue holds their replacements.
        """
        slices: list[_SharedSlice] = []
        bytes_left = RUN_BYTES
        offset = self.offset
        for batch in self._replay_buffer.from_offset(offset, RUN_BATCHES):
            encoded = batch.encoded(encoder)
            first, stop = offset - batch.start, min(end, batch.end) - batch.start
            for index in _ends_of_shared(batch, session, first, stop):
                if first < index:
                    start = encoded.start_of(first)
                    cut = min(index, max(first + 1, encoded.index_at(start + bytes_left)))
                    data = encoded.payload[start : encoded.start_of(cut)]
                    slices.append(_SharedSlice(batch, start, data))
                    bytes_left -= len(data)
                    if cut < index or bytes_left <= 0:
                        return Run(encoder, slices, batch.start + cut)
                first = index + 1
            offset = batch.start + stop
            if offset == end:
                break
        return Run(encoder, slices, offset)


def _ends_of_shared(batch: PlacedBatch, session: int, first: int, stop: int) -> Iterator[int]:
    """Yield the end of each range of shared events from *first* to before *stop*.

    The ends are the indexes of the overrides of *session*, and *stop*.
    """
    overrides = batch.overrides.get(session, ())
    for number in range(bisect_left(overrides, first, key=itemgetter(0)), len(overrides)):
        if (index := overrides[number][0]) >= stop:
            break
        yield index
    yield stop
