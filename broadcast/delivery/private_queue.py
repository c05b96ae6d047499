"""The queue of bytes for one subscriber alone: replies, private messages and receipts; no I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

CHUNK_OVERHEAD: Final = 256
"""Estimated memory of a chunk besides its data, in bytes. Without it, tiny replies could take many times the limit."""

_NO_MORE: Final[Iterator[Sequence[bytes]]] = iter(())


class PrivateChunk(NamedTuple):
    """Bytes for one subscriber alone, and their place in the stream.

    They come before the event at *offset*. *seq* is the number of the last stored event before that. *data* consists of
    pieces, one for each notice. *ends* are the ends of the pieces in *data*, in ascending order.
    """

    offset: int
    seq: int
    data: bytes
    ends: Sequence[int]
    more: Iterator[Sequence[bytes]] = _NO_MORE
    """The pieces that follow *data*, in groups. Each group is encoded when the one before it has been sent."""

    @property
    def size(self) -> int:
        """Estimated memory of the chunk, in bytes."""
        return CHUNK_OVERHEAD + len(self.data)

    def split(self, accepted: int) -> tuple[bytes, PrivateChunk]:
        """Return the bytes from *accepted* to the end of the piece there, and a chunk of the pieces after it.

        *accepted* is less than the length of *data*. If a piece ends there, the bytes are the whole next piece.
        """
        index = bisect_right(self.ends, accepted)
        end = self.ends[index]
        return self.data[accepted:end], self._replace(
            data=self.data[end:], ends=[later - end for later in self.ends[index + 1 :]]
        )


def private_chunk(
    offset: int, seq: int, pieces: Sequence[bytes], more: Iterator[Sequence[bytes]] = _NO_MORE
) -> PrivateChunk:
    """Return a chunk of *pieces*, before the event at *offset*, with *more* groups to follow."""
    return PrivateChunk(offset, seq, b"".join(pieces), list(accumulate(map(len, pieces))), more)


class QueuedBytes:
    """The sum of the sizes of the private queues of one connection."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0
        """Number of bytes."""


class PrivateQueue:
    """The chunks that one subscriber has not been sent, in the order of their offsets.

    *total* includes the size of this queue.
    """

    __slots__ = ("_chunks", "total")

    def __init__(self, total: QueuedBytes | None = None) -> None:
        self._chunks: list[PrivateChunk] = []  # a few hundred at most; an empty deque would take 700 bytes
        self.total = total or QueuedBytes()

    def __bool__(self) -> bool:
        """Return whether there is a chunk."""
        return bool(self._chunks)

    @property
    def size(self) -> int:
        """Sum of the sizes of the chunks, in bytes."""
        return sum(chunk.size for chunk in self._chunks)

    @property
    def first(self) -> PrivateChunk:
        """The next chunk. There must be one."""
        return self._chunks[0]

    def is_due(self, offset: int) -> bool:
        """Return whether the next chunk comes before the event at *offset*."""
        return bool(self._chunks) and self._chunks[0].offset <= offset

    def append(self, chunk: PrivateChunk) -> None:
        """Append *chunk*."""
        self._chunks.append(chunk)
        self.total.size += chunk.size

    def put_back(self, chunk: PrivateChunk) -> None:
        """Insert *chunk*, the rest of a chunk that was removed, at the beginning."""
        self._chunks.insert(0, chunk)
        self.total.size += chunk.size

    def pop(self) -> PrivateChunk:
        """Remove the next chunk and return it."""
        chunk = self._chunks.pop(0)
        self.total.size -= chunk.size
        return chunk

    def clear(self) -> None:
        """Remove all chunks."""
        self.total.size -= self.size
        self._chunks.clear()
