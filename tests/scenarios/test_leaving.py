"""PROTOCOL.md: the ways out of the room, and everything that was typed before counts."""

from __future__ import annotations

import pytest

from tests.harness import World


def test_a_line_and_quit_in_one_chunk_are_both_worked_on(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("my last words", "quit", "nobody hears this")
    assert ann.lines() == ["bob: my last words", " * bob left."]
    assert bob.read() == " * Goodbye, bob.\r\n"


def test_everything_is_delivered_before_the_connection_closes(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("hi\r\n/history\r\nquit\r\n")
    ann.put("hello\r\n")
    world.settle()
    assert bob.lines() == ["ann: hello", "-> #1 [12:00] bob: hi", "-> #2 [12:00] ann: hello", " * Goodbye, bob."]
    assert bob.transport.finished
    assert not bob.transport.closed


def test_what_is_typed_after_leaving_is_read_and_dropped(world: World) -> None:
    """Unread input at a close would reset the connection, and take with it what they have not read yet."""
    ann, bob = world.join("ann", "bob")
    bob.say("quit")
    ann.read()
    assert bob.transport.reading
    bob.send("hello?\r\n/ping\r\n")
    assert ann.read() == ""
    assert bob.lines()[-1] == " * Goodbye, bob."


def test_both_directions_are_closed_once_both_sides_have_finished(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("quit")
    ann.hang_up()
    assert not ann.transport.aborted
    assert not world.clock.getDelayedCalls()
    assert not world.connections


def test_a_closing_connection_that_does_not_read_is_aborted_after_ten_seconds(world: World) -> None:
    (ann,) = world.join("ann")
    ann.transport.takes = False
    ann.say("quit")
    aborted = []
    for seconds in (9.9, 0.1):
        world.clock.advance(seconds)
        aborted.append(ann.transport.aborted)
    assert aborted == [False, True]
    ann.vanish()
    assert not world.connections


def test_who_has_left_is_not_here_any_more(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("quit")
    ann.read()
    ann.say("/names", "/msg bob hm")
    assert ann.lines() == ["-> 1 here: ann", "-> Error: bob is not here."]


# The end of input


@pytest.mark.parametrize("last", ["hi", "hi\r\n", "hi\r", "hi\n"])
def test_at_the_end_of_input_an_unfinished_last_line_counts_and_then_it_is_as_quit(world: World, last: str) -> None:
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.put("bob\n" + last)
    bob.end_input()
    assert ann.lines() == [" * bob joined.", "bob: hi", " * bob left."]
    assert bob.lines() == [
        "Welcome to Broadcast.",
        "Nickname:  * You are bob. 1 other is here: ann. /help lists the commands, quit leaves.",
        " * Goodbye, bob.",
    ]
    assert bob.transport.closed


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("quit", " * bob left."),
        ("/quit tired", " * bob left: tired"),
        ("/history", " * bob left."),
        ("", " * bob left."),
    ],
)
def test_an_unfinished_last_line_may_be_a_command(world: World, last: str, told: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put(last)
    bob.end_input()
    assert ann.lines() == [told]
    assert bob.lines()[-1] == " * Goodbye, bob."
    assert bob.transport.closed


def test_what_was_asked_before_the_end_of_input_is_answered(world: World) -> None:
    (ann,) = world.join("ann")
    ann.put("hi\n/history\n/ping")
    ann.end_input()
    assert ann.lines() == ["-> #1 [12:00] ann: hi", "-> pong", " * Goodbye, ann."]


@pytest.mark.parametrize("typed", ["", "ann smith\r\n", "quit"])
def test_the_end_of_input_before_a_nickname_closes(world: World, typed: str) -> None:
    person = world.connect()
    person.put(typed)
    person.end_input()
    assert person.lines()[-1].endswith(" * Goodbye.")
    assert person.transport.closed
    assert not world.clock.getDelayedCalls()


def test_an_unfinished_nickname_counts(world: World) -> None:
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.put("bob")
    bob.end_input()
    assert ann.lines() == [" * bob joined.", " * bob left."]
    assert bob.lines()[-1] == " * Goodbye, bob."


def test_the_end_of_input_of_somebody_who_does_not_read_waits_until_they_do(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.transport.takes = False
    bob.put("/help\r\n" * 200)
    assert not bob.transport.reading
    bob.put("still said")
    bob.protocol.readConnectionLost()
    world.settle()
    assert ann.read() == ""
    bob.transport.take_again()
    world.settle()
    assert ann.lines() == ["bob: still said", " * bob left."]
    assert bob.lines()[-1] == " * Goodbye, bob."


def test_who_quits_without_having_read_everything_still_gets_it_all_up_to_the_goodbye(world: World) -> None:
    ann, bob = world.join("ann", "bob")
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


def test_who_quits_and_never_reads_is_aborted_after_ten_seconds(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.transport.takes = False
    ann.say(*["x" * 2000] * 100)
    bob.say("quit")
    aborted = []
    for seconds in (9.9, 0.1):
        world.clock.advance(seconds)
        aborted.append(bob.transport.aborted)
    assert aborted == [False, True]
    bob.vanish()
    assert len(world.connections) == 1
    assert not world.clock.getDelayedCalls()


# The end of a connection


def test_a_lost_connection_is_told(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.vanish()
    assert ann.lines() == [" * bob left: connection lost"]
    assert not bob.transport.sent


@pytest.mark.parametrize("before", ["one\r\n/history\r\ntwo\r\nthree\r\n", "/history 1\r\none\r\ntwo\r\nthree\r\n"])
def test_lines_that_came_before_the_loss_are_still_said(world: World, before: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put(before)
    bob.vanish()
    assert ann.lines() == ["bob: one", "bob: two", "bob: three", " * bob left: connection lost"]


def test_a_long_paste_before_the_loss_is_still_said(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("x\r\n" * 1000)
    bob.vanish()
    assert ann.lines() == ["bob: x"] * 1000 + [" * bob left: connection lost"]


def test_lines_of_a_newcomer_who_is_lost_before_the_room_has_them_are_still_said(world: World) -> None:
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.put("bob\r\nhi\r\n")
    bob.vanish()
    assert ann.lines() == [" * bob joined.", "bob: hi", " * bob left: connection lost"]
    assert not world.clock.getDelayedCalls()


def test_lines_of_somebody_who_never_read_are_still_said_when_they_are_lost(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.transport.takes = False
    bob.put("/help\r\n" * 200)
    bob.put("one\r\ntwo\r\n")
    bob.vanish()
    assert ann.lines() == ["bob: one", "bob: two", " * bob left: connection lost"]


def test_quit_and_loss_at_once_is_quit(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("/quit tired\r\n")
    bob.vanish()
    assert ann.lines() == [" * bob left: tired"]


def test_a_loss_before_a_nickname_is_told_to_nobody(world: World) -> None:
    (ann,) = world.join("ann")
    person = world.connect()
    person.put("bob\x1b smith\r\n")
    person.vanish()
    assert ann.read() == ""
    assert not world.clock.getDelayedCalls()


def test_a_thousand_losses_at_once_are_told_as_a_number_and_everybody_leaves_once(world: World) -> None:
    ann, *crowd = world.join("ann", *(f"p{number}" for number in range(1000)))
    ann.read()
    for person in crowd:
        person.protocol.connectionLost()
    world.settle()
    assert ann.lines() == [" * 1000 people left."]
    ann.say("/names")
    assert ann.lines() == ["-> 1 here: ann"]
