"""The hub numbers sessions, renames members, and announces its end."""

from __future__ import annotations

import pytest

from broadcast.core.errors import RejectedError
from broadcast.core.events import Announced
from broadcast.core.hub import GOING_DOWN, Hub
from broadcast.core.settings import Settings
from broadcast.journals.memory import MemoryJournal
from tests.core.members import admit
from tests.harness import NOON, World


@pytest.fixture(params=[False, True], ids=["ASCII", "any script"])
def world(request: pytest.FixtureRequest) -> World:
    return World(Settings(unicode_nicknames=request.param))


@pytest.fixture
def hub(world: World) -> Hub:
    return world.hub


def test_hub_numbers_the_sessions_and_knows_when_it_was_started(hub: Hub) -> None:
    assert [hub.next_session_id() for _ in range(3)] == [1, 2, 3]
    assert (hub.session_count, hub.started) == (3, NOON)
    journal = MemoryJournal(list[object]().append)
    another = Hub(journal, hub.rooms._make_publisher, hub.settings, NOON, hub.authenticator, first_session=7 << 32)
    assert (another.next_session_id(), another.session_count) == ((7 << 32) + 1, 1)


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


def test_close_announces_the_end_and_then_calls_back(world: World, hub: Hub) -> None:
    (ann,) = world.join_sessions("ann")
    calls: list[object] = []
    hub.close(lambda: calls.append(ann.read()))
    assert not calls
    world.settle()
    assert calls == [[Announced(GOING_DOWN, is_local=True)]]
