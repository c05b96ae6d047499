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


class Rejection(Enum):
    """What was refused to somebody; the value names it in figures, and is all that these ever say about it."""

    NICKNAME = "nickname"
    """A nickname that is taken, or that nobody may have."""
    TURNED_AWAY = "turned_away"
    """A visit without a nickname: none in time, another protocol, or the server is going down."""
    FULL = "full"
    """A connection: there are too many, in all or from one address."""
    LINE_TOO_LONG = "overlong"
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


def _zero() -> float:
    """A clock for where nobody looks at the times."""
    return 0.0


def _ignore(_trouble: str) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class CommitStats:
    """How a journal's commits go. The thread that commits writes it, any may read it.

    *now* tells seconds that never go back; *changed* is called from that thread with each new ``trouble``.
    """

    now: Callable[[], float] = _zero
    on_change: Callable[[str], object] = _ignore
    durations: Histogram = field(default_factory=lambda: Histogram(COMMIT_SECONDS))
    """How long the commits took that succeeded, in seconds."""
    last_duration: float = 0.0
    """How long the last of them took."""
    failed_commits: int = 0
    """How many commits failed."""
    failed_events: int = 0
    """How many events were not kept."""
    last_error: str = ""
    """Why the last commit failed, as one short line; empty where it succeeded, or there was none."""

    def record_failure(self, why: str, events: int) -> None:
        """A commit of *events* (0 or more) failed."""
        self.failed_commits += 1
        self.failed_events += events
        self._set_error(why)

    def record_success(self, seconds: float) -> None:
        """A commit is done; it took *seconds*."""
        self.durations.add(seconds)
        self.last_duration = seconds
        self._set_error("")

    def _set_error(self, trouble: str) -> None:
        if trouble != self.last_error:
            self.last_error = trouble
            self.on_change(trouble)
