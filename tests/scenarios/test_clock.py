"""The wall clock jumps, and nobody suffers for it."""

from __future__ import annotations

import pytest

from tests.harness import World

HOUR = 3600.0


@pytest.mark.parametrize(("leap", "shown"), [(HOUR, "13:00"), (-HOUR, "11:00")])
def test_lines_keep_their_order_and_show_the_time_that_it_was(world: World, leap: float, shown: str) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("/timestamp on")
    bob.read()
    ann.say("before")
    world.leap = leap
    ann.say("after")
    assert bob.lines() == ["[12:00] ann: before", f"[{shown}] ann: after"]
    bob.say("/history")
    assert bob.lines() == ["-> #1 [12:00] ann: before", f"-> #2 [{shown}] ann: after"]


@pytest.mark.parametrize("leap", [HOUR, -HOUR])
def test_the_time_to_a_nickname_is_as_long_as_ever(world: World, leap: float) -> None:
    stranger, late = world.connect(), world.connect()
    world.leap = leap
    world.clock.advance(59)
    stranger.say("ann")
    assert "You are ann." in stranger.read()
    world.clock.advance(1)
    assert late.read().endswith(" * No nickname in 60 seconds.\r\n")
