"""A server never contradicts what a user has read, although its copy of the people is behind the rooms' streams.

The node ``there`` is the one that is behind, from the first line of a test on.
"""

from __future__ import annotations

import pytest

from broadcast.core.accounts import OPERATOR
from broadcast.core.errors import DatabaseAway
from broadcast.core.settings import Settings
from tests.cluster.nodes import Cluster, Node, register
from tests.doors.jsonrpc.programs import Program
from tests.harness import Person
from tests.operators import give_account, join_operator


@pytest.fixture
def robot(there: Node, bob: Person) -> Program:
    (robot,) = there.programs("robot")
    bob.read()
    return robot


def answer(person: Person, line: str) -> str:
    """Return what *person* reads after *line*."""
    person.read()
    person.say(line)
    return person.read()


# Nicknames


@pytest.mark.parametrize("how", ["/nick anna", "quit"])
def test_nickname_is_free_for_somebody_who_has_read_that_its_owner_gave_it_up(
    there: Node, ann: Person, bob: Person, robot: Program, how: str
) -> None:
    there.directory.is_behind = True
    ann.say(how)
    assert " * ann " in bob.read()
    assert there.hub.people.owner_of("ann") is not None
    assert "You are ann." in answer(bob, "/nick ann")
    bob.say("/nick bob")
    assert robot.call("nick", nick="ann") == {"nick": "ann"}
    there.directory.catch_up()
    there.settle()
    assert there.hub.people.find("ann").nick == "ann"
    assert there.cluster.people()[0] == there.cluster.people()[1]


def test_old_nickname_is_free_although_the_new_one_is_known_already(there: Node, ann: Person, bob: Person) -> None:
    there.directory.is_behind = True
    ann.say("/nick anna")
    assert "sent to anna" in answer(bob, "/msg anna psst")
    assert there.hub.people.owner_of("ann") is there.hub.people.owner_of("anna")
    assert "You are ann." in answer(bob, "/nick ann")


def test_newcomer_gets_a_nickname_that_its_owner_gave_up(there: Node, ann: Person, bob: Person) -> None:
    there.directory.is_behind = True
    ann.say("quit")
    assert bob.lines()[-1] == " * ann left."
    again = there.connect()
    again.say("ann")
    assert "You are ann." in again.read()
    there.directory.catch_up()
    there.settle()
    assert there.hub.people.find("ann").is_remote is False


def test_nickname_that_somebody_has_stays_taken(there: Node, ann: Person, bob: Person, robot: Program) -> None:
    assert "ann is taken." in answer(bob, "/nick ann")
    assert robot.fail("nick", nick="ann") == (1003, "nick-refused")
    assert "at most 24 characters" in answer(bob, f"/nick {'x' * 30}")


def test_user_who_leaves_while_the_database_is_asked_gets_nothing(there: Node, ann: Person, bob: Person) -> None:
    there.directory.is_behind = True
    ann.say("quit")
    bob.put("/nick ann\r\n")
    bob.protocol.session.leave("")
    there.settle()
    assert "Goodbye, bob." in bob.read()
    carol = there.connect()
    carol.put("ann\r\n")
    carol.protocol.session.leave("")
    there.settle()
    assert "Goodbye." in carol.read()
    there.directory.catch_up()
    there.settle()
    assert there.cluster.people() == [set()] * 2


def test_lookalike_is_free_when_the_other_nickname_is() -> None:
    cluster = Cluster(settings=Settings(unicode_nicknames=True))
    here, there = cluster.nodes
    (ann,), (bob,) = here.join("anna"), there.join("bob")
    assert "looks too much like anna" in answer(bob, "/nick \u0430nna")
    there.directory.is_behind = True
    ann.say("quit")
    assert "You are \u0430nna." in answer(bob, "/nick \u0430nna")


