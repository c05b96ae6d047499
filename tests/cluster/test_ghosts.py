"""A nickname whose connection has stopped answering can be taken back from the same address, on whatever node."""

from __future__ import annotations

import pytest

from broadcast.core.ghost_return import MAX_TRIES, NOTICE_SECONDS
from broadcast.doors.line.protocol import GHOST_SECONDS
from tests.cluster.nodes import Cluster, Node
from tests.harness import PASSWORD
from tests.scenarios.conftest import is_aborted
from tests.scenarios.test_ghosts import HOME, comes_back, ghost


def test_nickname_is_taken_back_from_another_node(cluster: Cluster) -> None:
    here, there = cluster.nodes
    old = ghost(there)
    (bob,) = here.join("bob")
    old.read()
    new = comes_back(here)
    assert new.lines() == [" * You are ann. 1 other is here: bob. /help lists the commands, quit leaves."]
    assert bob.lines() == [" * ann left: connection lost", " * ann joined."]
    assert is_aborted(old)
    assert cluster.people() == [{"ann", "bob"}] * 2


@pytest.mark.parametrize("seconds", [0.0, GHOST_SECONDS - 0.1])
def test_nickname_stays_taken_while_the_connection_may_live(cluster: Cluster, seconds: float) -> None:
    here, there = cluster.nodes
    old = ghost(there, seconds=seconds)
    new = comes_back(here)
    assert "ann is taken." in new.read()
    assert not is_aborted(old)


def test_nickname_of_a_program_stays_taken(cluster: Cluster) -> None:
    here, there = cluster.nodes
    there.open_program(HOME).hello("ann")
    assert "ann is taken." in comes_back(here).read()


def test_registered_nickname_needs_its_password_all_the_same(cluster: Cluster) -> None:
    here, there = cluster.nodes
    old = ghost(there)
    there.register(old)
    new = comes_back(here)
    assert "Password: " in new.read()
    assert not is_aborted(old)
    new.say(PASSWORD)
    assert "You are ann." in new.read()


def test_nickname_that_is_banned_meanwhile_is_refused(cluster: Cluster) -> None:
    here, there = cluster.nodes
    ghost(there)
    new = here.connect(HOME)
    new.put("ann\r\n")
    here.hub.moderation.ban("nickname", "ann", "ann", "", "olga", 0.0, None)
    cluster.settle()
    assert "the nickname ann is banned" in new.read()


def test_nickname_stays_taken_while_the_other_node_does_not_answer(cluster: Cluster) -> None:
    here, there = cluster.nodes
    ghost(there)
    there.hub.people.members.clear()  # as if the session were ending there
    assert "ann is taken." in comes_back(here).read()


def test_nickname_is_taken_back_although_the_news_of_the_other_node_is_late(cluster: Cluster) -> None:
    here, there = cluster.nodes
    ghost(there)
    here.directory.is_behind = True
    assert "You are ann." in comes_back(here).read()
    here.directory.catch_up()
    cluster.settle()
    assert cluster.people() == [{"ann"}] * 2


NOTICE = " * The server that has ann does not answer. Wait for the nickname: it is free within 15 seconds."


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Two nodes whose hubs have a clock."""
    monkeypatch.setattr(Node, "holds_presence", True)
    return Cluster()


def test_user_of_a_dead_node_reads_why_the_nickname_takes_so_long_and_gets_it(timed: Cluster) -> None:
    here, there = timed.nodes
    ghost(there)
    (bob,) = here.join("bob")
    timed.kill(there)
    new, other = comes_back(here), comes_back(here)
    timed.advance(NOTICE_SECONDS - 0.1)
    assert new.read() == ""
    timed.advance(0.2)
    assert [person.lines() for person in (new, other)] == [[NOTICE]] * 2
    here.directory.fail_unanswered()
    timed.bury(there)
    timed.advance(1)
    assert new.lines() == [" * You are ann. 1 other is here: bob. /help lists the commands, quit leaves."]
    assert "ann is taken." in other.read()
    assert bob.lines() == [" * ann left: connection lost", " * ann joined."]
    here.directory.fail_unanswered()
    assert timed.people() == [{"ann", "bob"}]


def test_user_is_refused_in_the_end_if_the_silent_node_is_not_removed(timed: Cluster) -> None:
    here, there = timed.nodes
    ghost(there)
    timed.kill(there)
    new, other = comes_back(here), comes_back(here)
    for _ in range(MAX_TRIES):
        assert (new.read(), other.read()) == ("", "")
        here.directory.fail_unanswered()
    assert all(person.read().startswith("-> Error: ann is taken.") for person in (new, other))
    timed.advance(1)
    timed.bury(there)
    assert new.read() == "", "nothing waits any more"
    new.say("ann")
    assert "You are ann." in new.read()


def test_user_reads_no_notice_if_the_other_node_answers(timed: Cluster) -> None:
    here, there = timed.nodes
    ghost(there)
    new = comes_back(here)
    assert "You are ann." in new.read()
    timed.advance(1)
    assert new.read() == ""
