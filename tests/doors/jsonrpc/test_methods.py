"""Each method does what it says, or is refused and changes nothing."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, cast

import pytest

from broadcast.core.events import Action, Event, Message, StoreFailed, TopicChanged
from broadcast.journals.memory import MemoryJournal, MemoryRoomLog
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import NOON

# say, emote


def test_line_is_answered_once_it_is_stored(ann: Program, bob: Program) -> None:
    assert ann.call("say", room="LOBBY", text="hi") == {"seq": 1, "at": NOON}
    assert ann.call("emote", room="lobby", text="waves") == {"seq": 2, "at": NOON}
    methods = [(event["method"], event["text"]) for event in bob.events()]
    assert methods == [("said", "hi"), ("emoted", "waves")]
    assert methods == [(event["method"], event["text"]) for event in ann.events()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two blanks ", "  two blanks "),
        ("/me waves", "/me waves"),
        ("quit", "quit"),
        ("a\r\nb\nc", "a  b c"),
        ("a\ud800b", "a\ufffdb"),
        ("\u001b[2Jhi\u202e\u200b", "hi"),
        ("e\u0301", "é"),
        ('"\\\t', '"\\ '),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_text_is_sanitized_and_has_no_commands(ann: Program, bob: Program, text: str, shown: str) -> None:
    ann.call("say", room="lobby", text=text)
    assert ann.texts() == bob.texts() == [shown]


def test_wrong_lines_are_refused(ann: Program, bob: Program) -> None:
    for method in ("say", "emote"):
        for text in ("", "   ", "\u001b[2J", "\r\n"):
            assert ann.fail(method, room="lobby", text=text) == (1009, "empty")
        assert ann.fail(method, room="kitchen", text="hi") == (1005, "not-in-room")
        for text in ("x" * 4097, "é" * 2049, "\n" * 5000):
            error = ann.request(method, room="lobby", text=text)["error"]
            assert (error["code"], error["data"]) == (1008, {"reason": "too-long", "limit": 4096})
        ann.call(method, room="lobby", text="x" * 4096)
        ann.call(method, room="lobby", text="é" * 2048)
    assert len(bob.texts()) == 4


def test_refused_notification_is_reported_with_its_uid(ann: Program) -> None:
    ann.notify("say", room="kitchen", text="hi", uid="u-1")
    ann.notify("nick", nick="root")
    ann.notify("nope")
    ann.notify("say", room="lobby", text="", uid="u-2")
    assert ann.refusals() == [
        {"method": "say", "code": 1005, "uid": "u-1"},
        {"method": "nick", "code": 1003},
        {"method": "nope", "code": -32601},
        {"method": "say", "code": 1009, "uid": "u-2"},
    ]


def test_refused_notification_has_its_uid_if_other_parameters_are_wrong(world: ProgramWorld, ann: Program) -> None:
    ann.notify("say", room="lobby", uid="u-1")
    ann.notify("tell", to=5, text="hi", uid="u-2")
    ann.notify("nope", uid="u-3")
    ann.notify("say", room="lobby", text="hi", uid="not a uid")
    assert ann.refusals() == [
        {"method": "say", "code": -32602, "uid": "u-1"},
        {"method": "tell", "code": -32602, "uid": "u-2"},
        {"method": "nope", "code": -32601, "uid": "u-3"},
        {"method": "say", "code": -32602},
    ]
    bob = world.open_program()
    bob.notify("say", room="lobby", text="hi", uid="u-4")
    assert bob.refusals() == [{"method": "say", "code": 1002, "uid": "u-4"}]


# Exactly once


def test_same_uid_and_text_is_stored_once(ann: Program, bob: Program) -> None:
    first = ann.call("say", room="lobby", text="hi", uid="u-1")
    ann.world.clock.advance(5)
    assert ann.call("say", room="lobby", text="hi", uid="u-1") == first
    assert bob.texts() == ["hi"]
    assert ann.texts() == ["hi"]
    ann.notify("say", room="lobby", text="hi", uid="u-1")
    (said,) = ann.events()
    assert (said["seq"], said["uid"], said["text"]) == (1, "u-1", "hi")
    assert bob.events() == []


def test_repetition_is_answered_after_the_author_has_left_the_room(ann: Program, bob: Program) -> None:
    line = {"room": "lobby", "text": "hi", "uid": "u-1"}
    first = ann.call("say", **line)
    ann.call("leave", room="lobby")
    ann.read()
    assert ann.call("say", **line) == first
    ann.notify("say", **line)
    assert [event["seq"] for event in ann.events()] == [1]
    assert ann.fail("say", **(line | {"text": "ho"})) == (1012, "uid-reused")
    assert ann.fail("say", **(line | {"uid": "u-2"})) == (1005, "not-in-room")
    assert ann.fail("say", **(line | {"room": "kitchen"})) == (1005, "not-in-room")
    assert bob.texts() == ["hi"]


def test_repetition_is_answered_while_the_author_leaves_the_room(ann: Program, bob: Program) -> None:
    line = {"room": "lobby", "text": "hi", "uid": "u-1"}
    ids = [ann.put("say", line), ann.put("leave", {"room": "lobby"}), ann.put("say", line)]
    ann.world.settle()
    first, _, second = [ann.response(id_) for id_ in ids]
    assert first == second == {"result": {"seq": 1, "at": NOON}}
    assert bob.texts() == ["hi"]


def test_repetition_waits_for_the_first_line(ann: Program, bob: Program) -> None:
    ids = [ann.put("say", {"room": "lobby", "text": "hi", "uid": "u-1"}) for _ in range(3)]
    ann.world.settle()
    assert [ann.response(id_) for id_ in ids] == [{"result": {"seq": 1, "at": NOON}}] * 3
    assert bob.texts() == ["hi"]


@pytest.mark.parametrize("quits", ["as a request", "as a notification"])
def test_quit_waits_for_the_responses_to_earlier_requests(ann: Program, quits: str) -> None:
    lines = [{"room": "lobby", "text": f"{number}", "uid": f"u-{number}"} for number in range(5)]
    for line in lines:
        ann.call("say", **line)
    ids = [ann.put("say", line) for line in lines]
    if quits == "as a request":
        ids.append(ann.put("quit"))
    else:
        ann.notify("quit")
    ann.world.settle()
    responses = [message for message in ann.read() if "id" in message]
    assert [response["id"] for response in responses] == ids
    assert all("result" in response for response in responses)


def test_said_that_answers_a_repetition_does_not_come_before_the_lines_of_the_stream(
    world: ProgramWorld, ann: Program, bob: Program
) -> None:
    """A program counts what it has read. Behind a line that comes too early, it would ask for no other."""
    ann.person.stop_reading(200)
    for number in range(1, 6):
        bob.put("say", {"room": "lobby", "text": f"{number}"})
    for _ in range(2):
        ann.put("say", {"room": "lobby", "text": "mine", "uid": "u-1"}, notify=True)
    world.settle()
    ann.put("say", {"room": "lobby", "text": "mine", "uid": "u-1"}, notify=True)
    world.settle()
    ann.person.read_on()
    world.settle()
    assert [event["seq"] for event in ann.events()] == [1, 2, 3, 4, 5, 6, 6, 6]


def test_same_uid_with_another_text_author_or_kind_is_refused(ann: Program, bob: Program) -> None:
    ann.call("say", room="lobby", text="hi\r", uid="u-1")
    for program, method, text in ((ann, "say", "ho"), (bob, "say", "hi "), (ann, "emote", "hi ")):
        error = program.request(method, room="lobby", text=text, uid="u-1")["error"]
        assert (error["code"], error["data"]) == (1012, {"reason": "uid-reused", "seq": 1})
    assert ann.call("say", room="lobby", text="hi ", uid="u-1")["seq"] == 1
    ann.call("join", room="kitchen")
    assert ann.call("say", room="kitchen", text="ho", uid="u-1")["seq"] == 1


class FaultyJournal(MemoryJournal):
    """A journal that stores nothing while it has a *fault*."""

    fault = ""

    def append(self, log: MemoryRoomLog, event: Event) -> None:
        if self.fault and isinstance(event, (Message, Action, TopicChanged)):
            event = StoreFailed(event, self.fault)
        super().append(log, event)


def test_line_that_is_not_stored_is_refused_and_can_be_sent_again() -> None:
    world = ProgramWorld(journal=FaultyJournal)
    ann, bob = world.programs("ann", "bob")
    ann.read()
    journal = cast(FaultyJournal, world.journal)
    journal.fault = "disk full"
    for uid in ({}, {"uid": "u-1"}):
        error = ann.request("say", room="lobby", text="hi", **uid)["error"]
        assert (error["code"], error["data"]) == (1001, {"reason": "not-kept"})
        ann.notify("emote", room="lobby", text="hi", **uid)
        assert ann.refusals() == [{"method": "emote", "code": 1001} | uid]
    assert ann.fail("topic", room="lobby", text="news") == (1001, "not-kept")
    ann.notify("topic", room="lobby", text="news")
    assert ann.refusals() == [{"method": "topic", "code": 1001}]
    journal.fault = ""
    assert ann.call("say", room="lobby", text="hi", uid="u-1")["seq"] == 1
    assert bob.texts() == ["hi"]


def test_repetition_of_a_line_that_is_not_stored_has_the_same_error() -> None:
    world = ProgramWorld(journal=FaultyJournal)
    (ann,) = world.programs("ann")
    ann.call("say", room="lobby", text="x", uid="u-0")
    cast(FaultyJournal, world.journal).fault = "disk full"
    ids = [ann.put("say", {"room": "lobby", "text": "hi", "uid": "u-1"}) for _ in range(3)]
    world.settle()
    assert [ann.response(id_)["error"]["code"] for id_ in ids] == [1001] * 3


# tell


def test_private_message_reaches_its_recipient_alone(world: ProgramWorld, ann: Program, bob: Program) -> None:
    (carol,) = world.join("carol")
    ann.read()
    assert bob.call("tell", to="ANN", text="psst") == {}
    bob.call("tell", to="ann", text="again")
    told = ann.events()
    assert [event["id"] for event in told] == [1, 2]
    assert told[0] == {
        "method": "told",
        "id": 1,
        "nick": "bob",
        "session": bob.welcome["session"],
        "at": NOON,
        "text": "psst",
    }
    bob.call("tell", to="carol", text="hello")
    assert carol.lines() == ["[bob] hello"]
    carol.say("/r hi")
    assert [event["text"] for event in bob.events() if event["method"] == "told"] == ["hi"]


def test_absence_is_in_the_result_of_a_private_message(ann: Program, bob: Program) -> None:
    for reason in ("lunch", ""):
        bob.call("away", reason=reason)
        assert ann.call("tell", to="bob", text="psst") == {"away": reason}
    bob.call("away", reason=None)
    assert ann.call("tell", to="bob", text="psst") == {}
    assert [event["reason"] for event in ann.events()] == ["lunch", "", None]


def test_wrong_private_messages_are_refused(ann: Program, bob: Program) -> None:
    assert ann.fail("tell", to="eve", text="x") == (1006, "not-here")
    assert ann.fail("tell", to="bob", text=" ") == (1009, "empty")
    assert ann.fail("tell", to="bob", text="x" * 5000) == (1008, "too-long")
    assert bob.events() == []


def test_private_message_with_a_uid_is_delivered_once(ann: Program, bob: Program) -> None:
    bob.call("away", reason="x")
    first = ann.call("tell", to="bob", text="psst", uid="u-1")
    bob.call("away", reason=None)
    bob.read()
    assert ann.call("tell", to="bob", text="psst", uid="u-1") == first == {"away": "x"}
    assert bob.events() == []


def test_uid_of_another_private_message_is_refused(ann: Program, bob: Program) -> None:
    ann.call("tell", to="bob", text="psst", uid="u-1")
    for wrong in ({"text": "other"}, {"to": "ann"}, {"to": "eve"}):
        params = {"to": "bob", "text": "psst", "uid": "u-1"} | wrong
        error = ann.request("tell", **params)["error"]
        assert (error["code"], error["data"]) == (1012, {"reason": "uid-reused"})
    assert ann.call("tell", to="BOB", text="psst", uid="u-1") == {}
    assert [event["text"] for event in bob.events()] == ["psst"]


def test_private_messages_to_a_program_that_does_not_read_are_refused(ann: Program, bob: Program) -> None:
    bob.transport.takes = False
    response: dict[str, Any] = {}
    for _ in range(100):
        response = ann.request("tell", to="bob", text="x" * 4000)
        if "error" in response:
            break
    assert response["error"]["data"] == {"reason": "does-not-read"}
    assert response["error"]["message"] == "bob does not read what is sent to them."
    bob.transport.take_again()
    bob.world.settle()
    ann.call("tell", to="bob", text="x")


def test_uids_of_the_last_thousand_private_messages_are_known(ann: Program, bob: Program) -> None:
    for number in range(1002):
        ann.put("tell", {"to": "bob", "text": "x", "uid": f"u-{number}"}, notify=True)
    bob.world.settle()
    bob.read()
    for number in (2, 1001, 0):
        ann.call("tell", to="bob", text="x", uid=f"u-{number}")
    assert len(bob.events()) == 1


# topic, nick, away


def test_nicknames_in_errors_are_as_typed(ann: Program, bob: Program) -> None:
    for method, params, message in (
        ("nick", {"nick": "ann"}, "ann is taken."),
        ("nick", {"nick": "root"}, "root is reserved."),
        ("nick", {"nick": ""}, "A nickname cannot be empty."),
        ("tell", {"to": "nobody", "text": "x"}, "nobody is not here."),
        ("join", {"room": "a b"}, "A room's name has 1 to 32 of a-z, 0-9, _ and -."),
    ):
        assert bob.request(method, **params)["error"]["message"] == message


def test_topic_is_seen_and_stays_with_the_room(world: ProgramWorld, ann: Program, bob: Program) -> None:
    assert ann.call("topic", room="lobby", text="what to eat") == {}
    expected = {"method": "topic", "room": "lobby", "nick": "ann", "session": ann.welcome["session"]}
    assert bob.events() == [expected | {"text": "what to eat"}]
    assert world.program("carol").welcome["rooms"]["lobby"]["topic"] == "what to eat"
    bob.read()
    ann.call("topic", room="lobby", text=None)
    assert bob.events() == [expected | {"text": None}]
    assert ann.fail("topic", room="lobby", text=" ") == (1009, "empty")
    assert ann.fail("topic", room="kitchen", text="x") == (1005, "not-in-room")
    assert ann.fail("topic", room="lobby") == (-32602, None)


def test_rename_is_seen_in_each_common_room(ann: Program, bob: Program) -> None:
    for program in (ann, bob):
        program.call("join", room="kitchen")
    bob.call("join", room="attic")
    ann.read()
    bob.read()
    assert bob.call("nick", nick=" rob ") == {"nick": "rob"}
    renamed = {"method": "renamed", "old": "bob", "nick": "rob", "session": bob.welcome["session"]}
    by_room = sorted(ann.events(), key=itemgetter("room"))
    assert by_room == [renamed | {"room": "kitchen"}, renamed | {"room": "lobby"}]
    assert sorted(event["room"] for event in bob.events()) == ["attic", "kitchen", "lobby"]
    assert ann.fail("nick", nick="ROB") == (1003, "nick-refused")
    assert ann.call("nick", nick="ann") == {"nick": "ann"}


# All methods


def test_blanks_around_names_do_not_count(ann: Program, bob: Program) -> None:
    bob.call("join", room="kitchen")  # the room stays open
    assert ann.call("join", room=" Kitchen ")["room"] == "kitchen"
    assert ann.call("join", room=" kitchen")["room"] == "kitchen"
    for method, params in (
        ("say", {"text": "hi", "uid": "u-1"}),
        ("history", {"last": 1}),
        ("search", {"words": "hi"}),
        ("members", {}),
        ("command", {"line": "/names"}),
        ("topic", {"text": "x"}),
        ("leave", {}),
        ("say", {"text": "hi", "uid": "u-1"}),
    ):
        ann.call(method, room=" KITCHEN ", **params)
    ann.call("tell", to=" BOB ", text="psst", uid="u-1")
    ann.call("tell", to="bob", text="psst", uid="u-1")
    assert [event["text"] for event in bob.events() if event["method"] == "told"] == ["psst"]
    assert [member["nick"] for member in ann.call("members", room="lobby", after=" ann ")["members"]] == ["bob"]
    assert ann.call("nick", nick=" anna ") == {"nick": "anna"}
    ann.say(*map(str, range(30)))
    back = ann.world.open_program()  # type: ignore[attr-defined]
    welcome = back.call("hello", protocol=1, resume=ann.resume | {"rooms": {" LOBBY ": 0}})
    assert len(welcome["rooms"]["lobby"]["events"]) == 30


def test_responses_have_the_order_of_the_requests(ann: Program) -> None:
    ids = [
        ann.put("say", {"room": "lobby", "text": "x"}),
        ann.put("ping"),
        ann.put("history", {"room": "lobby", "last": 1}),
        ann.put("emote", {"room": "lobby", "text": "x", "uid": "u"}),
        ann.put("say", {"room": "nowhere", "text": "x"}),
        ann.put("join", {"room": "kitchen"}),
        ann.put("say", {"room": "kitchen", "text": "x"}),
        ann.put("leave", {"room": "kitchen"}),
        ann.put("topic", {"room": "lobby", "text": "x"}),
        ann.put("ping"),
    ]
    ann.world.settle()
    assert [message["id"] for message in ann.read() if "method" not in message] == ids
