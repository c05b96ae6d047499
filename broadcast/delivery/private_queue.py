"""What waits for one subscriber alone: replies, private messages and receipts; no I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

CHUNK_OVERHEAD: Final = 256
"""Memory of a chunk besides its bytes, roughly. Without it, a flood of tiny replies would take many times the limit."""

_NO_MORE: Final[Iterator[Sequence[bytes]]] = iter(())


class PrivateChunk(NamedTuple):
    """Bytes for one subscriber alone, and their place in the stream.

    They stand before the event at *offset*, after the stored event numbered *seq*. *ends* are the places in *data*
    where a piece (a notice: lines, or a prompt) ends, in ascending order.
    """

    offset: int
    seq: int
    data: bytes
    ends: Sequence[int]
    more: Iterator[Sequence[bytes]] = _NO_MORE
    """The pieces that follow *data*, in groups; each group is encoded when the one before it has been sent."""

    @property
    def size(self) -> int:
        """The bytes that the chunk counts for in its queue."""
        return CHUNK_OVERHEAD + len(self.data)

    def split(self, accepted: int) -> tuple[bytes, PrivateChunk]:
        """Return the rest of the piece at byte *accepted* (less than the length of *data*), and what follows it.

        Where a piece ends at *accepted*, the rest is the whole next piece.
        """
        index = bisect_right(self.ends, accepted)
        end = self.ends[index]
        return self.data[accepted:end], self._replace(
            data=self.data[end:], ends=[later - end for later in self.ends[index + 1 :]]
        )


def private_chunk(
    offset: int, seq: int, pieces: Sequence[bytes], more: Iterator[Sequence[bytes]] = _NO_MORE
) -> PrivateChunk:
    """Return a chunk of *pieces*, which stand before the event at *offset*, followed by *more*."""
    return PrivateChunk(offset, seq, b"".join(pieces), list(accumulate(map(len, pieces))), more)


class PrivateQueue:
    """The chunks that wait for one subscriber, in the order of their offsets."""

    def __init__(self) -> None:
        self._chunks: deque[PrivateChunk] = deque()
        self.size = 0
        """The bytes that the chunks count for."""

    def __bool__(self) -> bool:
        """Whether any chunk waits."""
        return bool(self._chunks)

    @property
    def first(self) -> PrivateChunk:
        """The next chunk; only while there is one."""
        return self._chunks[0]

    def is_due(self, offset: int) -> bool:
        """Whether the next chunk stands before the event at *offset*."""
        return bool(self._chunks) and self._chunks[0].offset <= offset

    def append(self, chunk: PrivateChunk) -> None:
        """Put *chunk* at the end."""
        self._chunks.append(chunk)
        self.size += chunk.size

    def put_back(self, chunk: PrivateChunk) -> None:
        """Put *chunk*, the rest of one that was taken, at the beginning."""
        self._chunks.appendleft(chunk)
        self.size += chunk.size

    def pop(self) -> PrivateChunk:
        """Take the next chunk out."""
        chunk = self._chunks.popleft()
        self.size -= chunk.size
        return chunk

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self.size = 0
