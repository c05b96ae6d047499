"""The end of the server: everything that was taken in is said, everybody is told, and every connection closes."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from broadcast.core.hub import GOING_DOWN
from tests.harness import World
from tests.scenarios.conftest import Log


def fired(deferred: Deferred[list[tuple[bool, None]]]) -> list[str]:
    """Something that is there once *deferred* has fired."""
    firing: list[str] = []
    deferred.addCallback(lambda _result: firing.append("fired"))
    return firing


def test_at_the_end_everybody_reads_that_the_server_is_going_down(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    late = world.connect()
    for person in (ann, bob, late):
        person.read()
    ann.put("taken in\r\n/history\r\nthis too\r\nnot finished")
    drained = fired(world.connections.drain())
    assert not drained
    assert not bob.transport.reading
    world.settle()
    assert drained
    told: list[str] = []
    world.hub.close(lambda: told.append("told"))
    world.settle()
    assert told
    late.protocol.session.reject(GOING_DOWN)
    gone = fired(world.connections.disconnect())
    assert bob.lines() == ["ann: taken in", "ann: this too", " * The server is going down."]
    assert ann.lines() == ["-> #1 [12:00] ann: taken in", " * The server is going down."]
    assert late.lines() == [" * The server is going down."]
    assert not gone
    for person in (ann, bob, carol, late):
        assert person.transport.finished
        person.hang_up()
    assert gone
    assert world.hub.room.last_seq == 2


def test_who_takes_a_nickname_as_the_server_goes_down_reads_so(world: World) -> None:
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.put("bob\r\nhi\r\n")
    drained = fired(world.connections.drain())
    world.settle()
    assert drained
    world.hub.close(lambda: None)
    world.settle()
    assert bob.lines()[-1] == " * The server is going down."
    assert ann.lines() == [" * bob joined.", "bob: hi", " * The server is going down."]


def test_a_paste_that_has_come_in_is_said_before_the_server_goes_down(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("x\r\n" * 1000)
    drained = fired(world.connections.drain())
    world.settle()
    assert drained
    world.hub.close(lambda: None)
    world.settle()
    assert ann.lines() == ["bob: x"] * 1000 + [" * The server is going down."]


@pytest.mark.parametrize("typed", ["quit\r\n", "hi\r\nquit\r\nhi\r\n"])
def test_who_is_leaving_as_the_server_goes_down_says_goodbye_first(world: World, typed: str) -> None:
    (ann,) = world.join("ann")
    ann.put(typed)
    drained = fired(world.connections.drain())
    world.settle()
    assert drained
    assert ann.lines() == [" * Goodbye, ann."]


def test_who_has_left_does_not_keep_the_server(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.say("quit")
    bob.vanish()
    assert fired(world.connections.drain())
    gone = fired(world.connections.disconnect())
    assert not gone
    ann.hang_up()
    assert gone


def test_who_does_not_read_keeps_the_server_for_ten_seconds_more(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.transport.takes = False
    bob.say(*["x" * 2000] * 40)
    assert fired(world.connections.drain())
    gone = fired(world.connections.disconnect())
    bob.hang_up()
    world.clock.advance(10)
    assert ann.transport.aborted
    ann.vanish()
    assert gone


def test_nobody_is_told_that_those_left_whom_the_server_disconnects(world: World, log: Log) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    world.connections.drain()
    ann.protocol.close()
    ann.put("too late")
    ann.hang_up()
    assert bob.read() == ""
    assert [line for line in log if "left" in line] == ["ann left (127.0.0.1 port 40000)"]
