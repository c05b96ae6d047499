"""The end of the server: accepted lines are said, everybody reads the news, and every connection closes."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.harness import Person, World
from tests.scenarios.conftest import at_once, newcomer

GOING_DOWN = " * The server is going down."


def drain(world: World) -> Deferred[list[tuple[bool, None]]]:
    """Stop reading from everybody, and work on what has come in."""
    drained = world.connections.drain()
    world.settle()
    return drained


def shut_down(world: World) -> Deferred[None]:
    """Shut down; return what fires when all connections are gone."""
    assert drain(world).called
    closed: list[str] = []
    world.hub.close(lambda: closed.append("closed"))
    world.settle()
    assert closed
    return world.connections.disconnect()


def test_everybody_reads_accepted_lines_and_that_the_server_is_going_down(
    world: World, ann: Person, bob: Person, carol: Person
) -> None:
    late, nobody = newcomer(world), newcomer(world)
    ann.put("taken in\r\n/history #1\r\nthis too\r\nnot finished")
    carol.put("x\r\n" * 1000)
    late.put("dave\r\nhi\r\n")
    gone = shut_down(world)
    said = ["ann: taken in", *["carol: x"] * 1000]
    lines = bob.lines()
    assert sorted(lines[:-1]) == sorted([*said, "ann: this too", " * dave joined.", "dave: hi"])
    assert [lines[-1], late.lines()[-1], *nobody.lines()] == [GOING_DOWN] * 3
    assert [line for line in ann.lines() if "taken in" in line] == ["-> #1 [12:00] ann: taken in"]
    for person in (ann, bob, carol, late, nobody):
        assert not gone.called
        assert person.transport.finished
        person.hang_up()
    assert gone.called


@pytest.mark.parametrize("typed", [["quit"], ["hi", "quit", "hi"]])
def test_leaving_person_says_goodbye_before_the_server_goes_down(ann: Person, typed: list[str]) -> None:
    at_once((ann, *typed))
    shut_down(ann.world)
    assert ann.lines() == [" * Goodbye, ann."]


def test_server_waits_ten_seconds_for_a_person_who_does_not_read_and_for_nobody_who_left(
    world: World, ann: Person, bob: Person, carol: Person
) -> None:
    ann.transport.takes = False
    bob.say(*["x" * 2000] * 40, "quit")
    carol.vanish()
    gone = shut_down(world)
    bob.hang_up()
    world.clock.advance(10)
    assert not gone.called
    assert ann.transport.aborted
    ann.vanish()
    assert gone.called


def test_disconnected_person_leaves_the_log_once_and_nobody_reads_of_it(
    world: World, ann: Person, bob: Person, log: list[str]
) -> None:
    bob.say("quit")
    (carol,) = world.join("carol")
    shut_down(world)
    for person in (ann, bob, carol):
        person.hang_up()
    assert carol.lines() == [GOING_DOWN]
    left = [f"{nick} left (127.0.0.1 port 40000)" for nick in ("ann", "bob", "carol")]
    assert sorted(line for line in log if "left" in line) == left
