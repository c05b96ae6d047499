"""The reactor's turns, and how work that may be much is spread over them: nobody waits long for their own turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

SLICE_SECONDS: Final = 0.005
"""So long one kind of work may go on in one turn. There are few kinds, and a turn is to be over within 20 ms
(PERFORMANCE)."""

CallSoon: TypeAlias = Callable[[Callable[[], None]], object]


class TimeSlice:
    """What one kind of work may take of each turn.

    *work* is done in small steps, and stops before one when ``over``; it is called again in the next turn, also when
    nothing is left of it. *soon* runs a function in a later turn of the reactor, *now* tells seconds that never go
    back.
    """

    def __init__(self, work: Callable[[], None], call_soon: CallSoon, now: Callable[[], float]) -> None:
        self._work = work
        self._call_soon = call_soon
        self._now = now
        self._deadline: float | None = None

    def exhausted(self) -> bool:
        """Whether the share of this turn has been used up; the first question begins it."""
        now = self._now()
        if self._deadline is None:
            self._deadline = now + SLICE_SECONDS
            self._call_soon(self._begin)
        return now >= self._deadline

    def _begin(self) -> None:
        """Another turn has come."""
        self._deadline = None
        self._work()
