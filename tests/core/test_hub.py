"""One nickname space: a name has one owner at every moment, and is free as soon as the owner goes."""

from __future__ import annotations

import pytest

from broadcast.core.errors import RefusedError
from broadcast.core.events import Announced, Event
from broadcast.core.hub import GOING_DOWN, Hub, Settings
from broadcast.core.membership import Member
from tests.core.stage import AT, Stage
from tests.core.test_room import Listener


@pytest.fixture(params=[False, True], ids=["ascii", "unicode"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """An open hub, with both kinds of nicknames."""
    stage = Stage(Settings(unicode_nicknames=request.param))
    stage.hub.open()
    return stage


def admit(hub: Hub, name: str) -> Member:
    return hub.admit(hub.next_session_id(), name, Listener())


def everything(stage: Stage) -> list[Event]:
    return [event for burst in stage.bursts for event in burst.events]


def test_no_two_sessions_have_the_same_id(stage: Stage) -> None:
    assert [stage.hub.next_session_id() for _ in range(3)] == [1, 2, 3]


def test_a_hub_knows_when_it_was_started(stage: Stage) -> None:
    assert stage.hub.started == AT


def test_a_name_is_taken_from_the_moment_it_is_given(stage: Stage) -> None:
    assert admit(stage.hub, " Ann ").nick == "Ann"
    with pytest.raises(RefusedError, match=r"^ann is taken\.$"):
        admit(stage.hub, "ann")
    stage.settle()
    assert len(everything(stage)) == 1


def test_a_name_that_is_none_is_refused(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="reserved"):
        admit(stage.hub, "server")


def test_a_name_is_free_from_the_moment_its_owner_goes(stage: Stage) -> None:
    ann = admit(stage.hub, "ann")
    stage.hub.remove(ann, "")
    heir = admit(stage.hub, "ann")
    stage.settle()
    assert stage.hub.find("ann") is heir


def test_a_rename_frees_the_old_name_and_takes_the_new(stage: Stage) -> None:
    ann, bob = admit(stage.hub, "ann"), admit(stage.hub, "bob")
    with pytest.raises(RefusedError, match=r"^BOB is taken\.$"):
        stage.hub.rename(ann, "BOB")
    stage.hub.rename(ann, "anna")
    stage.hub.rename(bob, "ann")
    assert (ann.nick, bob.nick) == ("anna", "ann")
    stage.hub.rename(bob, "Ann")
    assert bob.nick == "Ann"


def test_a_rename_to_the_same_name_is_told_to_nobody(stage: Stage) -> None:
    ann = admit(stage.hub, "ann")
    stage.hub.rename(ann, " ann")
    stage.settle()
    assert len(everything(stage)) == 1


def test_only_who_is_here_is_found(stage: Stage) -> None:
    ann = admit(stage.hub, "ann")
    with pytest.raises(RefusedError, match=r"^ann is not here\.$"):
        stage.hub.find("ann")
    stage.settle()
    assert stage.hub.find("ANN") is ann
    with pytest.raises(RefusedError, match=f"^{'x' * 24} is not here"):
        stage.hub.find("x" * 25)
    stage.hub.remove(ann, "")
    with pytest.raises(RefusedError, match=r"^ann is not here\.$"):
        stage.hub.find("ann")


def test_only_who_is_here_and_stays_is_reached(stage: Stage) -> None:
    ann = admit(stage.hub, "ann")
    assert stage.hub.member_by_session(ann.id) is None
    stage.settle()
    assert stage.hub.member_by_session(ann.id) is ann
    stage.hub.rename(ann, "anna")
    assert stage.hub.member_by_session(ann.id) is ann
    stage.hub.remove(ann, "")
    admit(stage.hub, "anna")
    assert stage.hub.member_by_session(ann.id) is None


def test_at_the_end_everybody_is_told_and_then_the_caller(stage: Stage) -> None:
    told: list[list[Event]] = []
    stage.hub.close(lambda: told.append(everything(stage)))
    assert not told
    stage.settle()
    assert told[0][0] == Announced(GOING_DOWN)


def test_a_look_alike_of_who_is_here_is_refused() -> None:
    stage = Stage(Settings(unicode_nicknames=True))
    stage.hub.open()
    anna = admit(stage.hub, "anna")
    with pytest.raises(RefusedError, match=r"looks too much like anna, who is here\.$"):
        admit(stage.hub, "\u0430nna")
    stage.hub.rename(anna, "\u0430nna")
    with pytest.raises(RefusedError, match="looks too much like"):
        admit(stage.hub, "anna")
    stage.hub.rename(anna, "zoe")
    assert admit(stage.hub, "anna").nick == "anna"
