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
    nothing is left to do. *now* returns monotonic seconds.
    """

    def __init__(self, work: Callable[[], None], call_soon: CallSoon, now: Callable[[], float]) -> None:
        self._work = work
        self._call_soon = call_soon
        self._now = now
        self._deadline: float | None = None

    def exhausted(self) -> bool:
        """Return whether the slice of this turn is used up. The first call in a turn begins the slice."""
        now = self._now()
        if self._deadline is None:
            self._deadline = now + SLICE_SECONDS
            self._call_soon(self._resume)
        return now >= self._deadline

    def _resume(self) -> None:
        """Continue in the next turn, with a new slice."""
        self._deadline = None
        self._work()
