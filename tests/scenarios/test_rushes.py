"""Scenarios: many people come and go at once, and the notices about them wait for one another."""

from __future__ import annotations

from random import Random

import pytest

from broadcast.core.events import JoinConfirmed, JoinCount, Joined, LeaveCount, Left, Message
from tests.harness import NOON, SessionClient, World


class RushWorld(World):
    """A server whose notices of joins and leaves wait."""

    holds_presence = True


def count_members(client: SessionClient, before: int) -> int:
    """Return how many members *client* knows of after what it has read. It knew of *before*."""
    for event in client.read():
        match event:
            case JoinConfirmed(others=others):
                before = others + 1
            case Joined():
                before += 1
            case JoinCount(count=count):
                before += count
            case Left():
                before -= 1
            case LeaveCount(count=count):
                before -= count
            case _:
                pass
    return before


@pytest.mark.parametrize("seed", range(20))
def test_each_member_learns_of_each_join_and_leave_once(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a reproducible sequence
    world = RushWorld()
    known: dict[SessionClient, int] = {}
    leavers = []
    for number in range(200):
        match random.choice(("join", "join", "quit", "say", "leave at once", "settle", "wait")):
            case "join":
                client = world.open_session()
                client.session.line(f"p{number}", 0.0)
                known[client] = 0
            case "leave at once":
                client = world.open_session()
                client.session.line(f"p{number}", 0.0)
                client.session.leave("")
                leavers.append(client)
            case "quit" if known:
                client = random.choice(list(known))
                client.session.leave("")
                del known[client]
                leavers.append(client)
            case "say" if known:
                client = random.choice(list(known))
                if client.session.ready:
                    client.session.line("hi", 0.0)
            case "settle":
                world.settle()
            case "wait":
                world.settle()
                world.clock.advance(random.choice((0.001, 0.03)))
        known = {client: count_members(client, before) for client, before in known.items()}
    for _ in range(3):
        world.settle()
        world.clock.advance(1)
    assert {count_members(client, before) for client, before in known.items()} == {len(world.room.members)}
    assert len(world.room.members) == len(known)


def test_a_newcomer_is_confirmed_at_once_and_can_talk_before_the_others_have_the_notice() -> None:
    world = RushWorld()
    ann, bob, carol = world.open_session(), world.open_session(), world.open_session()
    ann.say("ann")
    bob.say("bob")
    carol.say("carol")
    assert isinstance(bob.read()[0], JoinConfirmed)
    assert [type(event) for event in ann.read()] == [JoinConfirmed]
    bob.say("hi")
    assert ann.read() == [Joined(2, "bob"), Joined(3, "carol"), Message(2, "bob", "hi", NOON, 1)]
    assert bob.read() == [Joined(3, "carol")]


def test_the_list_of_members_comes_after_the_notices() -> None:
    world = RushWorld()
    ann, bob = world.open_session(), world.open_session()
    ann.say("ann")
    bob.say("bob")
    ann.read()
    ann.say("/who")
    assert [type(event).__name__ for event in ann.read()] == ["Joined", "CommandReply"]
