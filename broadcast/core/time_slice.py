"""Time slices: long work is spread over several turns of the reactor, so that other work is not delayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

SLICE_SECONDS: Final = 0.005
"""Duration of a slice. The slices of all kinds of work together should end a turn of the reactor within 20 ms."""

CallSoon: TypeAlias = Callable[[Callable[[], None]], object]
"""Schedules a call for a later turn of the reactor, for example ``reactor.callFromThread``."""


class TimeSlice:
    """The share of one kind of work in each turn of the reactor.

    *work* proceeds in small steps while the slice is not ``exhausted``. It is called again in the next turn, even if
    nothing is left to do, unless ``begin`` has begun the slice. *now* returns monotonic seconds.
    """

    def __init__(self, work: Callable[[], None], call_soon: CallSoon, now: Callable[[], float]) -> None:
        self._work = work
        self._call_soon = call_soon
        self._now = now
        self._deadline: float | None = None
        self._owner: object = None
        """The owner for which ``begin`` has begun the current slice; None if ``exhausted`` has begun it."""
        self._scheduled = False
        """True while the next turn is going to continue the work."""

    def begin(self, owner: object) -> None:
        """Begin a slice for *owner*, unless this turn may have one. Call this before ``exhausted``.

        An owner calls this at most once in each turn. So its second call belongs to another turn, and begins another
        slice. The call of another owner may belong to the same turn. So it continues the slice, and uses the next turn,
        which shows where this one ends.

        Otherwise, such a slice uses the next turn only if it is exhausted. A slice that ``exhausted`` begins always
        uses the next turn.
        """
        if self._scheduled:
            return
        if self._deadline is None or self._owner == owner:
            self._deadline = None
            self._owner = owner
        else:
            self.use_next_turn()

    def exhausted(self) -> bool:
        """Return whether the slice of this turn is used up. The first call in a turn begins the slice."""
        now = self._now()
        if self._deadline is None:
            self._deadline = now + SLICE_SECONDS
            if self._owner is None:
                self.use_next_turn()
        if now < self._deadline:
            return False
        self.use_next_turn()
        return True

    def use_next_turn(self) -> None:
        """Continue the work in the next turn, with a new slice."""
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._resume)

    def _resume(self) -> None:
        """Begin a new slice."""
        self._scheduled = False
        self._owner = self._deadline = None
        self._work()
