"""The reactor's deadlines, while the wall clock jumps."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.base import ReactorBase

from broadcast.server.monotonic_clock import use_monotonic_clock

NOON = 1_768_478_400.0
HOUR = 3600.0


class Reactor(ReactorBase):
    """Twisted's timed calls, with nothing to wait for."""

    def installWaker(self) -> None:  # noqa: N802 -- Twisted's name
        """Nobody wakes it."""


class Clocks:
    """A wall clock and one that goes steadily, and a reactor that was made steady with them."""

    def __init__(self) -> None:
        self.wall = NOON
        self.steady = 77.0
        self.reactor = Reactor()
        self.called: list[str] = []
        self.make_steady()

    def make_steady(self) -> None:
        """Do what the server does at its start."""
        use_monotonic_clock(cast(Any, self.reactor), lambda: self.wall, lambda: self.steady)

    def later(self, seconds: float, name: str) -> None:
        """Note *name* after so many seconds."""
        self.reactor.callLater(seconds, self.called.append, name)

    def pass_by(self, seconds: float) -> None:
        """Let time go by on both clocks."""
        self.wall += seconds
        self.steady += seconds
        self.reactor.runUntilCurrent()


def test_it_begins_with_the_time_of_day() -> None:
    assert Clocks().reactor.seconds() == NOON


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_deadline_comes_when_its_seconds_are_over_wherever_the_wall_clock_jumps(jump: float) -> None:
    clocks = Clocks()
    clocks.later(0, "at once")
    clocks.later(60, "in a minute")
    clocks.wall += jump
    clocks.pass_by(0)
    assert clocks.called == ["at once"]
    assert clocks.reactor.timeout() == 60
    clocks.pass_by(59)
    assert clocks.called == ["at once"]
    clocks.pass_by(1)
    assert clocks.called == ["at once", "in a minute"]


def test_to_ask_for_it_again_changes_nothing() -> None:
    clocks = Clocks()
    clocks.later(60, "in a minute")
    clocks.wall += HOUR
    clocks.make_steady()
    clocks.pass_by(59)
    assert clocks.called == []
