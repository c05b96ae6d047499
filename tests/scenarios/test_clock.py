"""The wall clock jumps by an hour: order, times and deadlines stay right."""

from __future__ import annotations

import pytest

from tests.harness import Person, World
from tests.scenarios.conftest import newcomer


@pytest.mark.parametrize(("leap", "shown"), [(3600.0, "13:00"), (-3600.0, "11:00")])
def test_lines_keep_order_and_nickname_deadline_does_not_move(
    world: World, ann: Person, bob: Person, leap: float, shown: str
) -> None:
    in_time, late = newcomer(world), newcomer(world)
    bob.say("/timestamp on")
    ann.say("before")
    world.leap = leap
    ann.say("after")
    bob.say("/history")
    assert bob.lines()[1:] == [
        *("[12:00] ann: before", f"[{shown}] ann: after"),
        *("-> #1 [12:00] ann: before", f"-> #2 [{shown}] ann: after"),
    ]
    world.clock.advance(59)
    in_time.say("carol")
    assert " * You are carol." in in_time.read()
    world.clock.advance(1)
    assert late.read() == " * No nickname in 60 seconds.\r\n"
