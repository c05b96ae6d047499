"""A clock for the reactor that neither steps of the wall clock nor a stopped process change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.logger import Logger

TICK_SECONDS: Final = 1.0
"""Interval of a timed call that shows that the process runs."""
PAUSE_SECONDS: Final = 2.0
"""Delay of that call from which the process was stopped, in seconds."""

_log = Logger()


class ReactorClock(Protocol):
    """The clock of a reactor. ``callLater`` and the reactor's loop call ``seconds`` for the time."""

    seconds: Callable[[], float]

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> object:  # noqa: A002, N802 - Twisted's
        """Call a function after *delay* seconds."""


def use_monotonic_clock(reactor: ReactorClock, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
    """Make *reactor* use *monotonic*, shifted so that it agrees with *wall* now. Further calls change nothing.

    Twisted's reactors use the wall clock. A step forward, as after time synchronization, would reach all deadlines at
    once. A step back would delay all deadlines, and even ``callLater(0)``, with which Twisted aborts a connection.
    Calls that were scheduled before keep their time.

    Time in which the process was stopped (SIGSTOP, a paused machine) does not count. When the process continues, all
    its deadlines would be over before the reactor reads what clients have sent meanwhile.
    """
    if "seconds" in vars(reactor):
        return
    offset = wall() - monotonic()
    paused = 0.0
    next_tick = latest_tick = 0.0

    def seconds() -> float:
        nonlocal offset, paused, next_tick, latest_tick
        now = monotonic()
        if now > latest_tick:
            offset -= now - next_tick
            paused += now - next_tick
            next_tick, latest_tick = now, now + PAUSE_SECONDS
        return now + offset

    def tick() -> None:
        nonlocal paused, next_tick, latest_tick
        next_tick = monotonic() + TICK_SECONDS
        latest_tick = next_tick + PAUSE_SECONDS
        reactor.callLater(TICK_SECONDS, tick)
        if paused:
            _log.warn("The server stood still for {seconds:.0f} seconds. No deadline counts them.", seconds=paused)
            paused = 0.0

    reactor.seconds = seconds
    tick()
