"""The throttle waits exactly while the next line is not allowed."""

from __future__ import annotations

from math import inf

import pytest
from twisted.internet.task import Clock

from broadcast.core.limits import Limits
from broadcast.net.throttle import Throttle


class Setup:
    """A throttle that allows two lines at once and one more each second."""

    def __init__(self, limits: Limits) -> None:
        self.clock = Clock()
        self.elapsed = 0
        self.throttle = Throttle(limits, self.clock, self._count)

    def _count(self) -> None:
        assert self.throttle.timer is None
        self.elapsed += 1


@pytest.fixture
def setup() -> Setup:
    """A throttle with two lines behind it: the next one has to wait."""
    setup = Setup(Limits(paste_lines=2, lines_per_second=1))
    for _ in range(2):
        assert not setup.throttle.start_delay()
        setup.throttle.consume()
    return setup


def test_line_above_the_limit_waits_until_it_is_allowed(setup: Setup) -> None:
    assert setup.throttle.start_delay()
    setup.clock.advance(0.9)
    assert (setup.throttle.timer is None, setup.elapsed) == (False, 0)
    setup.clock.advance(0.1)
    assert (setup.throttle.timer is None, setup.elapsed) == (True, 1)
    assert not setup.throttle.start_delay()


def test_lifted_throttle_delays_nothing(setup: Setup) -> None:
    assert setup.throttle.start_delay()
    assert setup.throttle.lift()
    assert setup.throttle.timer is None
    assert not setup.throttle.lift(), "nothing was delayed any longer"
    for _ in range(10):
        setup.throttle.consume()
        assert not setup.throttle.start_delay()
    assert not setup.clock.getDelayedCalls()
    assert setup.elapsed == 0


def test_nothing_is_delayed_without_a_limit() -> None:
    setup = Setup(Limits(lines_per_second=inf))
    for _ in range(1000):
        setup.throttle.consume()
    assert not setup.throttle.start_delay()
