"""Mutes and slow modes hold on all nodes, and for nodes that start later."""

from __future__ import annotations

from math import inf

import pytest

from broadcast.core.decisions import Mute, SlowMode
from broadcast.core.errors import DatabaseAway
from tests.cluster.nodes import Cluster, Node, register
from tests.cluster.test_resume import come_back
from tests.harness import PASSWORD, Person
from tests.operators import join_operator


@pytest.fixture
def olga(here: Node) -> Person:
    return join_operator(here, "olga")


def log_in(node: Node, nick: str) -> Person:
    """Return the owner of the account *nick*."""
    person = node.connect()
    person.say(nick, PASSWORD)
    assert f"You are {nick}." in person.read()
    return person


def is_muted(person: Person, line: str = "hi") -> bool:
    """Let *person* say something. Return whether it was refused because of a mute."""
    person.read()
    person.say(line)
    return "you are muted" in person.read()


def test_muted_program_stays_muted_when_it_goes_on_at_a_node_that_has_started_since(
    cluster: Cluster, here: Node, there: Node, olga: Person
) -> None:
    (bob,) = there.programs("bob")
    olga.say("/mute bob", "/slow 1h")
    third = cluster.start()
    cluster.kill(there)
    cluster.bury(there)
    back = come_back(third, bob)
    assert back.fail("say", room="lobby", text="hi") == (1025, "muted")
    olga.say("/unmute bob")
    assert back.call("say", room="lobby", text="hi")["seq"] == 1
    assert back.fail("say", room="lobby", text="hi") == (1025, "muted")
    olga.say("/slow off")
    assert back.call("say", room="lobby", text="hi")["seq"] == 2
    last = come_back(cluster.start(), bob, attempt=2)
    assert last.call("say", room="lobby", text="hi")["seq"] == 3


def test_account_stays_muted_after_all_nodes_were_restarted(
    cluster: Cluster, here: Node, there: Node, olga: Person
) -> None:
    (bob,) = there.join("bob")
    register(bob)
    olga.say("/mute bob")
    bob.say("quit")
    for node in (here, there):
        cluster.stop(node)
    bob = log_in(cluster.start(), "bob")
    assert is_muted(bob)
    bob.say("/logout")
    assert is_muted(bob)


def test_session_that_leaves_its_muted_account_stays_muted_everywhere(
    cluster: Cluster, here: Node, there: Node, olga: Person
) -> None:
    bob = there.program("bob")
    bob.call("register", password=PASSWORD)
    bob.call("quit")
    olga.say("/mute bob 1h")  # who is not here, so no session is muted
    bob = there.program("bob", password=PASSWORD)
    bob.call("logout")
    olga.read()
    assert bob.fail("say", room="lobby", text="hi") == (1025, "muted")
    back = come_back(cluster.start(), bob)
    assert back.fail("say", room="lobby", text="hi") == (1025, "muted")


def test_slow_mode_counts_the_lines_of_all_nodes(cluster: Cluster, here: Node, there: Node, olga: Person) -> None:
    (bob,) = there.programs("bob")
    olga.say("/slow 1h")
    bob.call("say", room="lobby", text="one")
    back = come_back(here, bob)
    assert back.fail("say", room="lobby", text="two") == (1025, "muted")
    third = cluster.start()  # its people have not read the line live
    last = come_back(third, bob, attempt=2)
    assert last.fail("say", room="lobby", text="two") == (1025, "muted")


def test_node_that_starts_anew_knows_the_decisions_that_it_has_missed(
    cluster: Cluster, here: Node, there: Node, olga: Person
) -> None:
    (bob,) = there.join("bob")
    register(bob)
    olga.say("/mute bob", "/slow 1h")
    assert is_muted(bob)
    cluster.cut(there)
    olga.say("/unmute bob", "/slow off")
    cluster.kill(there)
    cluster.bury(there)
    cluster.start_anew(there)
    bob = log_in(there, "bob")
    bob.say("one", "two")
    assert bob.read() == ""


COMMANDS = [
    ("/slow 5m", "/slow 1h"),
    ("/slow 5m", "/slow off"),
    ("/mute bob 1h", "/unmute bob"),
    ("/unmute bob", "/mute bob 1h"),
    ("/mute zoe", "/mute zoe 1h"),
]


@pytest.mark.parametrize("is_stream_late", [False, True])
@pytest.mark.parametrize("commands", COMMANDS)
def test_decisions_of_two_operators_at_once_are_the_same_everywhere(
    cluster: Cluster, here: Node, there: Node, olga: Person, commands: tuple[str, str], is_stream_late: bool
) -> None:
    third = cluster.start()
    olaf = join_operator(there, "olaf")
    third.join("bob")
    (zoe,) = here.join("zoe")
    register(zoe)
    olga.say("/mute bob")
    third.shared.reads = here.shared.reads = not is_stream_late
    olaf.put(f"{commands[1]}\r\n")
    olga.put(f"{commands[0]}\r\n")
    cluster.settle()
    third.shared.reads = here.shared.reads = True
    for node in cluster.nodes:
        node.shared.wake()
    cluster.settle()
    stored = {decision.key: decision for decision in cluster.database.decisions.values()}
    for node in cluster.nodes:
        moderation = node.hub.moderation
        slow = stored.get("room lobby")
        assert moderation.slow_seconds("lobby") == (slow.seconds if isinstance(slow, SlowMode) else 0)
        mutes = {key: each.until for key, each in stored.items() if isinstance(each, Mute)}
        assert {f"{kind} {number}": until for (kind, number), until in moderation._mutes.items()} == {
            key: inf if until is None else until for key, until in mutes.items()
        }


def test_decision_that_the_database_refuses_does_not_hide_those_of_other_nodes(
    cluster: Cluster, here: Node, there: Node, olga: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    olaf = join_operator(there, "olaf")
    with monkeypatch.context() as patch:
        patch.setattr(here.directory, "publish", lambda _decision, on_published: on_published(DatabaseAway()))
        olga.say("/slow 5m")
    olaf.say("/slow 1h")
    assert [node.hub.moderation.slow_seconds("lobby") for node in cluster.nodes] == [3600] * 2
