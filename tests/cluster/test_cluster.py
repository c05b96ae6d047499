"""People on several nodes are in one chat: one order, one nickname space, and one list of those who are here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.directory import Person as Person_
from broadcast.core.errors import Banned, RejectedError
from broadcast.core.events import AwayChanged, Event, Joined, Left, Renamed
from broadcast.core.records import AccountRecord, SaveAccount
from broadcast.core.session import MAX_REJECTED_NICKS
from broadcast.core.settings import Settings
from broadcast.doors.jsonrpc import recent_lines
from broadcast.server.fresh_start import LAST_LINE
from tests.cluster.nodes import Cluster, Node, NodeLog, register
from tests.harness import PASSWORD, Person

# One order


def test_everybody_reads_the_lines_of_all_nodes_in_one_order(cluster: Cluster, ann: Person, bob: Person) -> None:
    (carol,) = cluster.nodes[0].join("carol")
    (dave,) = cluster.nodes[1].join("dave")
    for person in (ann, bob, carol):
        person.read()
    for number in range(20):
        for person, name in ((ann, "ann"), (bob, "bob")):
            person.put(f"{name}-{number}\r\n")
        if number % 3 == 0:
            cluster.nodes[number % 2].turn_alone()
    cluster.settle()
    lines = carol.lines()
    assert lines == dave.lines()
    assert len(lines) == 40
    assert [line for line in lines if "ann" in line] == [f"ann: ann-{number}" for number in range(20)]


def test_line_of_another_node_has_its_number_everywhere(here: Node, there: Node) -> None:
    (first,), (second,) = here.programs("first"), there.programs("second")
    first.read()
    results = [first.call("say", room="lobby", text="one"), second.call("say", room="lobby", text="two")]
    assert [result["seq"] for result in results] == [1, 2]
    said = [[event for event in program.events() if event["method"] == "said"] for program in (first, second)]
    assert said[0] == said[1]
    assert [(event["seq"], event["text"]) for event in said[0]] == [(1, "one"), (2, "two")]


def test_newcomer_reads_the_replay_of_lines_from_both_nodes(here: Node, ann: Person, bob: Person) -> None:
    ann.say("one")
    bob.say("two")
    carol = here.connect()
    carol.say("carol")
    assert [line.split("] ")[1] for line in carol.lines() if line.startswith("[")] == ["ann: one", "bob: two"]


# One nickname space


def test_nickname_is_taken_on_all_nodes(here: Node, there: Node, ann: Person) -> None:
    stranger = there.connect()
    stranger.say("ANN")
    assert "ANN is taken" in stranger.read()
    stranger.say("zoe")
    assert "You are zoe." in stranger.read()
    assert ann.lines() == [" * zoe joined."]


def test_of_two_who_ask_at_once_one_gets_the_nickname(cluster: Cluster, here: Node, there: Node) -> None:
    first, second = here.connect(), there.connect()
    first.put("zoe\r\n")
    second.put("Zoe\r\nyan\r\n")
    cluster.settle()
    assert "You are zoe." in first.read()
    output = second.read()
    assert "Zoe is taken" in output
    assert "You are yan. 1 other is here: zoe." in output
    assert cluster.people() == [{"zoe", "yan"}] * 2


def test_lookalikes_of_people_on_another_node_are_refused() -> None:
    cluster = Cluster(settings=Settings(unicode_nicknames=True))
    first, second = cluster.nodes[0].connect(), cluster.nodes[1].connect()
    first.put("anna\r\n")
    second.put("\u0430nna\r\n")
    cluster.settle()
    first.read()
    assert "looks too much like anna" in second.read()


def test_rush_of_people_on_both_nodes_for_the_same_nicknames(cluster: Cluster, here: Node, there: Node) -> None:
    people = [(node.connect(), number) for number in range(100) for node in (here, there)]
    for person, number in people:
        person.put(f"p{number}\r\nq{number}\r\n")
    cluster.settle()
    outputs = [person.read() for person, _ in people]
    assert sum("You are p" in output for output in outputs) == 100
    assert sum("You are q" in output for output in outputs) == 100
    assert cluster.presence()[0]["lobby"] == cluster.presence()[1]["lobby"]
    assert len(cluster.presence()[0]["lobby"]) == 200


def test_rename_is_read_on_the_other_node_and_frees_the_old_nickname(there: Node, ann: Person, bob: Person) -> None:
    ann.say("/nick anna")
    assert ann.lines() == ["-> You are anna."]
    assert bob.lines() == [" * ann is now anna."]
    (heir,) = there.join("ann")
    bob.say("/who")
    assert bob.lines()[-1] == "-> 3 here: bob, anna, ann"
    heir.say("hi")
    assert bob.lines()[-1] == "ann: hi"


def test_of_two_renames_at_once_one_wins(cluster: Cluster, ann: Person, bob: Person) -> None:
    ann.put("/nick zoe\r\nhi\r\n")
    bob.put("/nick zoe\r\nho\r\n")
    cluster.settle()
    outputs = sorted([ann.read(), bob.read()], key=lambda output: "Error" in output)
    assert outputs[0].startswith("-> You are zoe.\r\n")
    assert outputs[1].startswith("-> Error: zoe is taken.\r\n")
    assert len(cluster.people()[0]) == 2
    assert cluster.people()[0] == cluster.people()[1]


def test_two_can_swap_a_nickname_one_after_the_other(cluster: Cluster, ann: Person, bob: Person) -> None:
    ann.put("/nick tmp\r\n")
    cluster.settle()
    bob.put("/nick ann\r\n")
    cluster.settle()
    ann.put("/nick bob\r\n")
    cluster.settle()
    assert [line for line in ann.lines() if line.startswith(" *")] == [" * bob is now ann."]
    assert [line for line in bob.lines() if line.startswith(" *")] == [" * ann is now tmp.", " * tmp is now bob."]


def test_case_of_a_nickname_can_change(cluster: Cluster, ann: Person, bob: Person) -> None:
    ann.say("/nick ANN")
    assert bob.lines() == [" * ann is now ANN."]
    assert cluster.people() == [{"ANN", "bob"}] * 2


def test_who_leaves_before_the_answer_leaves_no_nickname(cluster: Cluster, there: Node, here: Node) -> None:
    person = here.connect()
    person.put("zoe\r\n")
    person.protocol.session.leave("")
    cluster.settle()
    assert "Goodbye." in person.read()
    (zoe,) = there.join("zoe")
    assert zoe.lines() == []
    assert cluster.people() == [{"zoe"}] * 2


def test_who_leaves_during_a_rename_leaves_no_nickname(cluster: Cluster, there: Node, ann: Person, bob: Person) -> None:
    ann.put("/nick zoe\r\n")
    ann.protocol.session.leave("")
    cluster.settle()
    assert bob.lines() == [" * ann left."]
    assert cluster.people() == [{"bob"}] * 2
    there.join("zoe", "ann")


# Who is here


def test_people_of_other_nodes_are_in_the_list(there: Node, ann: Person, bob: Person) -> None:
    (zoe,) = there.programs("zoe")
    ann.say("/who")
    assert ann.lines()[-1] == "-> 3 here: bob, ann, zoe"
    assert [member["nick"] for member in zoe.call("members", room="lobby")["members"]] == ["ann", "bob", "zoe"]
    assert ann.lines() == []
    bob.say("quit")
    assert ann.lines() == [" * bob left."]
    ann.say("/uptime")
    assert "2 people" in ann.read()


def test_node_that_starts_knows_who_is_here(cluster: Cluster, ann: Person, bob: Person) -> None:
    bob.say("/away lunch")
    node = cluster.start()
    carol = node.connect()
    carol.say("carol")
    assert "2 others are here: ann, bob." in carol.read().replace("bob, ann", "ann, bob")
    carol.say("/who")
    assert "bob (away: lunch)" in carol.read()


def test_absence_is_known_on_the_other_node(there: Node, ann: Person, bob: Person) -> None:
    (zoe,) = there.programs("zoe")
    ann.read()
    ann.say("/away lunch")
    assert [(event["method"], event["reason"]) for event in zoe.events()] == [("away", "lunch")]
    bob.say("/who", "/msg ann hi")
    assert [line for line in bob.lines() if line.startswith("->")] == [
        "-> 3 here: bob, ann (away: lunch), zoe",
        "-> sent to ann, who is away: lunch",
    ]
    ann.say("/back")
    bob.say("/who")
    assert bob.lines() == ["-> 3 here: bob, ann, zoe"]


def test_topic_is_the_same_on_all_nodes(ann: Person, bob: Person) -> None:
    ann.say("/topic tea")
    assert bob.lines() == [" * ann set the topic: tea"]
    bob.say("/topic")
    assert bob.lines() == ["-> Topic: tea"]


def test_room_without_people_here_is_not_open_here(cluster: Cluster, here: Node, ann: Person, bob: Person) -> None:
    bob.say("/join tea", "hello")
    assert "tea" not in here.hub.rooms
    assert ann.lines() == [" * bob left: to tea"]
    ann.say("/join tea")
    assert " * You are in tea. 1 other is here: bob." in ann.lines()
    assert bob.lines()[-1] == " * ann joined."
    ann.say("/leave")
    assert "tea" not in here.hub.rooms
    assert bob.lines() == [" * ann left: to lobby"]
    ann.say("/msg bob psst")
    assert bob.lines() == ["[ann] psst"]


def test_people_of_a_dead_node_leave(cluster: Cluster, here: Node, there: Node, ann: Person, bob: Person) -> None:
    bob.say("my last line")
    cluster.kill(there)
    ann.say("still here")
    assert ann.lines() == ["bob: my last line"]
    cluster.bury(there)
    assert ann.lines() == [" * bob left: connection lost"]
    assert cluster.people() == [{"ann"}]
    assert cluster.presence() == [{"lobby": {"ann"}}]
    here.join("bob")


def test_visit_during_a_moment_without_the_database_is_read_as_a_whole(
    cluster: Cluster, here: Node, there: Node, bob: Person
) -> None:
    cluster.cut(there)
    (carol,) = here.join("carol")
    carol.say("quit")
    cluster.join(there)
    assert bob.lines() == [" * carol joined.", " * carol left."]
    assert cluster.people() == [{"bob"}] * 2


def test_node_that_was_cut_off_for_a_moment_catches_up(
    cluster: Cluster, here: Node, there: Node, ann: Person, bob: Person
) -> None:
    cluster.cut(there)
    (carol,) = here.join("carol")
    ann.say("one")
    bob.put("two\r\n")
    ann.say("/nick anna", "quit")
    cluster.settle()
    assert bob.lines() == []
    cluster.join(there)
    assert bob.lines() == [" * carol joined.", "ann: one", " * ann is now anna.", " * anna left."]
    assert carol.lines() == ["ann: one", " * ann is now anna.", " * anna left.", "bob: two"]
    assert cluster.people() == [{"bob", "carol"}] * 2
    assert cluster.presence()[0] == cluster.presence()[1]


# From one node to the other


def test_private_message_reaches_another_node(ann: Person, bob: Person) -> None:
    ann.say("/msg bob psst")
    assert ann.lines() == ["-> sent to bob."]
    assert bob.lines() == ["[ann] psst"]
    bob.say("/reply yes?")
    assert ann.lines() == ["[bob] yes?"]


def test_sender_reads_that_the_recipient_on_another_node_does_not_read(ann: Person, bob: Person, there: Node) -> None:
    bob.stop_reading()
    while not bob.protocol.peer.congested:
        bob.protocol.peer.send_bytes(b"x" * 1000)
    ann.say("/msg bob psst", "/msg bob psst")
    assert ann.lines() == ["-> Error: bob does not read what is sent to them."] * 2


def test_private_message_to_someone_who_has_just_left_is_refused(cluster: Cluster, ann: Person, bob: Person) -> None:
    ann.put("/msg bob psst\r\n")
    bob.put("quit\r\n")
    cluster.nodes[1].turn_alone()
    cluster.settle()
    lines = ann.lines()
    assert any(line.startswith("-> Error: ") for line in lines), lines


def test_program_tells_somebody_on_another_node(here: Node, there: Node) -> None:
    (first,), (second,) = here.programs("first"), there.programs("second")
    first.read()
    assert first.call("tell", to="second", text="psst", uid="u") == {}
    assert [event["text"] for event in second.events() if event["method"] == "told"] == ["psst"]


def test_kick_reaches_another_node(here: Node, ann: Person, bob: Person) -> None:
    here.hub.expel(here.hub.people.find("bob"), "kicked", "ann", "noise")
    here.settle()
    assert bob.lines()[-2:] == [" * You were kicked by ann: noise", " * Goodbye, bob."]
    assert ann.lines() == [" * bob left (kicked by ann: noise)"]


def test_program_with_a_taken_nickname_can_say_hello_again(here: Node, there: Node) -> None:
    first, second = here.open_program(), there.open_program()
    ids = [program.put("hello", {"protocol": 1, "client": "x/1", "nick": "zoe"}) for program in (first, second)]
    here.settle()
    answers = [program.response(id_) for program, id_ in zip((first, second), ids, strict=True)]
    assert sum("result" in answer for answer in answers) == 1
    loser = first if "error" in answers[0] else second
    assert loser.hello("yan")["nick"] == "yan"


def test_program_that_renames_itself_waits_for_the_answer(here: Node, there: Node) -> None:
    (first,), (second,) = here.programs("first"), there.programs("second")
    ids = [program.put("nick", {"nick": "zoe"}) for program in (first, second)]
    after = [program.put("ping") for program in (first, second)]
    here.settle()
    answers = [program.response(id_) for program, id_ in zip((first, second), ids, strict=True)]
    assert [program.response(id_) for program, id_ in zip((first, second), after, strict=True)]
    assert sum("result" in answer for answer in answers) == 1


def test_uid_that_another_node_has_stored_is_stored_once(cluster: Cluster, here: Node, there: Node) -> None:
    (first,), (second,) = here.programs("first"), there.programs("second")
    ids = []
    for program, text in ((first, "same"), (second, "other")):
        ids.append(program.put("say", {"room": "lobby", "text": text, "uid": "u1"}))
    cluster.settle()
    answers = [program.response(id_) for program, id_ in zip((first, second), ids, strict=True)]
    assert sorted(answer.get("error", {}).get("code", 0) for answer in answers) == [0, 1012]
    winner = first if "result" in answers[0] else second
    text = "same" if winner is first else "other"
    assert winner.call("say", room="lobby", text=text, uid="u1")["seq"] == 1
    assert first.texts() == second.texts() == [text]


# Accounts, operators and bans


def test_account_is_known_on_the_other_node(there: Node, ann: Person, bob: Person) -> None:
    register(ann)
    ann.say("quit")
    bob.say("/nick ann")
    assert bob.lines()[-1] == "-> Error: ann is registered: /login ann asks for its password."
    bob.say("/login ann", PASSWORD)
    assert bob.lines()[-1] == "-> You are logged in as ann."
    assert there.hub.people.find("ann").account is there.hub.accounts.find("ann")


def test_login_on_one_node_ends_the_session_on_the_other(cluster: Cluster, ann: Person, bob: Person) -> None:
    register(ann)
    bob.say("/login ann", PASSWORD)
    assert bob.lines()[-1] == "-> You are logged in as ann."
    assert "ann has logged in on another connection." in ann.read()
    assert cluster.people() == [{"ann"}] * 2
    assert cluster.presence() == [{"lobby": {"ann"}}] * 2
    bob.say("/logout")
    assert bob.lines()[-1] == "-> You are logged out, and your nickname is ann2."
    assert cluster.people() == [{"ann2"}] * 2


def test_owner_comes_in_while_a_session_on_another_node_uses_the_nickname(
    here: Node, there: Node, ann: Person, bob: Person
) -> None:
    register(ann)
    newcomer = there.connect()
    newcomer.say("ann", PASSWORD)
    assert "You are ann." in newcomer.read()
    assert "ann has logged in on another connection." in ann.read()
    assert bob.lines() == [" * ann left: taken over by another connection", " * ann joined."]
    assert here.hub.people.find("ann").is_remote


@contextmanager
def delayed_changes(node: Node) -> Iterator[None]:
    """Let the changes that *node* makes in this block take effect after it."""
    changes: list[Callable[[], None]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.shared, "enqueue", changes.append)
        yield
    for change in changes:
        node.shared.enqueue(change)


def test_owner_joins_after_the_session_that_it_takes_over_has_left(
    cluster: Cluster, here: Node, there: Node, ann: Person, bob: Person
) -> None:
    register(ann)
    with delayed_changes(here):
        newcomer = there.connect()
        newcomer.say("ann", PASSWORD)
        cluster.settle()
        assert "ann has logged in on another connection." in ann.read()
        assert "You are ann." not in newcomer.read()
    cluster.settle()
    assert bob.lines() == [" * ann left: taken over by another connection", " * ann joined."]
    assert "You are ann." in newcomer.read()


def test_owner_who_is_banned_before_the_session_that_it_takes_over_has_left_is_rejected(
    cluster: Cluster, here: Node, there: Node, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(ann)
    with delayed_changes(here):
        program = there.open_program()
        request = program.put("hello", {"protocol": 1, "client": "x/1", "nick": "ann", "password": PASSWORD})
        cluster.settle()
        monkeypatch.setattr(there.hub.moderation, "check_address", raise_banned)
    cluster.settle()
    assert program.response(request)["error"]["data"]["reason"] == "banned"
    assert cluster.people() == [{"bob"}] * 2


def raise_banned(*_: object) -> None:
    raise Banned("you are banned.", None)


def test_login_fails_if_another_node_has_just_given_the_nickname_away(
    cluster: Cluster, ann: Person, bob: Person
) -> None:
    register(ann)
    ann.say("/logout")
    ann.read()
    program = cluster.nodes[0].open_program()
    bob.say("/login ann")
    bob.put(f"{PASSWORD}\r\n")
    cluster.database.people["ann"] = cluster.nodes[0], Person_(999, "ann")
    cluster.settle()
    assert "-> Error: ann is taken." in bob.lines()
    assert program.fail("hello", protocol=1, client="x/1", nick="ann", password=PASSWORD) == (1003, "nick-refused")
    assert cluster.nodes[1].hub.people.find("bob").account is None
    del cluster.database.people["ann"]


def test_server_tries_another_nickname_if_other_nodes_refuse_the_first(
    cluster: Cluster, ann: Person, bob: Person
) -> None:
    register(ann)
    cluster.database.people["ann2"] = cluster.nodes[1], Person_(999, "ann2")
    ann.say("/logout")
    assert ann.lines()[-1] == "-> You are logged out, and your nickname is ann3."
    assert bob.lines()[-1] == " * ann is now ann3."


def test_nickname_that_is_registered_while_it_is_taken_is_refused(cluster: Cluster, ann: Person, bob: Person) -> None:
    zoe = cluster.nodes[0].connect()
    zoe.put("zoe\r\n")
    cluster.nodes[0].hub.other_nodes.records_changed([SaveAccount(AccountRecord(700, "zoe"))])
    cluster.settle()
    assert "zoe is registered" in zoe.read()
    assert cluster.people() == [{"ann", "bob"}] * 2


def test_password_change_ends_the_sessions_on_all_nodes(cluster: Cluster, ann: Person, bob: Person) -> None:
    register(ann)
    bob.say("/login ann", PASSWORD)
    ann = cluster.nodes[0].connect()
    ann.say("ann2")
    (other,) = cluster.nodes[1].join("other")
    for person, node in zip((ann, other), cluster.nodes, strict=True):
        person.protocol.session.member.account = node.hub.accounts.find("ann")
        node.hub.other_nodes.update(person.protocol.session.member)
    cluster.settle()
    other.say("/passwd", PASSWORD, "battery staple", "battery staple")
    assert "Your password is changed." in other.read()
    assert ann.transport.finished
    assert cluster.people() == [{"other"}] * 2


def test_account_that_another_node_has_deleted_is_unknown(cluster: Cluster, ann: Person, bob: Person) -> None:
    register(ann)
    ann.say("/drop", PASSWORD)
    assert all(node.hub.accounts.find("ann") is None for node in cluster.nodes)
    bob.say("/login ann", PASSWORD)
    assert "wrong password" in bob.read()


def test_account_that_gets_another_name_renames_its_session(cluster: Cluster, ann: Person, bob: Person) -> None:
    register(bob)
    hub = cluster.nodes[0].hub
    account = hub.accounts.find("bob")
    assert account is not None
    hub.accounts.change(account, name="robert")
    cluster.settle()
    assert bob.lines()[-1] == " * bob is now robert."
    assert ann.lines()[-1] == " * bob is now robert."
    assert cluster.nodes[1].hub.accounts.find("robert") is cluster.nodes[1].hub.people.find("robert").account


def test_two_nodes_cannot_register_one_nickname(cluster: Cluster, ann: Person, bob: Person) -> None:
    results: list[object] = []
    for node in cluster.nodes:
        node.hub.accounts.add(AccountRecord(0, "zoe"), results.append)
    cluster.settle()
    assert sum(isinstance(result, RejectedError) for result in results) == 1
    assert [len(node.hub.accounts) for node in cluster.nodes] == [1, 1]


def operator(node: Node, nick: str) -> Person:
    """Return an operator on *node*."""
    (person,) = node.join(nick)
    register(person)
    account = node.hub.accounts.find(nick)
    assert account is not None
    node.hub.accounts.change(account, role="operator")
    node.settle()
    return person


def test_operator_acts_on_people_of_another_node(cluster: Cluster, here: Node, ann: Person, bob: Person) -> None:
    olga = operator(here, "olga")
    ann.read(), bob.read()
    olga.say("/mute bob")
    assert bob.lines() == [" * bob was muted by olga."]
    bob.say("hi")
    assert bob.lines() == ["-> Error: you are muted until an operator ends it."]
    olga.say("/unmute bob", "/slow 5s", "/announce tea")
    bob.say("hi", "ho")
    lines = bob.lines()
    assert lines[:3] == [
        " * bob was unmuted by olga.",
        " * Slow mode is on: each person can say one line in 5 s.",
        " * olga announces: tea",
    ]
    assert "slow mode" in lines[3]
    assert ann.lines() == [" * bob was muted by olga.", *lines[:3], "bob: hi"]
    olga.say("/kick bob noise")
    assert " * You were kicked by olga: noise" in bob.lines()
    assert ann.lines() == [" * bob left (kicked by olga: noise)"]


def test_role_is_announced_on_the_other_node(here: Node, bob: Person) -> None:
    register(bob)
    olga = operator(here, "olga")
    bob.read()
    olga.say("/op bob")
    assert " * You are an operator now. /help lists your commands." in bob.lines()
    bob.say("/bans")
    assert bob.lines() == ["-> nobody is banned."]


def test_ban_acts_on_all_nodes(cluster: Cluster, here: Node, there: Node, bob: Person) -> None:
    olga = operator(here, "olga")
    carol = there.connect(IPv4Address("TCP", "192.0.2.7", 1))
    carol.say("carol")
    olga.say("/ban bob", "/ban 192.0.2.0/24")
    assert "reaches 1 person (carol) here" in olga.read()
    olga.say("/ban 192.0.2.0/24")
    assert "You were banned by olga" in bob.read()
    assert "You were banned by olga" in carol.read()
    again = there.connect()
    again.say("bob")
    assert "the nickname bob is banned" in again.read()
    olga.say("/unban bob")
    again.say("bob")
    assert "You are bob." in again.read()
    register(again)
    olga.say("/ban bob")
    assert "You were banned by olga" in again.read()
    assert cluster.people() == [{"olga"}] * 2


def test_waiting_message_is_read_once_on_whatever_node(cluster: Cluster, ann: Person, bob: Person) -> None:
    register(ann)
    register(bob)
    bob.say("quit")
    ann.say("/msg bob psst")
    assert ann.lines()[-1] == "-> kept for bob, who is not here."
    again = cluster.nodes[1].connect()
    again.say("bob", PASSWORD, "/who", "quit")
    assert "psst" in again.read()
    last = cluster.nodes[0].connect()
    last.say("bob", PASSWORD)
    assert "psst" not in last.read()


def test_stored_private_message_reaches_another_node(ann: Person, bob: Person) -> None:
    register(ann)
    register(bob)
    ann.read()
    ann.say("/msg bob psst")
    assert ann.lines() == ["-> sent to bob."]
    assert "[ann] psst" in bob.lines()
    bob.say("/inbox")
    assert "psst" in bob.read()


def test_stored_private_message_waits_if_the_node_of_the_recipient_is_gone(
    cluster: Cluster, ann: Person, bob: Person
) -> None:
    register(ann)
    register(bob)
    ann.read()
    cluster.database.people.pop("bob")
    ann.say("/msg bob psst")
    assert ann.lines() == ["-> kept for bob, who is not here."]


def leave_unnoticed(cluster: Cluster, there: Node, person: Person) -> None:
    """Let *person* leave, and let no other node learn of it before it has sent something."""
    person.put("quit\r\n")
    for _ in range(20):
        there.turn_alone()


@pytest.mark.parametrize("is_full", [False, True])
def test_message_to_an_account_that_has_just_left_another_node_waits(
    cluster: Cluster, there: Node, ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    register(bob)
    ann.read()
    if is_full:
        monkeypatch.setattr("broadcast.core.private_lines.MAX_WAITING_FROM_ONE", 0)
    leave_unnoticed(cluster, there, bob)
    ann.say("/msg bob psst")
    assert ("-> kept for bob, who is not here." in ann.lines()) is not is_full


def test_kick_is_confirmed_by_the_other_node(cluster: Cluster, here: Node, there: Node, bob: Person) -> None:
    olga, zoe = operator(here, "olga"), there.join("zoe")[0]
    olga.read()
    olga.say("/kick zoe")
    assert "-> zoe is kicked." in olga.lines()
    leave_unnoticed(cluster, there, bob)
    olga.say("/kick bob", "/audit 5")
    lines = olga.lines()
    assert any(line.startswith("-> Error: ") for line in lines)
    assert not any("kick" in line and "bob" in line for line in lines)
    assert zoe.lines()[-2:] == [" * You were kicked by olga", " * Goodbye, zoe."]


# Rare cases of the core


def test_next_owner_waits_until_the_nickname_is_free_on_all_nodes(cluster: Cluster, here: Node, ann: Person) -> None:
    zoe = here.connect()
    ann.put("quit\r\n")
    zoe.put("ann\r\n")
    cluster.settle()
    assert "You are ann." in zoe.read()
    assert cluster.people() == [{"ann", "bob"}] * 2


def test_connection_ends_after_too_many_nicknames_that_other_nodes_refuse(cluster: Cluster, here: Node) -> None:
    zoe = here.connect()
    for number in range(MAX_REJECTED_NICKS):
        cluster.database.people[f"zoe{number}"] = cluster.nodes[1], Person_(900 + number, f"zoe{number}")
        zoe.put(f"zoe{number}\r\n")
    cluster.settle()
    assert zoe.transport.finished


def test_line_that_another_node_has_stored_and_this_one_has_forgotten_is_answered(here: Node, there: Node) -> None:
    (first,), (second,) = here.programs("first"), there.programs("second")
    second.call("say", room="lobby", text="before", uid="u0")
    here.hub.lobby._uids.loaded = True  # as if the line were older than those that are known
    here.hub.lobby._uids._recent.clear()
    here.hub.lobby._uids._older.clear()
    assert first.fail("say", room="lobby", text="other", uid="u0") == (1012, "uid-reused")


def test_events_of_a_member_who_has_left_are_not_told(cluster: Cluster, here: Node, ann: Person) -> None:
    joined, left, renamed = Joined(900, "zoe"), Left(900, "zoe"), Renamed(900, "zoe", "zed")
    events: list[Event] = [joined, left, renamed, AwayChanged(900, "zoe", away=True), left, joined, left, left, joined]
    cluster.database.room("lobby").stream += [(None, event) for event in events]
    here.shared.wake()
    cluster.settle()
    assert ann.lines() == [" * zoe joined.", " * zoe left."] * 2 + [" * zoe joined."]
    assert 900 in here.hub.lobby.members


# A server that the others have removed


def test_removed_server_ends_its_visits_although_it_has_read_that_its_people_have_left(
    cluster: Cluster, here: Node, ann: Person, bob: Person
) -> None:
    here.join("carol")
    ann.read()
    cluster.bury(here)
    here.shared.wake()
    cluster.settle()
    assert ann.lines() == []
    assert len(here.hub.lobby.members) == 3
    cluster.kill(here)
    cluster.start_anew(here)
    assert ann.lines() == [" * This server starts anew. Connect again: what you say now is not kept."]
    assert cluster.people() == [{"bob"}] * 2


def test_uid_that_another_server_has_stored_is_answered_once_by_a_server_that_starts_anew(
    cluster: Cluster, here: Node, there: Node
) -> None:
    program, other = here.program("program", grace=60, token=True), there.program("other")
    line = {"room": "lobby", "text": "hi", "uid": "u1"}
    program.call("say", **line | {"uid": "u0"})
    cluster.cut(here)
    id_ = program.put("say", line)
    assert other.call("say", **line)["seq"] == 2
    here.shared.read_tails()
    cluster.kill(here)
    cluster.bury(here)
    cluster.start_anew(here)
    answers = [each for each in program.read() if each.get("id") == id_]
    assert [answer["error"]["code"] for answer in answers] == [1012]
    assert here.program("again").call("say", room="lobby", text="hello")["seq"] == 3


def test_snapshot_that_is_read_while_a_server_starts_anew_is_not_sent(
    cluster: Cluster, here: Node, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_lines, "MOST_LINES", 2)
    ann.say(*"abcd")
    joining, coming = here.program("joining"), here.open_program()
    slow: list[Callable[[], None]] = []
    with monkeypatch.context() as patch:
        patch.setattr(NodeLog, "read", lambda *arguments: slow.append(partial(arguments[-1], [])))
        joining.put("join", {"room": "lobby", "replay": 10})
        coming.put("hello", {"protocol": 1, "nick": "coming", "replay": 10})
        cluster.settle()
    cluster.kill(here)
    cluster.bury(here)
    cluster.start_anew(here)
    assert slow
    for answer in slow:
        answer()
    cluster.settle()
    for program in (joining, coming):
        methods = [message.get("method") for message in program.read()]
        assert methods[-1] == "goodbye"
        assert None not in methods  # neither a result nor an error


def test_server_that_others_have_removed_starts_anew_without_residue(
    cluster: Cluster, here: Node, there: Node, ann: Person, bob: Person
) -> None:
    (program,) = here.programs("program")
    gone = here.program("gone", grace=60, token=True)
    gone.vanish()
    ann.say("/join kitchen")
    ann.read()
    cluster.cut(here)
    ann.put("lost\r\n")
    late = here.open_program()
    hello = late.put("hello", {"protocol": 1, "nick": "late"})
    cluster.kill(here)
    cluster.bury(here)
    bob.read()
    cluster.start_anew(here)
    assert ann.lines() == [
        "-> Error: not kept: the others have removed this server",
        " * This server starts anew. Connect again: what you say now is not kept.",
    ]
    assert late.response(hello)["error"]["data"] == {"reason": "busy", "retry": 2}
    (goodbye,) = [each["params"] for each in program.read() if each.get("method") == "goodbye"]
    assert (goodbye["reconnect"], goodbye["reason"]) == (True, LAST_LINE)
    assert program.is_closed()
    assert (set(here.hub.rooms), [*here.hub.lobby.members], here.hub.backlog.events) == (
        {"lobby"},
        [*there.hub.lobby.members],
        0,
    )
    assert cluster.people() == [{"bob", "program", "gone"}] * 2  # programs have time to come back
    (again,) = here.join("ann")
    again.say("hello")
    assert bob.lines()[-2:] == [" * ann joined.", "ann: hello"]
    cluster.advance(61)
    assert cluster.people() == [{"bob", "ann"}] * 2
