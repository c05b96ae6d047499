"""The throttle of one connection: the rate limit of its input, with a timer."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from broadcast.core.limits import RateLimiter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from broadcast.core.limits import Limits


class Throttle:
    """A rate limit that calls *on_elapsed* when the next line is allowed. The seconds of *clock* are monotonic."""

    def __init__(self, limits: Limits, clock: IReactorTime, on_elapsed: Callable[[], None]) -> None:
        rate = limits.lines_per_second
        self._limiter = RateLimiter(limits.paste_lines, rate) if rate < inf else None
        self._clock = clock
        self._on_elapsed: Callable[[], None] | None = on_elapsed
        self.timer: IDelayedCall | None = None
        """The end of the delay; None unless the next line is delayed."""

    def start_delay(self) -> bool:
        """Start the timer if the next line is not allowed yet, and return whether it was started."""
        if self._limiter is not None and (wait := self._limiter.delay(self._clock.seconds())):
            self.timer = self._clock.callLater(wait, self._elapse)
            return True
        return False

    def consume(self) -> None:
        """Count a line, or input that costs as much."""
        if self._limiter is not None:
            self._limiter.consume(self._clock.seconds())

    def lift(self) -> bool:
        """Allow all further lines at once. Return whether one was delayed."""
        self._limiter = None
        self._on_elapsed = None  # a reference cycle with the connection would delay freeing both
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _elapse(self) -> None:
        self.timer = None
        if self._on_elapsed is not None:
            self._on_elapsed()
