"""A program that comes back to another node has missed nothing, and nobody has noticed that it was away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broadcast.core.directory import Handover, Person, Return
from broadcast.core.errors import DatabaseAway, NotHere, RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.hub import GOING_DOWN
from broadcast.core.interfaces import ReadCallback
from broadcast.doors.jsonrpc.claiming import CATCH_UP_SECONDS, FORCE_SECONDS, GIVE_UP_SECONDS
from broadcast.doors.jsonrpc.session import MOVED
from tests.cluster.nodes import Cluster, Node
from tests.cluster.sessions import NodeSessions
from tests.doors.jsonrpc.programs import GRACE, Message, Program
from tests.harness import PASSWORD


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(3)


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


def is_waiting(program: Program) -> bool:
    """Return whether *program* has received nothing but the greeting of the line door."""
    return b"{" not in program.transport.sent


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


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_session_whose_client_does_not_come_back_leaves_after_its_grace(
    cluster: Cluster, there: Node, ann: Program, bob: Program, how: str
) -> None:
    leave_by(how, cluster, there, bob)
    cluster.advance(GRACE - 1)
    assert events_of(ann) == []
    cluster.advance(1)
    (left,) = events_of(ann)
    assert (left["method"], left["nick"], left["reason"]) == ("left", "bob", "connection lost")
    assert cluster.people() == [{"ann"}] * 2
    back, request = ask_back(cluster.nodes[1], bob)
    cluster.settle()
    assert back.response(request)["result"]["resumed"] is False


def test_grace_goes_on_when_the_node_dies_meanwhile(cluster: Cluster, there: Node, ann: Program, bob: Program) -> None:
    bob.vanish()
    cluster.advance(GRACE - 5)
    leave_by("killed", cluster, there, bob)
    cluster.advance(6)
    assert [event["method"] for event in events_of(ann)] == ["left"]


def test_people_without_a_token_leave_at_once(cluster: Cluster, there: Node, ann: Program) -> None:
    there.join("carol")
    silent = there.open_program()
    silent.put("hello", {"protocol": 1, "nick": "dave"}, notify=True)
    ann.world.settle()
    ann.read()
    cluster.stop(there)
    assert sorted(event["nick"] for event in events_of(ann)) == ["carol", "dave"]


def test_program_of_a_node_that_stops_is_asked_to_come_back(cluster: Cluster, there: Node, bob: Program) -> None:
    cluster.stop(there)
    (goodbye,) = [each["params"] for each in bob.read() if each.get("method") == "goodbye"]
    assert (goodbye["reason"], goodbye["reconnect"]) == (GOING_DOWN, True)
    assert bob.is_closed()


def test_session_can_go_from_node_to_node(cluster: Cluster, ann: Program, bob: Program) -> None:
    back = bob
    for attempt, number in enumerate([2, 0, 1, 0], 1):
        before, back = back, come_back(cluster.nodes[number], bob, attempt=attempt)
        ann.say(f"{attempt}")
        goodbye = events_of(before)[-1]
        assert (goodbye["method"], goodbye["reason"], goodbye["reconnect"]) == ("goodbye", "resumed elsewhere", False)
        assert before.is_closed()
        assert [event["text"] for event in events_of(back)] == [f"{attempt}"]
    assert {event["method"] for event in events_of(ann)} == {"said"}
    back.vanish()
    cluster.advance(GRACE + 1)
    assert [event["method"] for event in events_of(ann)] == ["left"]
    assert cluster.people() == [{"ann"}] * 3


def test_session_can_come_back_to_its_own_node_after_that_was_restarted(
    cluster: Cluster, there: Node, ann: Program, bob: Program
) -> None:
    leave_by("stopped", cluster, there, bob)
    assert come_back(cluster.start(), bob).welcome["resumed"] is True
    assert events_of(ann) == []


# What the client brings


@pytest.mark.parametrize("how", ["stopped", "lost"])
def test_late_attempt_is_refused_on_all_nodes(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program, how: str
) -> None:
    leave_by("lost", cluster, there, bob)
    back = come_back(there, bob, attempt=3)
    leave_by(how, cluster, there, back)
    for attempt in (1, 3):
        late, request = ask_back(here, bob, attempt=attempt)
        cluster.advance(FORCE_SECONDS + 1)
        error = late.response(request)["error"]
        assert (error["code"], error["data"]["reason"]) == (1013, "stale")
    assert come_back(here, bob, attempt=4).welcome["resumed"] is True
    assert events_of(ann) == []


def test_attempt_that_is_late_on_another_node_does_not_end_the_connection(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    back = come_back(there, bob, attempt=3)
    answers: list[RejectedError | None] = []
    there.hub.other_nodes.receive(Handover(there.hub.people.find("bob").id, 2), answers.append)
    cluster.advance(FORCE_SECONDS + 1)
    assert [type(answer) for answer in answers] == [NotHere]
    ann.say("hi")
    assert back.texts() == ["hi"]


def test_client_that_an_earlier_attempt_elsewhere_has_robbed_of_its_session_comes_back(
    here: Node, there: Node, ann: Program, bob: Program
) -> None:
    there.directory.is_behind = True  # it does not learn that another node takes the session
    bob.vanish()
    come_back(here, bob, attempt=1).vanish()
    back = come_back(there, bob, attempt=2)
    there.directory.catch_up()
    there.settle()
    (goodbye,) = [event for event in events_of(back) if event["method"] == "goodbye"]
    assert (goodbye["reason"], goodbye["reconnect"]) == (MOVED, True)
    assert come_back(there, bob, attempt=3).welcome["resumed"] is True
    assert events_of(ann) == []


def test_of_two_attempts_on_two_nodes_the_higher_one_wins(cluster: Cluster, ann: Program, bob: Program) -> None:
    asked = [ask_back(cluster.nodes[number], bob, attempt=attempt) for number, attempt in ((0, 1), (2, 2))]
    cluster.advance(FORCE_SECONDS + 1)
    winner = asked[1][0].response(asked[1][1])
    assert winner["result"]["resumed"] is True
    assert events_of(ann) == []
    assert cluster.people() == [{"ann", "bob"}] * 3
    ann.say("hi")
    asked[1][0].read()
    assert sum(len(texts) for texts in ([e for e in p.read() if e.get("method") == "said"] for p, _ in asked)) == 0


def test_node_that_is_behind_reads_up_to_the_numbers_of_the_client(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    third = cluster.nodes[2]
    third.join("carol")
    ann.read()
    third.shared.reads = False
    ann.say("one", "two")
    bob.vanish()
    back, request = ask_back(third, bob, rooms={"lobby": 2})
    cluster.advance(0.5)
    assert is_waiting(back)
    ann.say("three")
    third.shared.reads = True
    cluster.join(third)
    cluster.advance(3)
    back.welcome = back.response(request)["result"]
    assert texts_of(back.welcome) == ["three"]
    assert back.welcome["resumed"] is True


def test_numbers_above_the_last_ones_are_refused_in_the_end(cluster: Cluster, here: Node, bob: Program) -> None:
    for rooms, nick in (({"lobby": 7}, "bob"), ({"lobby": 7}, "eve")):
        back = here.open_program()
        token = bob.welcome["token"] if nick == "bob" else "unknown"
        resume = {**bob.resume, "rooms": rooms, "token": token}
        request = back.put("hello", {"protocol": 1, "nick": nick, "resume": resume})
        cluster.advance(10)
        assert back.response(request)["error"]["data"]["reason"] == "ahead"
    assert come_back(here, bob).welcome["resumed"] is True


def test_unknown_token_begins_a_new_session(cluster: Cluster, here: Node, bob: Program) -> None:
    back = here.open_program()
    assert back.hello("zoe", resume=bob.resume | {"token": "unknown"})["resumed"] is False
    assert back.welcome["rooms"].keys() == {"lobby"}


def test_quit_voids_the_token_on_all_nodes(cluster: Cluster, here: Node, ann: Program, bob: Program) -> None:
    bob.call("quit")
    back, request = ask_back(here, bob)
    cluster.advance(1)
    assert back.response(request)["result"]["resumed"] is False


def test_client_that_gives_up_leaves_its_session_in_its_grace(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    bob.vanish()
    back, _ = ask_back(here, bob)
    back.vanish()
    cluster.advance(1)
    assert come_back(cluster.nodes[2], bob, attempt=2).welcome["resumed"] is True
    assert events_of(ann) == []


# A node that does not answer


def test_node_that_does_not_answer_loses_the_session(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    cluster.cut(there)
    back = come_back(here, bob)
    assert back.welcome["resumed"] is True
    assert bob.read() == []
    cluster.join(there)
    assert [event["reason"] for event in bob.events()] == [MOVED]
    ann.say("hi")
    assert [event["text"] for event in events_of(back)] == ["hi"]
    assert [event["method"] for event in events_of(ann)] == ["said"]
    assert cluster.people() == [{"ann", "bob"}] * 3
    assert cluster.presence()[0] == cluster.presence()[1]
    there.join("zoe")


def test_node_that_the_others_have_removed_lets_its_programs_come_back(there: Node, bob: Program) -> None:
    session = there.hub.people.find("bob").id
    there.hub.other_nodes.person_changed(Person(session, "bob", generation=1))  # it is parked
    there.settle()
    (goodbye,) = events_of(bob)
    assert (goodbye["method"], goodbye["reason"], goodbye["reconnect"]) == ("goodbye", MOVED, True)


@pytest.mark.parametrize("method", ["leave", "quit", "nick", "say", "join"])
def test_node_learns_from_the_stream_that_it_has_lost_a_session(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program, method: str
) -> None:
    bob.call("join", room="kitchen")
    ann.call("join", room="kitchen")
    cluster.cut(there)
    back = come_back(here, bob)
    params = {"leave": {"room": "kitchen"}, "nick": {"nick": "rob"}, "say": {"room": "kitchen", "text": "hi"}}
    back.call(method, **params.get(method, {"room": "attic"} if method == "join" else {}))
    there.shared.is_cut = False
    there.shared.wake()
    cluster.settle()
    there.directory.compare()
    cluster.settle()
    assert bob.is_closed()
    assert cluster.people()[0] == cluster.people()[1] == cluster.people()[2]
    presence = cluster.presence()
    assert [rooms["lobby"] for rooms in presence] == [presence[0]["lobby"]] * 3
    assert presence[1].get("kitchen", presence[0]["kitchen"]) == presence[0]["kitchen"]


@pytest.mark.parametrize("room", ["lobby", "kitchen"])
def test_node_keeps_a_session_although_it_reads_events_of_the_earlier_node_late(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program, room: str
) -> None:
    ann.call("join", room="kitchen")
    here.shared.reads = False
    methods = ["leave", "join"] if room == "lobby" else ["join", "leave"]
    for method in methods:
        bob.call(method, room=room)
    back, request = ask_back(here, bob)
    cluster.advance(FORCE_SECONDS + 1)
    assert not here.hub.people.find("bob").is_remote
    here.shared.reads = True
    here.shared.wake()
    cluster.settle()
    assert back.response(request)["result"]["resumed"] is True
    assert not back.is_closed()
    back.say("hi")
    assert ann.texts() == ["hi"]
    assert cluster.presence()[0]["lobby"] == cluster.presence()[1]["lobby"] == {"ann", "bob"}
    assert cluster.presence()[0]["kitchen"] == {"ann"}
    back.call("quit")
    cluster.settle()
    assert cluster.people() == [{"ann"}] * 3


@pytest.mark.parametrize(
    ("request_", "read"),
    [
        (("quit", {}), ["left", "left", "joined", "joined"]),
        (("leave", {"room": "kitchen"}), ["left", "joined"]),
        (("join", {"room": "attic"}), ["joined", "left"]),
        (("away", {"reason": "lunch"}), ["away"] * 4),
    ],
)
def test_change_of_a_session_that_another_node_has_taken_meanwhile_is_undone(
    here: Node, there: Node, ann: Program, bob: Program, request_: tuple[str, Message], read: list[str]
) -> None:
    cluster = here.cluster
    (eve,) = there.programs("eve")
    bob.call("join", room="kitchen")
    eve.call("join", room="kitchen")
    eve.call("join", room="attic")
    eve.read()
    cluster.cut(there)
    bob.put(*request_)
    back = come_back(here, bob)
    cluster.join(there)
    cluster.settle()
    assert sorted(event["method"] for event in events_of(eve)) == sorted(read)
    assert cluster.people() == [{"ann", "bob", "eve"}] * 3
    presence = cluster.presence()
    assert presence[1] == presence[0] | {"attic": {"eve"}}
    ann.read()
    back.call("quit")
    cluster.settle()
    assert [event["method"] for event in events_of(eve)] == ["left"] * 2
    assert [event["method"] for event in events_of(ann)] == ["left"]
    assert cluster.people() == [{"ann", "eve"}] * 3


def test_node_stores_nothing_that_a_client_sent_before_it_came_back_to_another_node(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    ann.call("join", room="kitchen")
    cluster.cut(there)
    bob.put("topic", {"room": "lobby", "text": "old"})
    bob.put("say", {"room": "lobby", "text": "late"})
    bob.put("emote", {"room": "lobby", "text": "waves"})
    back = come_back(here, bob)
    back.call("topic", room="lobby", text="new")
    ann.read()
    cluster.join(there)
    assert events_of(ann) == events_of(back)[1:] == []
    assert [node.hub.lobby.topic for node in cluster.nodes] == ["new"] * 3
    assert cluster.database.room("lobby").topic == "new"


def test_session_that_has_ended_elsewhere_does_not_come_back_with_a_late_join(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    (eve,) = there.programs("eve")
    for program in (ann, eve):
        program.call("join", room="kitchen")
    cluster.cut(there)
    bob.put("join", {"room": "kitchen"})
    bob.put("away", {"reason": "lunch"})
    come_back(here, bob).call("quit")
    ann.read()
    cluster.join(there)
    assert events_of(ann) == []
    assert cluster.people() == [{"ann", "eve"}] * 3
    assert [rooms["lobby"] for rooms in cluster.presence()] == [{"ann", "eve"}] * 3
    assert [rooms["kitchen"] for rooms in cluster.presence()[:2]] == [{"ann", "eve"}] * 2


def test_session_that_is_renamed_moves_after_that(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    cluster.database.people["bobby"] = there, Person(there.hub.people.find("bob").id, "bobby")
    back, request = ask_back(here, bob)
    cluster.advance(3)
    assert is_waiting(back)
    del cluster.database.people["bobby"]
    cluster.advance(1)
    assert back.response(request)["result"]["resumed"] is True


def test_client_is_refused_if_its_session_cannot_move_for_long(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    cluster.database.people["bobby"] = there, Person(there.hub.people.find("bob").id, "bobby")
    back, request = ask_back(here, bob)
    cluster.advance(GIVE_UP_SECONDS + 1)
    assert back.response(request)["error"]["data"]["reason"] == "busy"


def test_answer_to_hello_comes_when_the_session_can_be_resumed_anywhere(
    cluster: Cluster, here: Node, there: Node, ann: Program
) -> None:
    bob = there.open_program()
    request = bob.put("hello", {"protocol": 1, "nick": "bob"})
    while there.turn_alone() or here.turn_alone():
        if bob.transport.sent.count(b'"token"'):
            break
    cluster.kill(there)
    cluster.bury(there)
    bob.welcome = bob.response(request)["result"]
    assert come_back(here, bob).welcome["resumed"] is True


@pytest.mark.parametrize("rooms", [["lobby"], []])
def test_hello_is_answered_although_the_session_could_not_be_stored(
    cluster: Cluster, there: Node, monkeypatch: pytest.MonkeyPatch, rooms: list[str]
) -> None:
    answers: list[Callable[[RejectedError | None], None]] = []
    monkeypatch.setattr(NodeSessions, "keep", lambda _self, _session, on_kept: answers.append(on_kept))
    bob = there.open_program()
    request = bob.put("hello", {"protocol": 1, "nick": "bob", "rooms": rooms})
    cluster.settle()
    assert is_waiting(bob)
    (answer,) = answers
    answer(DatabaseAway())
    cluster.settle()
    assert bob.response(request)["result"]["nick"] == "bob"


def test_client_that_goes_before_the_answer_to_hello_leaves_no_session(cluster: Cluster, there: Node) -> None:
    bob = there.open_program()
    bob.put("hello", {"protocol": 1, "nick": "bob"})
    while "bob" not in cluster.people()[1]:
        there.turn_alone()
    bob.vanish()
    cluster.settle()
    assert cluster.database.sessions == {}
    assert cluster.people() == [set()] * 3


def test_node_that_stays_behind_does_not_reject_the_numbers_of_the_client(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    third = cluster.nodes[2]
    third.join("carol")
    third.shared.reads = False
    ann.say("one", "two")
    bob.vanish()
    for resume in (bob.resume | {"token": "unknown"}, bob.resume):
        back = third.open_program()
        request = back.put("hello", {"protocol": 1, "nick": "zoe", "resume": {**resume, "rooms": {"lobby": 2}}})
        cluster.advance(GIVE_UP_SECONDS + 5)
        assert back.response(request)["error"]["data"]["reason"] == "busy"
    third.shared.reads = True
    ann.say("three")
    back = come_back(third, bob, rooms={"lobby": 2}, attempt=5)
    assert texts_of(back.welcome) == ["three"]


@pytest.mark.parametrize("is_in_room", [False, True])
def test_join_after_a_number_waits_until_the_node_has_read_so_far(
    cluster: Cluster, here: Node, ann: Program, bob: Program, is_in_room: bool
) -> None:
    third = cluster.nodes[2]
    late = third.program("late", rooms=[*["lobby"] * is_in_room, "kitchen"])
    third.join("carol")
    third.shared.reads = False
    ann.say("one", "two")
    request = late.put("join", {"room": "lobby", "after": 2})
    ping = late.put("ping", {})
    cluster.advance(1)
    ann.say("three")
    assert not any("id" in each for each in late.read())
    third.shared.reads = True
    cluster.join(third)
    cluster.advance(1)
    answers = late.read()
    (joined,) = [each["result"] for each in answers if each.get("id") == request]
    assert [event["text"] for event in joined["events"]] == ["three"]
    assert any(each.get("id") == ping for each in answers)
    ann.say("four")
    assert late.texts() == ["four"]


@pytest.mark.parametrize(("after", "reason"), [(2, "busy"), (3, "ahead")])
def test_join_after_a_number_that_does_not_come_is_refused(
    cluster: Cluster, ann: Program, bob: Program, after: int, reason: str
) -> None:
    third = cluster.nodes[2]
    late = third.program("late", rooms=["kitchen"])
    third.join("carol")
    third.shared.reads = False
    ann.say("one", "two")
    request = late.put("join", {"room": "lobby", "after": after})
    cluster.advance(CATCH_UP_SECONDS + 1)
    assert late.response(request)["error"]["data"]["reason"] == reason
    third.shared.reads = True
    cluster.join(third)
    assert late.call("join", room="lobby", after=2)["last"] == 2


def test_client_that_goes_while_its_numbers_are_looked_up_is_forgotten(
    cluster: Cluster, here: Node, bob: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = here.open_program()
    back.put("hello", {"protocol": 1, "nick": "zoe", "resume": {**bob.resume, "token": "?", "rooms": {"lobby": 7}}})
    cluster.advance(CATCH_UP_SECONDS - 0.05)
    read_journal = here.hub.lobby.read_journal

    def vanish_and_read(seq: int, on_result: ReadCallback) -> None:
        back.vanish()
        read_journal(seq, on_result)

    monkeypatch.setattr(here.hub.lobby, "read_journal", vanish_and_read)
    cluster.advance(1)
    assert "zoe" not in cluster.people()[0]


# Private messages


def told(program: Program) -> list[tuple[int, str]]:
    """Return the numbers and texts of the private messages since the last call."""
    return [(event["id"], event["text"]) for event in events_of(program) if event["method"] == "told"]


@pytest.mark.parametrize("how", ["stopped", "lost", "alive"])
def test_private_messages_go_with_the_session(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program, how: str
) -> None:
    for number in (1, 2):
        ann.call("tell", to="bob", text=f"{number}")
    if how != "alive":
        bob.vanish()
        ann.call("tell", to="bob", text="3")
    leave_by(how, cluster, there, bob)
    if how == "stopped":
        assert ann.call("tell", to="bob", text="4") == {}
    back = come_back(here, bob, told=1)
    expected = {"stopped": [2, 3, 4], "lost": [2, 3], "alive": [2]}[how]
    assert told(back) == [(number, f"{number}") for number in expected]
    ann.call("tell", to="bob", text="last")
    assert told(back) == [(expected[-1] + 1, "last")]


def test_messages_to_a_session_whose_node_has_died_wait(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    leave_by("killed", cluster, there, bob)
    assert ann.call("tell", to="bob", text="psst") == {}
    back = come_back(here, bob, told=5)
    assert told(back) == [(6, "psst")]


def test_message_during_the_move_is_not_lost(cluster: Cluster, here: Node, there: Node, bob: Program) -> None:
    (carol,) = there.programs("carol")
    bob.vanish()
    back, request = ask_back(here, bob)
    for number in range(30):
        carol.put("tell", {"to": "bob", "text": f"{number}"})
        cluster.turn()
    cluster.advance(3)
    assert back.response(request)["result"]["resumed"] is True
    assert [text for _, text in told(back)] == [f"{number}" for number in range(30)]


def test_private_message_that_is_sent_again_with_its_uid_is_delivered_once(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    bob.call("tell", to="ann", text="psst", uid="u1")
    leave_by("stopped", cluster, there, bob)
    back = come_back(here, bob)
    assert back.call("tell", to="ann", text="psst", uid="u1") == {}
    assert back.fail("tell", to="ann", text="other", uid="u1") == (1012, "uid-reused")
    assert [text for _, text in told(ann)] == ["psst"]


@pytest.mark.parametrize("at", ["the same node", "another node", "a third node"])
def test_private_message_that_a_node_handles_after_it_was_sent_again_elsewhere_is_delivered_once(
    cluster: Cluster, here: Node, there: Node, bob: Program, at: str
) -> None:
    nodes = {"the same node": there, "another node": here, "a third node": cluster.nodes[2]}
    (carol,) = nodes[at].programs("carol")
    cluster.cut(there)
    back = come_back(here, bob)
    again = back.put("tell", {"to": "carol", "text": "psst", "uid": "u1"})
    bob.put("tell", {"to": "carol", "text": "psst", "uid": "u1"})
    cluster.join(there)
    cluster.advance(1)
    assert "result" in back.response(again)
    assert [text for _, text in told(carol)] == ["psst"]


def test_session_knows_at_its_next_node_which_private_messages_it_has_received(
    cluster: Cluster, here: Node, there: Node, bob: Program
) -> None:
    (carol,) = cluster.nodes[2].programs("carol")
    cluster.cut(there)
    back = come_back(here, bob)
    back.call("tell", to="carol", text="psst", uid="u1")
    assert [text for _, text in told(carol)] == ["psst"]
    moved = come_back(here, carol, told=1)
    bob.put("tell", {"to": "carol", "text": "psst", "uid": "u1"})
    cluster.join(there)
    cluster.advance(1)
    assert told(moved) == []
    back.call("tell", to="carol", text="again", uid="u2")
    assert told(moved) == [(2, "again")]


def test_line_that_is_sent_again_with_its_uid_is_stored_once(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    seq = bob.call("say", room="lobby", text="x", uid="u1")["seq"]
    leave_by("killed", cluster, there, bob)
    back = come_back(here, bob)
    assert back.call("say", room="lobby", text="x", uid="u1")["seq"] == seq
    assert ann.texts() == ["x"]


def test_stored_message_is_delivered_once(cluster: Cluster, here: Node, there: Node) -> None:
    people = here.join("ann")[0], there.join("bob")[0]
    here.register(people[0])
    there.register(people[1])
    people[1].say("quit")
    bob = there.program("bob", password=PASSWORD)
    people[0].say("/msg bob one")
    bob.vanish()
    people[0].say("/msg bob two")
    leave_by("stopped", cluster, there, bob)
    people[0].say("/msg bob three")
    back = come_back(here, bob)
    assert [text for _, text in told(back)] == ["one", "two", "three"]
    assert back.welcome["account"] == "bob"
    people[0].say("/msg bob four")
    assert [text for _, text in told(back)] == ["four"]


# Operators


def test_parked_session_that_is_kicked_leaves_and_cannot_come_back(
    cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program
) -> None:
    leave_by("killed", cluster, there, bob)
    here.hub.expel(here.hub.people.find("bob"), "kicked", "olga", "noise")
    cluster.advance(1)
    (left,) = events_of(ann)
    assert (left["nick"], left["reason"]) == ("bob", "kicked by olga: noise")
    back, request = ask_back(here, bob)
    cluster.advance(1)
    assert back.response(request)["result"]["resumed"] is False


def test_banned_client_cannot_come_back(cluster: Cluster, here: Node, there: Node, ann: Program, bob: Program) -> None:
    leave_by("killed", cluster, there, bob)
    here.hub.moderation.ban("nickname", "bob", "bob", "", "olga", 0.0, None)
    back, request = ask_back(here, bob)
    cluster.advance(1)
    assert back.response(request)["error"]["data"]["reason"] == "banned"


def test_kick_during_the_move_reaches_the_session(cluster: Cluster, here: Node, there: Node, bob: Program) -> None:
    bob.vanish()
    back, request = ask_back(here, bob)
    member = cluster.nodes[2].hub.people.find("bob")
    cluster.nodes[2].hub.expel(member, "kicked", "olga", "")
    cluster.advance(3)
    assert back.response(request)["result"]["resumed"] is False


def test_older_news_about_a_session_changes_nothing(cluster: Cluster, here: Node, ann: Program, bob: Program) -> None:
    back = come_back(here, bob)
    session = here.hub.people.find("bob").id
    here.hub.other_nodes.person_changed(Person(session, "robert", generation=1))
    assert here.hub.people.find("bob").nick == "bob"
    back.say("hi")
    assert ann.texts() == ["hi"]


def test_messages_that_come_after_the_session_has_moved_are_passed_on(
    cluster: Cluster, here: Node, there: Node, bob: Program
) -> None:
    back = come_back(here, bob)
    session = there.hub.people.find("bob").id
    answers: list[RejectedError | None] = []
    for message in (PrivateMessage(5, "eve", session, "psst"), Handover(session, 3), Return(session, "192.0.2.7")):
        there.hub.other_nodes.receive(message, answers.append)
    cluster.settle()
    assert [type(answer) for answer in answers] == [type(None), NotHere, type(None)]
    assert told(back) == [(1, "psst")]
