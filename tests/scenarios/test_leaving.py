"""Leaving: by a word, at the end of the input, by a lost connection. Everything typed before counts."""

from __future__ import annotations

import pytest

from tests.harness import Person, World
from tests.scenarios.conftest import at_once, is_aborted, newcomer


def test_leaving_person_gets_everything_before_the_connection_closes(world: World, ann: Person, bob: Person) -> None:
    at_once((bob, "hi", "/history", "quit"), (ann, "hello"))
    assert bob.lines() == ["ann: hello", "-> #1 [12:00] bob: hi", "-> #2 [12:00] ann: hello", " * Goodbye, bob."]
    assert bob.transport.finished
    assert not bob.transport.closed
    assert bob.transport.reading, "unread input at a close would reset the connection and lose the last lines"
    bob.say("hello?", "/ping")
    assert ann.lines() == ["bob: hi", " * bob left."]
    bob.hang_up()
    assert bob.read() == ""
    assert not bob.transport.aborted
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize("unread", [0, 100])
def test_leaving_person_who_never_reads_is_aborted_after_ten_seconds(
    world: World, ann: Person, bob: Person, unread: int
) -> None:
    bob.transport.takes = False
    ann.say(*["x" * 2000] * unread)
    bob.say("quit")
    world.clock.advance(9.9)
    assert not is_aborted(bob)
    world.clock.advance(0.1)
    assert is_aborted(bob)
    bob.vanish()
    assert ann.lines() == [" * bob left."]
    assert not world.clock.getDelayedCalls()


def test_leaving_person_who_lags_gets_everything_up_to_the_goodbye(world: World, ann: Person, bob: Person) -> None:
    bob.transport.takes = False
    ann.say(*(f"{number} " + "x" * 2000 for number in range(100)))
    bob.say("/ping", "quit")
    ann.say("too late")
    assert not bob.transport.finished
    bob.transport.take_again(1001)
    bob.transport.take_again()
    assert bob.lines() == [*(f"ann: {number} " + "x" * 2000 for number in range(100)), "-> pong", " * Goodbye, bob."]
    bob.hang_up()
    assert not bob.transport.aborted
    assert not world.clock.getDelayedCalls()


# The end of the input


def test_end_of_input_answers_what_was_asked_and_leaves(world: World, ann: Person) -> None:
    bob = newcomer(world)
    bob.put("bob\r\nhi\r\n/history\r\n/ping\r\n")
    bob.end_input()
    assert bob.lines()[1:] == ["-> #1 [12:00] bob: hi", "-> pong", " * Goodbye, bob."]
    assert ann.lines() == [" * bob joined.", "bob: hi", " * bob left."]
    assert bob.transport.closed
    assert not world.clock.getDelayedCalls()


def test_end_of_input_of_a_person_who_does_not_read_waits_until_they_do(world: World, ann: Person, bob: Person) -> None:
    bob.transport.takes = False
    at_once((bob, *["/help"] * 200, "still said"))
    assert not bob.transport.reading
    bob.end_input()
    assert ann.read() == ""
    bob.transport.take_again()
    world.settle()
    assert ann.lines() == ["bob: still said", " * bob left."]
    assert bob.lines()[-1] == " * Goodbye, bob."


# A lost connection


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ([], []),
        (["one", "/history", "two", "three"], ["one", "two", "three"]),
        (["/history 1", "one", "two"], ["one", "two"]),
        (["x"] * 1000, ["x"] * 1000),
    ],
)
@pytest.mark.parametrize(("last", "end"), [([], ": connection lost"), (["/quit tired"], ": tired")])
def test_lines_typed_before_the_loss_are_still_said(
    ann: Person, bob: Person, typed: list[str], seen: list[str], last: list[str], end: str
) -> None:
    bob.put("".join(f"{line}\r\n" for line in typed + last))
    bob.vanish()
    assert ann.lines() == [*(f"bob: {text}" for text in seen), f" * bob left{end}"]


def test_lines_of_a_lost_newcomer_are_still_said(world: World, ann: Person) -> None:
    bob, nobody = newcomer(world), newcomer(world)
    bob.put("bob\r\nhi\r\n")
    bob.vanish()
    nobody.put("carol smith\r\n")
    nobody.vanish()
    assert ann.lines() == [" * bob joined.", "bob: hi", " * bob left: connection lost"]
    assert not world.clock.getDelayedCalls()


def test_lines_of_a_lost_person_who_never_read_are_still_said(ann: Person, bob: Person) -> None:
    bob.transport.takes = False
    bob.put("/help\r\n" * 200 + "one\r\ntwo\r\n")
    bob.vanish()
    assert ann.lines() == ["bob: one", "bob: two", " * bob left: connection lost"]


def test_hundreds_of_lost_connections_are_shown_as_one_number(world: World, ann: Person) -> None:
    crowd = [(world.connect(), f"p{number}") for number in range(300)]
    at_once(*crowd)
    assert ann.lines() == [" * 300 people joined."]
    for person, _ in crowd:
        person.protocol.connectionLost()
    world.settle()
    ann.say("/names")
    assert ann.lines() == [" * 300 people left.", "-> 1 here: ann"]
