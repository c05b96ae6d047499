"""Handshakes run at once while nobody talks, and leave most of the time to lines while people talk."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from broadcast.net.handshake_pacing import (
    MAX_PAUSE_SECONDS,
    PAUSE_FACTOR,
    STEP_SECONDS,
    HandshakePacer,
)

COST = 0.0007
"""Seconds that a step takes."""


class Paced:
    """A pacer, and the steps that have run."""

    def __init__(self, cost: float = COST) -> None:
        self.clock = Clock()
        self.cpu = 0.0
        self.cost = cost
        self.is_talking = True
        self.done: list[int] = []
        self.pacer = HandshakePacer(self.clock, lambda: self.cpu, lambda: self.is_talking)

    def submit(self, *numbers: int) -> None:
        for number in numbers:
            self.pacer.submit(lambda number=number: self.run(number))  # type: ignore[misc]

    def run(self, number: int) -> None:
        self.cpu += self.cost
        self.done.append(number)


def test_first_step_runs_at_once_and_the_next_after_a_pause() -> None:
    paced = Paced()
    paced.submit(1, 2, 3)
    assert paced.done == [1]
    paced.clock.advance(PAUSE_FACTOR * COST * 0.9)
    paced.submit(4)
    assert paced.done == [1]
    paced.clock.advance(PAUSE_FACTOR * COST * 0.2)
    assert paced.done == [1, 2]
    paced.clock.pump([PAUSE_FACTOR * COST] * 3)
    assert paced.done == [1, 2, 3, 4]


def test_cheap_steps_share_a_turn() -> None:
    paced = Paced(cost=STEP_SECONDS / 4)
    paced.submit(*range(9))
    paced.clock.advance(1)
    assert paced.done == [0, 1, 2, 3, 4]
    paced.clock.advance(1)
    assert paced.done == list(range(9))


def test_quiet_server_makes_no_pause() -> None:
    paced = Paced()
    paced.is_talking = False
    paced.submit(0)
    paced.submit(*range(1, 100))
    assert paced.done == [0]
    paced.clock.advance(0)
    assert paced.done == list(range(100))


def test_pause_has_a_limit() -> None:
    paced = Paced(cost=1.0)
    paced.submit(1, 2)
    paced.clock.advance(MAX_PAUSE_SECONDS)
    assert paced.done == [1, 2]


def test_step_that_fails_does_not_stop_the_others() -> None:
    paced = Paced()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        paced.pacer.submit(fail)
    paced.submit(1)
    paced.clock.advance(1)
    assert paced.done == [1]