def test_nickname_is_taken_while_a_room_still_has_it(cluster: Cluster, here: Node, there: Node, bob: Person) -> None:
    (ann,) = here.programs("ann")
    ann.call("join", room="kitchen")
    session = here.hub.people.find("ann").id
    ann.call("nick", nick="anna")
    assert [person.nick for _, person in cluster.database.people.values() if person.session == session] == ["anna"]
    assert "You are ann." in answer(bob, "/nick ann")
    ann.call("quit")
    assert cluster.people() == [{"ann"}] * 2


# People


@pytest.mark.parametrize("is_program", [False, True])
def test_message_reaches_somebody_who_has_come_or_has_another_nickname(
    here: Node, there: Node, ann: Person, bob: Person, robot: Program, is_program: bool
) -> None:
    there.directory.is_behind = True
    (carol,) = here.join("carol")
    ann.say("/nick anna")
    assert bob.lines() == [" * carol joined.", " * ann is now anna."]
    ann.read(), carol.read()
    for person, nick in ((ann, "anna"), (carol, "carol")):
        if is_program:
            assert robot.call("tell", to=nick, text="psst") == {}
        else:
            assert answer(bob, f"/msg {nick} psst") == f"-> sent to {nick}.\r\n"
        assert person.lines() == [f"[{'robot' if is_program else 'bob'}] psst"]
    assert "ann is not here" in answer(bob, "/msg ann psst")
    assert robot.fail("tell", to="ann", text="psst") == (1006, "not-here")


def test_message_does_not_reach_the_former_owner_of_a_nickname(
    here: Node, there: Node, ann: Person, bob: Person
) -> None:
    (carol,) = here.join("carol")
    there.directory.is_behind = True
    ann.say("/nick anna")
    carol.say("/nick ann")
    carol.read(), ann.read()
    assert answer(bob, "/msg ann psst") == "-> sent to ann.\r\n"
    assert carol.lines() == ["[bob] psst"]
    assert ann.lines() == []


def test_message_to_an_account_that_has_left_waits(there: Node, ann: Person, bob: Person) -> None:
    register(ann)
    there.directory.is_behind = True
    ann.say("quit")
    assert " * ann left." in bob.lines()
    assert answer(bob, "/msg ann call me") == "-> kept for ann, who is not here.\r\n"


def test_message_to_nobody_is_refused_also_while_the_database_is_away(
    there: Node, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there.directory, "look_up", lambda _nicks, on_done: there.soon(lambda: on_done(DatabaseAway())))
    assert "zoe is not here" in answer(bob, "/msg zoe psst")


def test_message_of_a_program_that_leaves_meanwhile_is_not_sent(there: Node, ann: Person, robot: Program) -> None:
    there.directory.is_behind = True
    ann.say("/nick anna")
    robot.put("tell", {"to": "anna", "text": "psst"})
    there.hub.people.find("robot").listener.disconnect("gone", "gone")
    there.settle()
    assert "psst" not in ann.read()


def test_program_reads_why_its_private_message_is_refused(there: Node, robot: Program) -> None:
    assert robot.fail("tell", to="zoe", text=" ") == (1009, "empty")


def test_list_shows_what_was_read(here: Node, there: Node, ann: Person, bob: Person, robot: Program) -> None:
    there.directory.is_behind = True
    ann.say("/away lunch", "/nick anna")
    assert [event["method"] for event in robot.events()] == ["away", "renamed"]
    assert answer(bob, "/who") == "-> 3 here: bob, anna (away: lunch), robot\r\n"
    assert answer(bob, "/msg anna psst") == "-> sent to anna, who is away: lunch\r\n"
    there.directory.catch_up()
    ann.say("/back")
    there.directory.is_behind = True
    assert answer(bob, "/who") == "-> 3 here: bob, anna, robot\r\n"


def test_absence_of_somebody_in_another_room_is_known(here: Node, there: Node, ann: Person, bob: Person) -> None:
    ann.say("/join kitchen", "/away lunch")
    assert answer(bob, "/msg ann psst") == "-> sent to ann, who is away: lunch\r\n"


