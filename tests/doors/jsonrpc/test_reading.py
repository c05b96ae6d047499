"""A program reads exactly the lines, rooms and members that it asks for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from broadcast.core.errors import JournalError
from broadcast.doors.jsonrpc.messages import MAX_EVENTS
from broadcast.journals.memory import MemoryJournal
from tests.doors.jsonrpc.programs import Program, ProgramWorld, seqs

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
    ann.say(*map(str, range(1, 31)))
    result = ann.call("history", room="lobby", **params)
    assert (seqs(result), result["more"]) == (expected, more)
    assert [event["text"] for event in result["events"]] == [*map(str, expected)]


def test_history_has_every_earlier_line_of_the_same_program(ann: Program) -> None:
    ann.put("say", {"room": "lobby", "text": "one"}, notify=True)
    id_ = ann.put("history", {"room": "lobby", "last": 5})
    ann.put("say", {"room": "lobby", "text": "two"}, notify=True)
    ann.world.settle()
    assert [event["text"] for event in ann.response(id_)["result"]["events"]] == ["one"]


def test_lines_in_every_list_have_the_session_of_their_author(world: ProgramWorld, ann: Program) -> None:
    session = ann.welcome["session"]
    ann.say("one", "two")
    bob = world.program("bob")
    lists = [
        bob.welcome["rooms"]["lobby"],
        bob.call("history", room="lobby", last=2),
        bob.call("search", room="lobby", words="one two"),
        bob.call("search", room="lobby", words="two"),
    ]
    assert [{event["session"] for event in each["events"]} for each in lists if each["events"]] == [{session}] * 3


@pytest.mark.parametrize("params", [{"last": 1000}, {"after": 0, "count": 1000}, {"from": 1, "to": 1000}], ids=str)
def test_history_is_cut_at_the_maximum_of_a_message_and_can_be_continued(ann: Program, params: dict[str, int]) -> None:
    """Each quoted character takes two bytes, and the program checks the length of each message."""
    ann.say(*['"' * 4000] * 100)
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
    ann.say(*map(str, range(30)))
    assert ann.fail("history", room="lobby", last=5) == (-32603, None)
    assert ann.fail("search", room="lobby", words="x") == (-32603, None)
    assert ann.fail("command", room="lobby", line="/history") == (-32603, None)
    assert ann.fail("say", room="lobby", text="x", uid="u-1") == (1014, "not-known")
    for params, events in (({"replay": 30}, []), ({"after": 3}, [{"first": 4, "last": 30}])):
        joined = ann.call("join", room="lobby", **params)
        assert joined["events"] == [{"method": "gap", "room": "lobby"} | gap for gap in events]
        assert joined["more"] is True
    monkeypatch.undo()
    first = ann.call("say", room="lobby", text="x", uid="u-1")
    for name in ("read", "search", "read_uids"):
        monkeypatch.setattr(log, name, fail)
    assert first["seq"] == 31
    assert ann.fail("say", room="lobby", text="x", uid="u-1") == (1014, "not-known")
    assert bob.call("ping") == {}


def test_lines_that_the_journal_has_forgotten_are_a_gap() -> None:
    world = ProgramWorld(journal=partial(MemoryJournal, limit=5))
    ann, bob = world.programs("ann", "bob")
    ann.say(*map(str, range(30)))
    assert seqs(ann.call("history", room="lobby", last=10)) == [*range(26, 31)]
    assert ann.call("history", room="lobby", after=0, count=10) == {"events": [], "more": False}
    assert ann.call("history", room="lobby", before=20, count=10) == {"events": [], "more": False}
    gap, *events = bob.call("join", room="lobby", after=3)["events"]
    assert gap == {"method": "gap", "room": "lobby", "first": 4, "last": 25}
    assert seqs({"events": events}) == [*range(26, 31)]


def test_search_finds_the_newest_lines(ann: Program) -> None:
    ann.say(*(f"the build is {'red' if number % 2 else 'green'} {number}" for number in range(1, 21)))
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


def test_largest_rooms_come_first(world: ProgramWorld, ann: Program, bob: Program) -> None:
    ann.call("join", room="kitchen")
    ann.call("join", room="attic")
    ann.call("topic", room="attic", text="old things")
    ann.say("x", "y", room="kitchen")
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
