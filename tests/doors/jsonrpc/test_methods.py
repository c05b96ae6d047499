"""Each method does what it says, or is refused and changes nothing."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import Any, cast

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import Action, Event, Message, StoreFailed, TopicChanged
from broadcast.core.hub import Settings
from broadcast.doors.jsonrpc.messages import MAX_EVENTS
from broadcast.journals.memory import MemoryJournal, MemoryRoomLog
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import NOON


def say(program: Program, *texts: str, room: str = "lobby") -> None:
    """Say *texts* as notifications."""
    for text in texts:
        program.put("say", {"room": room, "text": text}, notify=True)
    program.world.settle()


def seqs(result: dict[str, list[dict[str, int]]]) -> list[int]:
    """Return the numbers of the events in *result*."""
    return [event["seq"] for event in result["events"]]


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


# history, search


@pytest.mark.parametrize(
    ("params", "expected", "more"),
    [
        ({"last": 3}, [28, 29, 30], True),
        ({"last": 30}, [*range(1, 31)], False),
        ({"last": MAX_EVENTS}, [*range(1, 31)], False),
        ({"before": 4, "count": 2}, [2, 3], True),
        ({"before": 3, "count": 2}, [1, 2], False),
        ({"before": 1}, [], False),
        ({"before": 99, "count": 1}, [30], True),
        ({"after": 0, "count": 2}, [1, 2], True),
        ({"after": 28, "count": 2}, [29, 30], False),
        ({"after": 28, "count": 1}, [29], True),
        ({"after": 30}, [], False),
        ({"after": 99}, [], False),
        ({"after": 0}, [*range(1, 31)], False),
        ({"from": 3, "to": 5}, [3, 4, 5], False),
        ({"from": 29, "to": 99}, [29, 30], False),
        ({"from": 5, "to": 3}, [], False),
        ({"from": 2**53 - 1, "to": 2**53 - 1}, [], False),
    ],
    ids=str,
)
def test_history_has_the_lines_that_were_asked_for(
    ann: Program, params: dict[str, int], expected: list[int], more: bool
) -> None:
    say(ann, *map(str, range(1, 31)))
    result = ann.call("history", room="lobby", **params)
    assert (seqs(result), result["more"]) == (expected, more)
    assert [event["text"] for event in result["events"]] == [*map(str, expected)]


def test_history_has_every_earlier_line_of_the_same_program(ann: Program) -> None:
    ann.put("say", {"room": "lobby", "text": "one"}, notify=True)
    id_ = ann.put("history", {"room": "lobby", "last": 5})
    ann.put("say", {"room": "lobby", "text": "two"}, notify=True)
    ann.world.settle()
    assert [event["text"] for event in ann.response(id_)["result"]["events"]] == ["one"]


@pytest.mark.parametrize("params", [{"last": 1000}, {"after": 0, "count": 1000}, {"from": 1, "to": 1000}], ids=str)
def test_history_is_cut_at_the_maximum_of_a_message_and_can_be_continued(ann: Program, params: dict[str, int]) -> None:
    """Each quoted character takes two bytes, and the program checks the length of each message."""
    say(ann, *['"' * 4000] * 100)
    ann.read()
    result = ann.call("history", room="lobby", **params)
    assert result["more"]
    found = seqs(result)
    assert 25 <= len(found) < 100
    while result["more"]:
        step = {"before": found[0], "count": 1000} if "last" in params else {"after": found[-1], "count": 1000}
        result = ann.call("history", room="lobby", **step)
        found = sorted(found + seqs(result))
    assert found == [*range(1, 101)]


def test_history_needs_the_room(ann: Program) -> None:
    assert ann.fail("history", room="kitchen", last=5) == (1005, "not-in-room")


def test_journal_that_cannot_be_read_is_an_error(ann: Program, bob: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ann.world

    def fail(*arguments: Any) -> None:  # noqa: ANN401 - those of any method
        world._soon.append(partial(arguments[-1], JournalError("disk full")))

    log = world.room._log
    for name in ("read", "search", "read_uids"):
        monkeypatch.setattr(log, name, fail)
    say(ann, *map(str, range(30)))
    assert ann.fail("history", room="lobby", last=5) == (-32603, None)
    assert ann.fail("search", room="lobby", words="x") == (-32603, None)
    assert ann.fail("command", room="lobby", line="/history") == (-32603, None)
    assert ann.fail("say", room="lobby", text="x", uid="u-1") == (-32603, None)
    for params, events in (({"replay": 30}, []), ({"after": 3}, [{"first": 4, "last": 30}])):
        joined = ann.call("join", room="lobby", **params)
        assert joined["events"] == [{"method": "gap", "room": "lobby"} | gap for gap in events]
        assert joined["more"] is True
    monkeypatch.undo()
    first = ann.call("say", room="lobby", text="x", uid="u-1")
    for name in ("read", "search", "read_uids"):
        monkeypatch.setattr(log, name, fail)
    assert first["seq"] == 31
    assert ann.fail("say", room="lobby", text="x", uid="u-1") == (-32603, None)
    assert bob.call("ping") == {}


def test_lines_that_the_journal_has_forgotten_are_a_gap() -> None:
    world = ProgramWorld(journal=partial(MemoryJournal, limit=5))
    ann, bob = world.programs("ann", "bob")
    say(ann, *map(str, range(30)))
    assert seqs(ann.call("history", room="lobby", last=10)) == [*range(26, 31)]
    assert ann.call("history", room="lobby", after=0, count=10) == {"events": [], "more": False}
    assert ann.call("history", room="lobby", before=20, count=10) == {"events": [], "more": False}
    gap, *events = bob.call("join", room="lobby", after=3)["events"]
    assert gap == {"method": "gap", "room": "lobby", "first": 4, "last": 25}
    assert seqs({"events": events}) == [*range(26, 31)]


def test_repetition_of_a_line_that_is_not_stored_has_the_same_error() -> None:
    world = ProgramWorld(journal=FaultyJournal)
    (ann,) = world.programs("ann")
    ann.call("say", room="lobby", text="x", uid="u-0")
    cast(FaultyJournal, world.journal).fault = "disk full"
    ids = [ann.put("say", {"room": "lobby", "text": "hi", "uid": "u-1"}) for _ in range(3)]
    world.settle()
    assert [ann.response(id_)["error"]["code"] for id_ in ids] == [1001] * 3


def test_search_finds_the_newest_lines(ann: Program) -> None:
    say(ann, *(f"the build is {'red' if number % 2 else 'green'} {number}" for number in range(1, 21)))
    assert seqs(ann.call("search", room="lobby", words='"the build" RED', count=3)) == [15, 17, 19]
    assert seqs(ann.call("search", room="lobby", words="green")) == [*range(2, 21, 2)]
    assert ann.call("search", room="lobby", words="blue") == {"events": []}
    assert ann.call("search", room="lobby", words="") == {"events": []}
    assert ann.fail("search", room="lobby", words="x" * 3000)[0] == -32602
    assert ann.fail("search", room="kitchen", words="x") == (1005, "not-in-room")


# rooms, members


def test_members_come_in_pages_by_nickname(world: ProgramWorld, ann: Program) -> None:
    nicks = [f"bot{number:02}" for number in range(30)]
    for nick in nicks:
        world.program(nick)
    world.clock.advance(90.5)
    ann.call("away", reason="x")
    page = ann.call("members", room="lobby", count=10)
    assert (page["count"], page["more"]) == (31, True)
    assert page["members"][0] == {"nick": "ann", "session": ann.welcome["session"], "away": "x", "idle": 0}
    assert page["members"][1]["idle"] == 90
    found = [member["nick"] for member in page["members"]]
    while page["more"]:
        page = ann.call("members", room="lobby", count=10, after=found[-1].upper())
        found += [member["nick"] for member in page["members"]]
    assert found == ["ann", *nicks]
    assert ann.call("members", room="lobby", after="zzz") == {"count": 31, "members": [], "more": False}
    assert ann.fail("members", room="kitchen") == (1005, "not-in-room")
    assert [member["nick"] for member in ann.call("join", room="lobby")["members"]] == ["ann", *nicks]


def test_members_are_not_older_than_the_notifications_before_them(ann: Program, bob: Program) -> None:
    ann.put("say", {"room": "lobby", "text": "hi"})
    members = ann.put("members", {"room": "lobby"})
    bob.put("nick", {"nick": "rob"})
    ann.world.settle()
    messages = ann.read()
    assert [message.get("method") for message in messages] == ["said", "renamed", None, None]
    assert messages[-1]["id"] == members
    assert [member["nick"] for member in messages[-1]["result"]["members"]] == ["ann", "rob"]


def test_snapshot_has_the_first_200_members_and_their_count(world: ProgramWorld) -> None:
    world.join(*(f"bot{number:03}" for number in range(205)))
    lobby = world.program("zed").welcome["rooms"]["lobby"]
    assert lobby["count"] == 206
    assert [member["nick"] for member in lobby["members"]] == [f"bot{number:03}" for number in range(200)]


def test_largest_rooms_come_first(world: ProgramWorld, ann: Program, bob: Program) -> None:
    ann.call("join", room="kitchen")
    ann.call("join", room="attic")
    ann.call("topic", room="attic", text="old things")
    say(ann, "x", "y", room="kitchen")
    assert bob.call("rooms") == [
        {"room": "lobby", "members": 2, "last": 0, "topic": None},
        {"room": "attic", "members": 1, "last": 0, "topic": "old things"},
        {"room": "kitchen", "members": 1, "last": 2, "topic": None},
    ]


def test_list_of_rooms_fits_into_a_message(world: ProgramWorld) -> None:
    bots = [world.program(f"bot{number}", rooms=[f"r{number}-{room}" for room in range(50)]) for number in range(3)]
    for number, bot in enumerate(bots):
        for room in range(50):
            bot.call("topic", room=f"r{number}-{room}", text="\\" * 4000)
    rooms = bots[0].call("rooms")
    assert len(rooms) == 151
    assert {room["topic"] for room in rooms} == {None, "\\" * 80}


# join, leave


def test_fixed_rooms_are_the_only_ones() -> None:
    world = ProgramWorld(Settings(version="0.0", fixed_rooms=("kitchen",)))
    world.settle()
    ann = world.program("ann")
    assert ann.fail("join", room="attic") == (1004, "no-such-room")
    assert ann.call("join", room="Kitchen")["room"] == "kitchen"
    assert world.open_program().fail("hello", protocol=1, nick="bob", rooms=["attic"]) == (1004, "no-such-room")


def test_join_after_a_number_continues_there(ann: Program, bob: Program) -> None:
    ann.call("join", room="kitchen")
    say(ann, *map(str, range(1, 31)), room="kitchen")
    joined = bob.call("join", room="kitchen", after=27)
    assert (seqs(joined), joined["more"], joined["last"]) == ([28, 29, 30], False, 30)
    bob.call("leave", room="kitchen")
    assert bob.fail("join", room="kitchen", after=31) == (1010, "ahead")
    assert seqs(bob.call("join", room="kitchen", after=30)) == []
    bob.call("leave", room="kitchen")
    joined = bob.call("join", room="kitchen")
    assert (seqs(joined), joined["more"]) == ([*range(11, 31)], True)
    assert bob.fail("join", room="kitchen", after=31) == (1010, "ahead")


def test_more_than_a_thousand_events_are_cut_with_a_gap(ann: Program, bob: Program) -> None:
    ann.call("join", room="kitchen")
    say(ann, *map(str, range(1, 1031)), room="kitchen")
    joined = bob.call("join", room="kitchen", after=5)
    gap, *events = joined["events"]
    assert gap == {"method": "gap", "room": "kitchen", "first": 6, "last": 30}
    assert seqs({"events": events}) == [*range(31, 1031)]
    assert joined["more"] is True


def test_join_of_a_room_one_is_in_begins_anew(ann: Program, bob: Program) -> None:
    say(ann, "one")
    bob.put("join", {"room": "lobby", "after": 0})
    ann.put("say", {"room": "lobby", "text": "two"}, notify=True)
    ann.world.settle()
    messages = bob.read()
    seen = []
    for message in messages:
        if "result" in message:
            seen += [event["text"] for event in message["result"]["events"]]
        else:
            seen.append(message["params"]["text"])
    assert sorted(set(seen)) == ["one", "two"]
    say(ann, "three")
    assert bob.texts() == ["three"]


def test_session_is_in_fifty_rooms_at_most(ann: Program) -> None:
    for number in range(49):
        ann.call("join", room=f"r{number}")
    assert ann.fail("join", room="r49") == (1004, "room-refused")
    ann.call("leave", room="r0")
    ann.call("join", room="r49")


def test_leave_is_refused_outside_of_the_room(ann: Program) -> None:
    assert ann.fail("leave", room="kitchen") == (1005, "not-in-room")
    assert ann.fail("leave", room="lobby", reason="x" * 5000) == (1008, "too-long")
    assert ann.call("leave", room="lobby") == {}
    assert ann.fail("say", room="lobby", text="x") == (1005, "not-in-room")


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
    say(ann, *map(str, range(30)))
    back = ann.world.open_program()  # type: ignore[attr-defined]
    welcome = back.call("hello", protocol=1, resume=ann.resume | {"rooms": {" LOBBY ": 0}})
    assert len(welcome["rooms"]["lobby"]["events"]) == 30


# command, ping


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("/names", ["2 here: ann, bob"]),
        ("/WHO", ["2 here: ann, bob"]),
        ("/ping", ["pong"]),
        ("/version", ["broadcast 0.0"]),
        ("/motd", ["there is no message of the day."]),
        ("/history", ["nothing was said yet."]),
        ("/search x", ["nothing found."]),
        ("/help ping", ["/ping   answers pong"]),
    ],
)
def test_command_that_only_answers_has_the_lines_of_the_line_protocol(
    ann: Program, bob: Program, line: str, lines: list[str]
) -> None:
    assert ann.call("command", room="lobby", line=line)["lines"] == lines


def test_long_answer_of_a_command_is_cut_at_the_maximum_of_a_message(ann: Program) -> None:
    say(ann, *['"' * 4000] * 100)
    ann.read()
    found = ann.call("command", room="lobby", line="/history 100")["lines"]
    assert 20 < len(found) < 100


@pytest.mark.parametrize("line", ["/join x", "/nick x", "/msg bob x", "/quit", "/ignore", "/me x", "hi", "", "/x"])
def test_command_that_does_something_is_refused(ann: Program, line: str) -> None:
    assert ann.fail("command", room="lobby", line=line) == (-32602, None)


def test_wrong_command_is_an_error(ann: Program) -> None:
    assert ann.fail("command", room="lobby", line="/history x") == (-32602, None)
    assert ann.fail("command", room="kitchen", line="/names") == (1005, "not-in-room")


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


def test_program_that_is_away_is_away_in_each_room_that_it_joins(ann: Program, bob: Program) -> None:
    bob.call("away", reason="lunch")
    ann.call("join", room="kitchen")
    ann.read()
    bob.call("join", room="kitchen")
    events = [(event["method"], event.get("reason")) for event in ann.events()]
    assert events == [("joined", None), ("away", "lunch")]


def test_session_that_ends_while_it_leaves_a_room_leaves_each_room_once(world: ProgramWorld, ann: Program) -> None:
    ann.call("join", room="kitchen")
    ann.call("join", room="attic")
    bot = world.program("bot", rooms=["lobby", "kitchen", "attic"], grace=0)
    ann.read()
    bot.put("leave", {"room": "kitchen"})
    bot.vanish()
    assert sorted(event["room"] for event in ann.events()) == ["attic", "kitchen", "lobby"]
    assert len(world.sessions._all) == 1


def test_events_of_a_room_wait_for_the_response_to_join_even_if_that_waits_for_others(
    world: ProgramWorld, ann: Program
) -> None:
    ann.put("say", {"room": "lobby", "text": "hi"})
    ann.put("join", {"room": "lobby"})  # the response has the state before the line
    world.settle()
    say, join, said = ann.read()
    assert say["result"]["seq"] == 1
    assert join["result"]["last"] == 0
    assert said["params"]["seq"] == 1


def test_room_that_is_joined_twice_at_once_continues_the_second_snapshot(world: ProgramWorld, ann: Program) -> None:
    ann.put("say", {"room": "lobby", "text": "hi"})
    ann.put("join", {"room": "lobby"})
    ann.put("join", {"room": "lobby"})
    world.settle()
    *responses, said = ann.read()
    assert [response["result"].get("last") for response in responses] == [None, 0, 0]
    assert said["params"]["seq"] == 1
