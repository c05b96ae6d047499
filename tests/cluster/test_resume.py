"""A program that comes back to another node has missed nothing, and nobody has noticed that it was away."""

from __future__ import annotations

import pytest

from broadcast.doors.jsonrpc.claiming import FORCE_SECONDS
from tests.cluster.nodes import Cluster, Node
from tests.doors.jsonrpc.programs import Message, Program


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(3)


@pytest.fixture
def here(cluster: Cluster) -> Node:
    return cluster.nodes[0]


@pytest.fixture
def there(cluster: Cluster) -> Node:
    return cluster.nodes[1]


@pytest.fixture
def ann(here: Node) -> Program:
    """A program that stays."""
    return here.programs("ann")[0]


@pytest.fixture
def bob(there: Node, ann: Program) -> Program:
    """A program whose node ends, or that moves."""
    (bob,) = there.programs("bob")
    ann.read()
    return bob


def ask_back(node: Node, program: Program, **resume: object) -> tuple[Program, int]:
    """Return a program that asks *node* for the session of *program*, and the id of its request."""
    back = node.open_program()
    return back, back.put("hello", {"protocol": 1, "nick": "bob", "resume": program.resume | resume})


def come_back(node: Node, program: Program, **resume: object) -> Program:
    """Return a program that has resumed the session of *program* on *node*."""
    back, request = ask_back(node, program, **resume)
    node.cluster.advance(FORCE_SECONDS + 1)
    response = back.response(request)
    assert "result" in response, response
    back.welcome = response["result"]
    return back


def texts_of(welcome: Message, room: str = "lobby") -> list[str]:
    """Return the texts of the events of a room in the result of ``hello``."""
    return [event["text"] for event in welcome["rooms"][room]["events"]]


def events_of(program: Program) -> list[Message]:
    """Return the notifications since the last call, without ``ping``."""
    return [event for event in program.events() if event["method"] != "ping"]


def leave_by(how: str, cluster: Cluster, node: Node, program: Program) -> None:
    """Let *program* lose its connection to *node*."""
    if how == "killed":
        cluster.kill(node)
        cluster.bury(node)
    elif how == "just killed":
        cluster.kill(node)
    elif how == "stopped":
        cluster.stop(node)
    elif how == "lost":
        program.vanish()


WAYS = ["killed", "just killed", "stopped", "lost", "alive"]


@pytest.mark.parametrize("how", WAYS)
def test_session_goes_on_at_another_node(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program, how: str
) -> None:
    bob.call("away", reason="lunch")
    bob.call("say", room="lobby", text="zero")
    bob.call("join", room="kitchen")
    bob.call("say", room="kitchen", text="alone")
    ann.read()
    leave_by(how, cluster, there, bob)
    ann.say("one", "two")
    ann.read()
    back = come_back(here, bob)
    assert back.welcome["resumed"] is True
    for member in ("nick", "session", "token", "journal", "grace"):
        assert back.welcome[member] == bob.welcome[member]
    assert texts_of(back.welcome) == ["zero", "one", "two"]
    assert back.welcome["rooms"].keys() == {"lobby", "kitchen"}
    assert [member["away"] for member in back.welcome["rooms"]["lobby"]["members"]] == [None, "lunch"]
    ann.say("three")
    back.say("four")
    assert [event["text"] for event in events_of(back)] == ["three", "four"]
    assert [(event["method"], event.get("text")) for event in events_of(ann)] == [("said", "three"), ("said", "four")]
    assert cluster.people() == [{"ann", "bob"}] * len(cluster.nodes)
    back.call("nick", nick="bobby")
    assert [event["method"] for event in events_of(ann)] == ["renamed"]
    back.call("quit")
    assert [event["method"] for event in events_of(ann)] == ["left"]
    assert cluster.people() == [{"ann"}] * len(cluster.nodes)
    here.join("bob", "bobby")
