"""Each nickname has one owner at every moment, and is free as soon as the owner leaves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broadcast.core.errors import RejectedError, RoomRejected
from broadcast.core.events import Announced
from broadcast.core.hub import GOING_DOWN, Hub
from broadcast.core.membership import Member
from broadcast.core.room import Room
from broadcast.core.settings import Settings
from broadcast.core.source import LOCAL
from broadcast.journals.memory import MemoryJournal
from tests.harness import NOON, SessionClient, World, admitted


@pytest.fixture(params=[False, True], ids=["ASCII", "any script"])
def world(request: pytest.FixtureRequest) -> World:
    return World(Settings(unicode_nicknames=request.param))


@pytest.fixture
def hub(world: World) -> Hub:
    return world.hub


def admit(world: World, name: str) -> Member:
    client = SessionClient(world)
    client.session.start()
    member = admitted(world.hub, client.session.id, name, client.session, source=LOCAL)
    world.room.enter(member)
    return member


def test_hub_numbers_the_sessions_and_knows_when_it_was_started(hub: Hub) -> None:
    assert [hub.next_session_id() for _ in range(3)] == [1, 2, 3]
    assert (hub.session_count, hub.started) == (3, NOON)
    journal = MemoryJournal(list[object]().append)
    another = Hub(journal, hub.rooms._make_publisher, hub.settings, NOON, hub.authenticator, first_session=7 << 32)
    assert (another.next_session_id(), another.session_count) == ((7 << 32) + 1, 1)


def test_nickname_has_an_owner_from_the_admission_to_the_removal(world: World, hub: Hub) -> None:
    ann = admit(world, " Ann ")
    assert ann.nick == "Ann"
    with pytest.raises(RejectedError, match=r"^ann is taken\.$"):
        admit(world, "ann")
    with pytest.raises(RejectedError, match="reserved"):
        admit(world, "server")
    world.settle()
    assert [membership.member for membership in hub.lobby.members.values()] == [ann]
    hub.remove(ann, "")
    heir = admit(world, "ann")
    world.settle()
    assert hub.people.find("ann") is heir


def test_several_rooms_are_open_together_or_none_is(world: World, hub: Hub) -> None:
    opened: list[Sequence[Room] | RejectedError] = []
    hub.rooms.open_all(["lobby", "Kitchen", "attic"], opened.append)
    hub.rooms.open_all(["kitchen", "no good"], opened.append)
    world.settle()
    refused, rooms = opened
    assert isinstance(refused, RoomRejected)
    assert refused.why == "room-refused"
    assert not isinstance(rooms, RejectedError)
    assert [room.name for room in rooms] == ["lobby", "kitchen", "attic"]
    assert [*hub.rooms] == ["lobby"], "nobody has joined the others"

    def enter(rooms: Sequence[Room] | RejectedError) -> None:
        assert not isinstance(rooms, RejectedError)
        rooms[1].enter(hub.people.find("ann"))

    admit(world, "ann")
    world.settle()
    hub.rooms.open_all(["attic", "kitchen"], enter)
    world.settle()
    assert [*hub.rooms] == ["lobby", "kitchen"]
    assert hub.journal_id == world.journal.id


def test_rename_frees_the_old_nickname_and_takes_the_new(world: World, hub: Hub) -> None:
    ann, bob = admit(world, "ann"), admit(world, "bob")
    with pytest.raises(RejectedError, match=r"^BOB is taken\.$"):
        hub.rename(ann, "BOB")
    hub.rename(ann, "anna")
    hub.rename(bob, "ann")
    assert (ann.nick, bob.nick) == ("anna", "ann")
    hub.rename(bob, "Ann")
    assert bob.nick == "Ann"


def test_rename_to_the_same_nickname_is_no_event(world: World, hub: Hub) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    hub.rename(ann.session.member, " ann")
    world.settle()
    assert bob.read() == []


def test_only_members_who_have_joined_and_stay_are_found(world: World, hub: Hub) -> None:
    ann = admit(world, "ann")
    with pytest.raises(RejectedError, match=r"^ann is not here\.$"):
        hub.people.find("ann")
    assert hub.people.member_by_session(ann.id) is None
    world.settle()
    assert hub.people.find("ANN") is hub.people.member_by_session(ann.id) is ann
    with pytest.raises(RejectedError, match=f"^{'x' * 24} is not here"):
        hub.people.find("x" * 25)
    hub.rename(ann, "anna")
    assert hub.people.member_by_session(ann.id) is ann
    hub.remove(ann, "")
    with pytest.raises(RejectedError, match=r"^anna is not here\.$"):
        hub.people.find("anna")
    admit(world, "anna")
    assert hub.people.member_by_session(ann.id) is None


def test_close_announces_the_end_and_then_calls_back(world: World, hub: Hub) -> None:
    (ann,) = world.join_sessions("ann")
    calls: list[object] = []
    hub.close(lambda: calls.append(ann.read()))
    assert not calls
    world.settle()
    assert calls == [[Announced(GOING_DOWN, is_local=True)]]


def test_nickname_that_looks_like_that_of_a_member_is_rejected() -> None:
    world = World(Settings(unicode_nicknames=True))
    anna = admit(world, "anna")
    with pytest.raises(RejectedError, match=r"looks too much like anna, who is here\.$"):
        admit(world, "\u0430nna")
    world.hub.rename(anna, "\u0430nna")
    with pytest.raises(RejectedError, match="looks too much like"):
        admit(world, "anna")
    world.hub.rename(anna, "zoe")
    assert admit(world, "anna").nick == "anna"
