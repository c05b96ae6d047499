"""The state of a room in the database, and the keys of its lines."""

from __future__ import annotations

from dataclasses import dataclass

SEQ_BITS = 40
"""Number of low bits of a line's key that hold its number. The bits above hold the id of the room."""
MAX_SEQ = (1 << SEQ_BITS) - 1
"""Highest number of a line."""
MAX_ROOMS = 1 << (63 - SEQ_BITS)
"""Maximum number of rooms in a journal. SQLite's keys have 63 bits and a sign."""


@dataclass(slots=True, eq=False)
class RoomRecord:
    """A room as the database holds it. After it was opened, it belongs to the commit thread."""

    name: str
    id: int | None = None
    """The id in the table ``rooms``; None before the first line or topic of the room is stored."""
    topic: str = ""
    last: int = 0
    """Number of the last line that was reported as stored."""
    indexed: int = 0
    """Number of the last line in the search index, or of an earlier line."""


def key(room: int, seq: int) -> int:
    """Return the key of line *seq* (clamped to its range, from 0) in the room with the id *room*."""
    return room << SEQ_BITS | max(0, min(seq, MAX_SEQ))


def key_range(room: int) -> tuple[int, int]:
    """Return the lowest and the highest key in the room with the id *room*. A line has a higher key than the lowest."""
    return key(room, 0), key(room, MAX_SEQ)
