from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from broadcast.client.heartbeat import PATIENCE, SILENCE, Heartbeat


class Case:
    """A heartbeat, and what it called."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.called: list[str] = []
        self.heart = Heartbeat(self.clock, lambda: self.called.append("ask"), lambda: self.called.append("lost"))


@pytest.fixture
def case() -> Case:
    return Case()


def test_after_a_silence_it_asks_and_after_another_it_has_lost(case: Case) -> None:
    case.heart.start()
    case.clock.advance(SILENCE - 1)
    assert case.called == []
    case.clock.advance(1)
    assert case.called == ["ask"]
    case.clock.advance(PATIENCE - 1)
    assert case.called == ["ask"]
    case.clock.advance(1)
    assert case.called == ["ask", "lost"]
    assert case.clock.getDelayedCalls() == []


def test_whatever_comes_ends_the_silence(case: Case) -> None:
    case.heart.start()
    for _ in range(5):
        case.clock.advance(SILENCE - 1)
        case.heart.heard()
    assert case.called == []
    case.clock.advance(SILENCE)
    assert case.called == ["ask"]


def test_whatever_comes_is_an_answer(case: Case) -> None:
    case.heart.start()
    for _ in range(3):
        case.clock.advance(SILENCE)
        case.clock.advance(PATIENCE - 1)
        case.heart.heard()
    assert case.called == ["ask"] * 3
    case.clock.advance(SILENCE - 1)
    assert case.called == ["ask"] * 3


@pytest.mark.parametrize("silent", [0, SILENCE])
def test_stopped_it_calls_nobody(case: Case, silent: float) -> None:
    case.heart.heard()
    case.heart.start()
    case.clock.advance(silent)
    case.called.clear()
    case.heart.stop()
    case.heart.heard()
    assert case.clock.getDelayedCalls() == []
    case.heart.start()
    case.clock.advance(SILENCE)
    assert case.called == ["ask"]


def test_what_comes_while_it_asks_counts(case: Case) -> None:
    def ask() -> None:
        heart.heard()

    heart = Heartbeat(case.clock, ask, lambda: case.called.append("lost"))
    heart.start()
    for _ in range(10):
        case.clock.advance(PATIENCE)
    assert case.called == []
