"""Each nickname has one owner at every moment, and is free as soon as the owner leaves."""

from __future__ import annotations

import pytest

from broadcast.core.errors import RejectedError
from broadcast.core.hub import Hub
from broadcast.core.settings import Settings
from tests.core.members import admit
from tests.harness import World


@pytest.fixture(params=[False, True], ids=["ASCII", "any script"])
def world(request: pytest.FixtureRequest) -> World:
    return World(Settings(unicode_nicknames=request.param))


@pytest.fixture
def hub(world: World) -> Hub:
    return world.hub


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
