"""A clock for the reactor that neither steps of the wall clock nor a stopped process change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.logger import Logger

TICK_SECONDS: Final = 1.0
"""Interval of a timed call. It makes the reactor ask for the time at least so often."""
PAUSE_SECONDS: Final = 2.0
"""Time between two calls of the clock from which it counts as a pause of the process, in seconds."""

_log = Logger()


class ReactorClock(Protocol):
    """The clock of a reactor. ``callLater`` and the reactor's loop call ``seconds`` for the time."""

    seconds: Callable[[], float]

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> object:  # noqa: A002, N802 - Twisted's
        """Call a function after *delay* seconds."""


class RunningClock:
    """The time for which the process has run: *monotonic* without the times in which it was stopped.

    SIGSTOP, a debugger or a suspended machine can stop a process. When it continues, all its deadlines would be over,
    although the clients had no chance to be heard: what they have sent still waits in the kernel. So a step of more
    than ``PAUSE_SECONDS`` between two calls does not count.
    """

    def __init__(self, monotonic: Callable[[], float], offset: float) -> None:
        self._monotonic = monotonic
        self._offset = offset
        self._last = monotonic()
        self.paused = 0.0
        """Time that did not count since this was last set to 0, in seconds."""

    def seconds(self) -> float:
        """Return the time."""
        now = self._monotonic()
        if now - self._last > PAUSE_SECONDS:
            self._offset -= now - self._last
            self.paused += now - self._last
        self._last = now
        return now + self._offset


def use_monotonic_clock(reactor: ReactorClock, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
    """Make *reactor* use *monotonic*, shifted so that it agrees with *wall* now. Further calls change nothing.

    Twisted's reactors use the wall clock. A step forward, as after time synchronization, would reach all deadlines at
    once. A step back would delay all deadlines, and even ``callLater(0)``, with which Twisted aborts a connection.
    Calls that were scheduled before keep their time. Time in which the process was stopped does not count.
    """
    if "seconds" in vars(reactor):
        return
    clock = RunningClock(monotonic, wall() - monotonic())
    reactor.seconds = clock.seconds

    def tick() -> None:
        reactor.callLater(TICK_SECONDS, tick)
        if clock.paused:
            _log.warn(
                "The server stood still for {seconds:.0f} seconds. No deadline counts them.", seconds=clock.paused
            )
            clock.paused = 0.0

    tick()
