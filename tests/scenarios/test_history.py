"""PROTOCOL.md, "Commands": what was said before."""

from __future__ import annotations

import pytest

from tests.harness import World


def test_history_shows_the_last_lines_with_their_numbers(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say(*(f"line {number}" for number in range(1, 25)), "/me waves")
    ann.read()
    ann.say("/history")
    assert ann.lines() == [
        *(f"-> #{number} [12:00] bob: line {number}" for number in range(6, 25)),
        "-> #25 [12:00] ** bob waves",
    ]
    ann.say("/history 2")
    assert ann.lines() == ["-> #24 [12:00] bob: line 24", "-> #25 [12:00] ** bob waves"]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("#10-#12", [10, 11, 12]),
        ("#10-12", [10, 11, 12]),
        ("#3", [3]),
        ("#24-#99", [24, 25]),
        ("#0-#2", [1, 2]),
        (" 1 ", [25]),
        ("1000000", range(1, 26)),
    ],
)
def test_history_shows_lines_by_number(world: World, asked: str, numbers: list[int]) -> None:
    (ann,) = world.join("ann")
    ann.say(*(f"line {number}" for number in range(1, 26)), f"/history {asked}")
    assert ann.lines() == [f"-> #{number} [12:00] ann: line {number}" for number in numbers]


@pytest.mark.parametrize("asked", ["", "5", "#1", "#1-#9", "#7-#3"])
def test_history_says_when_there_is_nothing(world: World, asked: str) -> None:
    (ann,) = world.join("ann")
    ann.say(f"/history {asked}")
    assert ann.lines() == ["-> nothing was said yet."]


def test_history_shows_at_most_a_thousand_lines(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say(*("x" for _ in range(1003)))
    ann.say("/history 1003")
    assert ann.lines() == [f"-> #{number} [12:00] ann: x" for number in range(4, 1004)]
    ann.say("/history #2-#1001")
    assert len(ann.lines()) == 1000
    ann.say("/history #2-#1002")
    assert ann.lines() == ["-> Error: at most 1000 lines at once: /history #2-#1001"]


def test_history_holds_what_its_asker_has_just_said(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("from bob\r\n")
    ann.put("from ann\r\n/history\r\n")
    bob.put("too late\r\n")
    world.settle()
    assert ann.lines() == [
        "bob: from bob",
        "bob: too late",
        "-> #1 [12:00] bob: from bob",
        "-> #2 [12:00] ann: from ann",
        "-> #3 [12:00] bob: too late",
    ]


def test_history_holds_nothing_that_its_asker_has_not_been_shown(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("hi")
    ann.read()
    ann.put("/history\r\n")
    assert not ann.transport.reading
    world.turn()
    bob.put("later\r\n")
    world.settle()
    assert "later" not in "".join(line for line in ann.lines() if line.startswith("->"))
    assert ann.transport.reading
