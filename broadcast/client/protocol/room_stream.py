"""One room as the program has got it so far."""

from __future__ import annotations

from typing import Final

PAGE: Final = 100
"""The most lines that are asked for at once."""


class RoomStream:
    """A cursor into the lines of a room: which ones the program has got, and which ones it has still to get.

    The server's numbers are dense, so a missing number is a missing line. While lines are missing, newer ones are not
    held in memory: they only raise *newest*, and are read from the server's history later, like the missing ones.
    """

    def __init__(self, name: str, seen: int) -> None:
        self.name = name
        self.seen = seen
        """The number of the last line that the program has got, or that was before its time."""
        self.taken = seen
        """The number of the last line that the program has taken from the queue. It is in a ``Resume``."""
        self.newest = seen
        """The highest number that exists, as far as this client knows."""
        self.is_asking = False
        """True while a request for missing lines is under way."""
        self.page = PAGE
        """The number of lines to ask for next. Long lines make it smaller, because an answer has a limit in bytes."""

    @property
    def is_behind(self) -> bool:
        """Whether lines are missing."""
        return self.seen < self.newest
