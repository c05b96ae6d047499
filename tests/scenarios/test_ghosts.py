"""A nickname whose connection has stopped answering can be taken back from the same address."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from broadcast.core.settings import Settings
from broadcast.doors.line.protocol import GHOST_SECONDS
from tests.harness import Person, World
from tests.scenarios.conftest import Opens, is_aborted

HOME = IPv4Address("TCP", "192.0.2.7", 40000)


def ghost(world: World, nick: str = "ann", seconds: float = GHOST_SECONDS, address: object = HOME) -> Person:
    """Return a person whose client has not acknowledged data for so many *seconds*."""
    person = world.connect(address)  # type: ignore[arg-type]
    person.say(nick)
    person.read()
    silent = person.transport
    world.factory.seconds_unanswered = lambda transport: (
        seconds if silent in (transport, getattr(transport, "transport", None)) else 0.0  # perhaps below TLS
    )
    return person


def comes_back(world: World, typed: str = "ann", address: object = IPv4Address("TCP", "192.0.2.7", 40001)) -> Person:
    person = world.connect(address)  # type: ignore[arg-type]
    person.read()
    person.say(typed)
    return person


def test_nickname_is_taken_back_at_once_from_the_same_address(world: World) -> None:
    old = ghost(world)
    (bob,) = world.join("bob")
    new = comes_back(world)
    assert new.lines() == [" * You are ann. 1 other is here: bob. /help lists the commands, quit leaves."]
    assert bob.lines() == [" * ann left: connection lost", " * ann joined."]
    assert is_aborted(old)
    old.vanish()
    new.say("hi")
    assert bob.lines() == ["ann: hi"]
    bob.say("/names")
    assert bob.lines() == ["-> 2 here: bob, ann"]
    assert len(world.connections) == 2


@pytest.mark.parametrize(
    ("seconds", "address"),
    [
        (GHOST_SECONDS - 0.1, IPv4Address("TCP", "192.0.2.7", 40001)),
        (GHOST_SECONDS, IPv4Address("TCP", "192.0.2.8", 40001)),
        (GHOST_SECONDS, IPv6Address("TCP", "2001:db8::7", 40001)),
        (GHOST_SECONDS, UNIXAddress(None)),
    ],
)
def test_nickname_stays_taken_for_others_and_while_the_connection_may_live(
    world: World, seconds: float, address: object
) -> None:
    old = ghost(world, seconds=seconds)
    new = comes_back(world, address=address)
    assert new.read() == "-> Error: ann is taken.\r\nNickname: "
    assert not is_aborted(old)


def test_local_sockets_have_no_address(world: World) -> None:
    ghost(world, address=UNIXAddress(None))
    assert comes_back(world, address=UNIXAddress(None)).read() == "-> Error: ann is taken.\r\nNickname: "


@pytest.mark.parametrize("typed", ["/nick ann", "/nick ANN"])
def test_person_with_another_nickname_takes_the_own_one_back(world: World, typed: str) -> None:
    ghost(world)
    new = comes_back(world, "ann2")
    new.read()
    new.say(typed)
    assert new.lines() == [f"-> You are {typed[6:]}.", " * ann left: connection lost"]


def test_own_nickname_is_no_ghost(world: World) -> None:
    person = ghost(world)
    person.say("/nick Ann")
    assert person.lines() == ["-> You are Ann."]


def test_lookalike_of_a_ghost_is_free_with_it(open_world: Opens) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    ghost(world)
    assert comes_back(world).lines() == [" * You are ann. Nobody else is here. /help lists the commands, quit leaves."]


def test_ghost_in_the_middle_of_a_move_leaves_both_rooms(world: World) -> None:
    (bob,) = world.join("bob")
    old = ghost(world)
    bob.read()
    old.put("/join kitchen\r\n")
    world.turn()
    new = comes_back(world)
    assert new.lines()[0].startswith(" * You are ann. 1 other is here: bob.")
    assert bob.lines()[-1] == " * ann joined."
    old.vanish()
    assert set(world.hub.rooms) == {"lobby"}
    assert [membership.member.nick for membership in world.room.members.values()] == ["bob", "ann"]


def test_many_people_of_one_address_lose_only_the_ghost(world: World) -> None:
    old = ghost(world)
    other = comes_back(world, "bob")
    third = comes_back(world, "bob")
    assert third.read() == "-> Error: bob is taken.\r\nNickname: "
    third.say("ann")
    assert is_aborted(old)
    assert not is_aborted(other)
