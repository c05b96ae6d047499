"""A monotonic clock for the reactor, so that steps of the wall clock change no deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ReactorClock(Protocol):
    """The clock of a reactor. ``callLater`` and the reactor's loop call ``seconds`` for the time."""

    seconds: Callable[[], float]


def use_monotonic_clock(reactor: ReactorClock, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
    """Make *reactor* use *monotonic*, shifted so that it agrees with *wall* now. Further calls change nothing.

    Twisted's reactors use the wall clock. A step forward, as after time synchronization, would reach all deadlines at
    once. A step back would delay all deadlines, and even ``callLater(0)``, with which Twisted aborts a connection.
    Calls that were scheduled before keep their time.
    """
    if "seconds" not in vars(reactor):
        offset = wall() - monotonic()
        reactor.seconds = lambda: monotonic() + offset
