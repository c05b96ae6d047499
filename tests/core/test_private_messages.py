"""A private message reaches its recipient once, in the order of the lines around it."""

from __future__ import annotations

import pytest

from broadcast.core.membership import MAX_RECEIVED_UIDS
from tests.core.members import is_idle, program
from tests.harness import NOON, World


@pytest.fixture
def world() -> World:
    return World()


def test_program_receives_private_messages_at_once_unless_it_ignores_their_author(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    bot, listener = program(world, "bot", "lobby")
    ann.say("/msg bot one")
    world.hub.ignore(bot, "ann")
    ann.say("/msg bot two")
    assert listener.calls[1:] == ["one"]
    assert bot.last_private_sender == ann.session.id
    assert is_idle(world)


def test_private_message_travels_through_a_common_room(world: World) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    bot, _ = program(world, "bot", "lobby", "kitchen")
    bob.say("/join kitchen")
    hub = world.hub
    pairs = [(bot, ann.session.member), (bot, bob.session.member), (ann.session.member, bob.session.member)]
    results: list[object] = []
    sent = [hub.private_messages.send(member, to, "x", NOON, results.append) for member, to in pairs]
    assert not results
    assert [each and each.room for each in sent] == [world.room, hub.rooms["kitchen"], hub.rooms["kitchen"]]
    world.settle()
    assert is_idle(world)


def test_private_message_with_a_recent_uid_is_not_received_again(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    bot, listener = program(world, "bot", "lobby")

    def send(number: int) -> None:
        world.hub.private_messages.send(ann.session.member, bot, f"{number}", NOON, lambda _: None, f"u{number}")

    for number in (*range(MAX_RECEIVED_UIDS), 0, *range(MAX_RECEIVED_UIDS, 2 * MAX_RECEIVED_UIDS)):
        send(number)
    assert listener.calls[1:] == [f"{number}" for number in range(2 * MAX_RECEIVED_UIDS)]
    send(0)
    assert listener.calls[-1] == "0"
    assert len(bot.received_uids) == MAX_RECEIVED_UIDS
