"""The decision that the database has stored last holds on each node, in whatever order the rooms announce them."""

from __future__ import annotations

import pytest

from broadcast.core.decision_order import DecisionOrder
from broadcast.core.decisions import Mute, SlowMode
from broadcast.core.moderation import Moderation
from tests.harness import World

OWN, OTHER = SlowMode("lobby", 5, 1), SlowMode("lobby", 9, 2)


@pytest.fixture
def moderation() -> Moderation:
    return Moderation(World().journal.records)


@pytest.fixture
def order(moderation: Moderation) -> DecisionOrder:
    """The order on a node whose operator has just decided ``OWN``."""
    order = DecisionOrder(moderation)
    moderation.carry_out(OWN)
    order.begin(OWN)
    return order


@pytest.mark.parametrize("is_read", [False, True])
def test_later_decision_of_this_node_holds(moderation: Moderation, order: DecisionOrder, is_read: bool) -> None:
    if is_read:
        order.read(OTHER)
    order.receive(OTHER)
    order.receive(OWN)
    order.read(OTHER)
    assert moderation.slow_seconds("lobby") == 5


def test_later_decision_of_another_node_holds(moderation: Moderation, order: DecisionOrder) -> None:
    order.receive(OWN)
    order.receive(OTHER)
    order.read(OWN)
    assert moderation.slow_seconds("lobby") == 9


def test_decision_counts_as_soon_as_it_is_read(moderation: Moderation, order: DecisionOrder) -> None:
    order.receive(OWN)
    order.read(OTHER)
    assert moderation.slow_seconds("lobby") == 9


def test_decision_about_something_else_does_not_wait(moderation: Moderation, order: DecisionOrder) -> None:
    order.receive(SlowMode("attic", 7, 3))
    order.read(Mute(None, 7, None, 4))
    assert moderation.slow_seconds("attic") == 7
    assert moderation.unmute(None, 7)


def test_each_of_two_decisions_of_this_node_is_waited_for(moderation: Moderation, order: DecisionOrder) -> None:
    last = SlowMode("lobby", 6, 3)
    moderation.carry_out(last)
    order.begin(last)
    for decision in (OWN, OTHER, last):
        order.receive(decision)
    assert moderation.slow_seconds("lobby") == 6


def test_decision_that_could_not_be_stored_is_not_waited_for(moderation: Moderation, order: DecisionOrder) -> None:
    assert order.end(OWN)
    assert not order.end(OWN)
    order.receive(OTHER)
    assert moderation.slow_seconds("lobby") == 9
    order.receive(OWN)  # it was stored after all
    assert moderation.slow_seconds("lobby") == 5


def test_node_that_starts_anew_waits_for_nothing(moderation: Moderation, order: DecisionOrder) -> None:
    order.forget_all()
    order.receive(OTHER)
    assert moderation.slow_seconds("lobby") == 9
