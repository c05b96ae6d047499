"""What the parts count of their own work: plain numbers that anybody may read at any moment, and nobody is told of.

Counting costs an addition, once for a burst, a commit or a refusal. What becomes of the numbers is no business of
those who count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

COMMIT_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""A commit waits for the disk: a fraction of a millisecond on a good one; 2 seconds at most for another program."""


class Refusal(Enum):
    """What was refused to somebody; the value names it in figures, and is all that these ever say about it."""

    NICKNAME = "nickname"
    """A nickname that is taken, or that nobody may have."""
    TURNED_AWAY = "turned_away"
    """A visit without a nickname: none in time, another protocol, or the server is going down."""
    FULL = "full"
    """A connection: there are too many, in all or from one address."""
    OVERLONG = "overlong"
    """A line of too many bytes."""
    COMMAND = "command"
    """A command that is unknown, misused or impossible."""
    UNREAD = "unread"
    """A private line to somebody who does not read what is sent to them."""
    NOT_FOUND = "not_found"
    """A look into the journal that failed."""


class Histogram:
    """How often values fell between *bounds* (ascending). One thread may add while others read."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many values were at most as large as each bound and larger than the one before; the last, than all."""
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


def _still() -> float:
    """A clock for where nobody looks at the times."""
    return 0.0


def _unheard(_trouble: str) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Keeping:
    """How a journal's commits go. The thread that commits writes it, any may read it.

    *now* tells seconds that never go back; *changed* is called from that thread with each new ``trouble``.
    """

    now: Callable[[], float] = _still
    changed: Callable[[str], object] = _unheard
    seconds: Histogram = field(default_factory=lambda: Histogram(COMMIT_SECONDS))
    """How long the commits took that succeeded, in seconds."""
    took: float = 0.0
    """How long the last of them took."""
    failures: int = 0
    """How many commits failed."""
    refused: int = 0
    """How many events were not kept."""
    trouble: str = ""
    """Why the last commit failed, as one short line; empty where it succeeded, or there was none."""

    def failed(self, why: str, events: int) -> None:
        """A commit of *events* (0 or more) failed."""
        self.failures += 1
        self.refused += events
        self._become(why)

    def succeeded(self, seconds: float) -> None:
        """A commit is done; it took *seconds*."""
        self.seconds.add(seconds)
        self.took = seconds
        self._become("")

    def _become(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.changed(trouble)
