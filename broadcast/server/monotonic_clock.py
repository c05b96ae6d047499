"""A clock for deadlines that no step of the wall clock changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timed(Protocol):
    """A reactor, as far as its clock goes: ``callLater`` asks ``seconds`` for the time, then and ever after."""

    seconds: Callable[[], float]


def use_monotonic_clock(reactor: Timed, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
    """Let *reactor* go by *monotonic*, and be as late as *wall* is now; once, however often it is asked for.

    Twisted's reactors go by the wall clock. A step forward, as when a machine learns the time, would end everything
    that has a deadline at once; a step back puts off all deadlines, and even ``callLater(0)``, with which Twisted
    aborts a connection. What was scheduled before this stays where it is.
    """
    if "seconds" not in vars(reactor):
        ahead = wall() - monotonic()
        reactor.seconds = lambda: monotonic() + ahead
