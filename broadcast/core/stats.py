"""Counters of the server's own work: plain numbers that any thread may read at any time.

Counting costs one addition for each batch, commit or rejection. The parts that count do not know how the numbers are
used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

COMMIT_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Bounds of the histogram of commit durations, in seconds.

A good disk takes a fraction of a millisecond. Another program that locks the journal can delay a commit by at most 2
seconds.
"""


class Rejection(Enum):
    """The kinds of rejections. The value is the kind's name in metrics."""

    NICKNAME = "nickname"
    """A nickname that is taken or not allowed."""
    WITHOUT_NICKNAME = "turned_away"
    """A connection without a nickname, because of the time limit, another protocol, or the shutdown."""
    FULL = "full"
    """A connection above the limit in total or from one address."""
    BANNED = "banned"
    """A connection or a nickname that is banned."""
    LINE_TOO_LONG = "overlong"
    """A line with too many bytes."""
    COMMAND = "command"
    """An unknown command, wrong arguments, or a command that is not possible now."""
    RECIPIENT_NOT_READING = "unread"
    """A private message to a member that does not read."""
    NOT_FOUND = "not_found"
    """A failed read or search in the journal."""


class Histogram:
    """Counts of values between *bounds*, which are ascending. One thread may add while others read."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Number of values up to each bound and above the previous one. The last is for values above all bounds."""
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


def _zero() -> float:
    """Return 0: the clock if durations are not needed."""
    return 0.0


def _ignore(_error: str) -> None:
    """Do nothing: the callback if changes are not needed."""


@dataclass(slots=True)
class CommitStats:
    """Durations and failures of a journal's commits. The committing thread writes them, any thread may read them.

    *now* returns monotonic seconds. *on_change* is called on the committing thread with each new ``last_error``.
    """

    now: Callable[[], float] = _zero
    on_change: Callable[[str], object] = _ignore
    durations: Histogram = field(default_factory=lambda: Histogram(COMMIT_SECONDS))
    """Durations of the successful commits, in seconds."""
    last_duration: float = 0.0
    """Duration of the last successful commit, in seconds."""
    failed_commits: int = 0
    """Number of failed commits."""
    failed_events: int = 0
    """Number of events that could not be stored."""
    last_error: str = ""
    """Reason why the last commit failed, as one short line. Empty if it succeeded or there was none."""

    def record_failure(self, error: str, events: int) -> None:
        """Record that a commit of *events* (0 or more) failed."""
        self.failed_commits += 1
        self.failed_events += events
        self._set_error(error)

    def record_success(self, seconds: float) -> None:
        """Record that a commit succeeded after *seconds*."""
        self.durations.add(seconds)
        self.last_duration = seconds
        self._set_error("")

    def _set_error(self, error: str) -> None:
        if error != self.last_error:
            self.last_error = error
            self.on_change(error)
