"""The reactor's deadlines do not depend on the wall clock."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.base import ReactorBase

from broadcast.server.monotonic_clock import use_monotonic_clock

NOON = 1_768_478_400.0
HOUR = 3600.0


class Reactor(ReactorBase):
    """A reactor with timed calls and without I/O."""

    def installWaker(self) -> None:  # noqa: N802 -- Twisted's name
        """Do nothing."""


class Clocks:
    """A wall clock, a monotonic clock, and a reactor that uses them."""

    def __init__(self) -> None:
        self.wall = NOON
        self.monotonic = 77.0
        self.reactor = Reactor()
        self.called: list[str] = []
        self.install()

    def install(self) -> None:
        use_monotonic_clock(cast(Any, self.reactor), lambda: self.wall, lambda: self.monotonic)

    def call_later(self, seconds: float, name: str) -> None:
        """Append *name* to ``called`` after *seconds*."""
        self.reactor.callLater(seconds, self.called.append, name)

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall += seconds
        self.monotonic += seconds
        self.reactor.runUntilCurrent()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_deadline_does_not_depend_on_jumps_of_the_wall_clock(jump: float) -> None:
    clocks = Clocks()
    assert clocks.reactor.seconds() == NOON
    clocks.call_later(0, "at once")
    clocks.call_later(60, "in a minute")
    clocks.wall += jump
    clocks.advance(0)
    assert clocks.called == ["at once"]
    assert clocks.reactor.timeout() == 60
    clocks.install()  # a second installation changes nothing
    clocks.advance(59)
    assert clocks.called == ["at once"]
    clocks.advance(1)
    assert clocks.called == ["at once", "in a minute"]