def test_ignored_is_somebody_who_has_come(here: Node, there: Node, bob: Person) -> None:
    there.directory.is_behind = True
    (carol,) = here.join("carol")
    assert "you ignore carol" in answer(bob, "/ignore carol")
    carol.say("hi")
    assert bob.lines() == []


# Operators


@pytest.fixture
def olga(there: Node) -> Person:
    """An operator on the node that is behind."""
    return join_operator(there, "olga")


def test_operator_acts_on_somebody_who_has_come(here: Node, there: Node, olga: Person) -> None:
    there.directory.is_behind = True
    carol, dave, erin = here.join("carol", "dave", "erin")
    assert "carol is kicked" in answer(olga, "/kick carol")
    assert "You were kicked by olga" in carol.read()
    assert "dave is muted" in answer(olga, "/mute dave")
    assert "you are muted" in answer(dave, "hi")
    assert "is banned" in answer(olga, "/ban erin")
    assert "You were banned by olga" in erin.read()
    assert "usage: /mute" in answer(olga, "/mute carol because")


def test_command_of_an_operator_who_leaves_meanwhile_is_not_run(here: Node, there: Node, olga: Person) -> None:
    there.directory.is_behind = True
    (carol,) = here.join("carol")
    olga.put("/kick carol\r\n")
    olga.protocol.session.leave("")
    there.settle()
    assert "kicked" not in carol.read()


def test_command_for_operators_over_json_finds_somebody_who_has_come(here: Node, there: Node) -> None:
    (program,) = there.programs("olga")
    give_account(there, "olga", OPERATOR)
    there.directory.is_behind = True
    (carol,) = here.join("carol")
    assert program.call("command", room="lobby", line="/kick carol")["lines"] == ["carol is kicked."]
    assert "You were kicked by olga" in carol.read()
    request = program.put("command", {"room": "lobby", "line": "/kick zoe"})
    there.settle()
    assert "zoe is not here" in program.response(request)["error"]["message"]


def test_person_who_has_read_that_they_are_muted_cannot_speak(
    here: Node, there: Node, ann: Person, olga: Person
) -> None:
    here.directory.is_behind = True
    for person in (ann, olga):
        person.read()
    olga.say("/mute ann")
    assert ann.lines() == [" * ann was muted by olga."]
    assert answer(ann, "hi") == "-> Error: you are muted until an operator ends it.\r\n"
    olga.say("/unmute ann")
    assert ann.lines()[-1] == " * ann was unmuted by olga."
    assert answer(ann, "hi") == ""
    olga.say("/slow 1h")
    assert "Slow mode is on" in ann.read()
    ann.say("one")
    assert "this room is in slow mode" in answer(ann, "two")
    here.directory.catch_up()
    here.settle()
    assert "this room is in slow mode" in answer(ann, "two")


def test_ban_is_in_force_for_somebody_who_has_read_of_it(here: Node, there: Node, ann: Person, olga: Person) -> None:
    here.directory.is_behind = True
    (carol,) = here.join("carol")
    there.directory.look_up(["carol"], lambda _error: None)
    olga.say("/ban carol spam")
    here.directory.catch_up()
    here.settle()
    here.directory.is_behind = True
    assert "You were banned by olga: spam" in carol.read()
    assert "the nickname carol is banned" in answer(ann, "/nick carol")
    olga.say("/unban carol")
    assert "You are carol." in answer(ann, "/nick carol")


def test_ban_is_stored_before_anybody_reads_of_it(here: Node, there: Node, ann: Person, olga: Person) -> None:
    third = there.cluster.start()
    third.directory.is_behind = True
    (dave,) = third.join("dave")
    olga.say("/ban ann")
    assert " * ann left (banned by olga)" in dave.lines()
    assert "the nickname ann is banned" in answer(dave, "/nick ann")
