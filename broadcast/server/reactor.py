"""Changes to Twisted's reactor: a clock that does not jump, and turns that stay short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.logger import Logger

TICK_SECONDS: Final = 1.0
"""Interval of a timed call that shows that the process runs."""
PAUSE_SECONDS: Final = 2.0
"""Delay of that call from which the process was stopped, in seconds."""
MAX_EVENTS: Final = 128
"""Maximum number of connections that one turn serves. The system reports the others first in the next turn."""

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


class _LimitedPoller:
    """An ``epoll`` object that reports at most ``MAX_EVENTS`` events at a time."""

    def __init__(self, poller: Any) -> None:  # noqa: ANN401 - ``select.epoll`` exists on Linux only
        self._poll = poller.poll
        self.register = poller.register
        self.modify = poller.modify
        self.unregister = poller.unregister
        self.fileno = poller.fileno
        self.close = poller.close

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Wait for events and return them, at most *most* of them."""
        events: list[tuple[int, int]] = self._poll(timeout, min(most, MAX_EVENTS))
        return events


def limit_turns(reactor: Any) -> None:  # noqa: ANN401 - any reactor
    """Limit the connections that one turn of *reactor* serves, if it uses epoll, as Twisted's default on Linux does.

    Twisted serves all connections with an event in one turn. When 1,000 connections break at once, this turn takes
    80 ms, and all lines wait for it.
    """
    poller = getattr(reactor, "_poller", None)
    if type(poller).__name__ == "epoll":
        reactor._poller = _LimitedPoller(poller)  # noqa: SLF001 - Twisted has no other way
