"""What a line means in the room, and what each command answers, changes or rejects."""

from __future__ import annotations

import pytest

from broadcast.core.commands import (
    MAX_IGNORED,
    NAMES_LINE_CHARS,
    NAMES_PER_LINE,
)
from broadcast.core.events import (
    Action,
    AwayChanged,
    CommandReply,
    ErrorReply,
    Event,
    Message,
    Notice,
    PrivateMessage,
)
from broadcast.core.limits import Limits
from broadcast.core.settings import Settings
from tests.harness import NOON, SessionClient, World

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.fixture
def world() -> World:
    return World(Settings(version="1.2"))


@pytest.fixture
def ann(world: World) -> SessionClient:
    return world.join_sessions("ann")[0]


@pytest.fixture
def bob(world: World, ann: SessionClient) -> SessionClient:
    (bob,) = world.join_sessions("bob")
    ann.read()
    return bob


def replies(*texts: str) -> list[Notice]:
    return [CommandReply(text) for text in texts]


def reply_texts(client: SessionClient) -> list[str]:
    """Return the texts of the command replies that *client* has received, and of nothing else."""
    return [notice.text for notice in client.read() if isinstance(notice, CommandReply)]


# Lines


def test_text_is_said_and_blank_lines_are_not(ann: SessionClient, bob: SessionClient) -> None:
    ann.say("hi", "  hi", "//x", "//", "", " ", "\u3000", "/say quit", "/me  waves ")
    said = [Message(ann.session.id, "ann", text, NOON, seq) for seq, text in enumerate(["hi", "  hi", "/x", "/"], 1)]
    assert bob.read() == [
        *said,
        Message(ann.session.id, "ann", "quit", NOON, 5),
        Action(ann.session.id, "ann", "waves", NOON, 6),
    ]
    assert ann.read() == []


# Commands that answer at once


def test_number_of_ignored_people_is_limited(world: World, ann: SessionClient) -> None:
    nicks = [f"p{number}" for number in range(MAX_IGNORED + 1)]
    world.join_sessions(*nicks)
    ann.read()
    ann.say(*(f"/ignore {nick}" for nick in nicks))
    assert ann.read()[MAX_IGNORED:] == [ErrorReply("you ignore 100 people already. /unignore NAME makes room.")]
    assert len(ann.session.member.ignored) == MAX_IGNORED
    ann.say("/unignore p0", f"/ignore {nicks[-1]}")
    assert len(ann.session.member.ignored) == MAX_IGNORED


# /names


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-HOUR, "bob"),  # the clock was put back
        (5 * MINUTE - 1, "bob"),
        (5 * MINUTE, "bob (idle 5m)"),
        (HOUR - 1, "bob (idle 59m)"),
        (HOUR, "bob (idle 1h)"),
        (DAY - 1, "bob (idle 23h)"),
        (DAY, "bob (idle 1d)"),
        (1000 * DAY, "bob (idle 1000d)"),
    ],
)
def test_names_shows_how_long_a_person_is_idle(
    ann: SessionClient, bob: SessionClient, seconds: float, shown: str
) -> None:
    ann.say("/names", at=NOON + seconds)
    assert ann.read() == replies(f"2 here: ann, {shown}")


def test_names_shows_who_is_away_and_idle(ann: SessionClient, bob: SessionClient) -> None:
    seen: list[Event | Notice] = []
    for line in ("/away lunch", "/away", "/back"):
        bob.say(line)
        assert isinstance(ann.read()[-1], AwayChanged)
        ann.say("/names")
        ann.say("/names", at=NOON + 12 * MINUTE)
        seen += ann.read()
    states = ["bob (away: lunch)", "bob (away: lunch, idle 12m)", "bob (away)", "bob (away, idle 12m)"]
    states += ["bob", "bob (idle 12m)"]
    assert seen == replies(*(f"2 here: ann, {state}" for state in states))


@pytest.mark.parametrize(
    ("line", "shown"),
    [("hi", "bob"), ("", "bob"), ("/nonsense", "bob"), ("/back", "bob"), ("/ping", "bob (idle 10m)")],
)
def test_every_line_but_ping_ends_idleness(ann: SessionClient, bob: SessionClient, line: str, shown: str) -> None:
    bob.say(line, at=NOON + 9 * MINUTE)
    ann.read()
    ann.say("/names", at=NOON + 10 * MINUTE)
    assert ann.read() == replies(f"2 here: ann, {shown}")


def test_newcomer_is_not_idle(world: World, ann: SessionClient) -> None:
    bob = world.open_session()
    bob.say("bob", at=NOON + HOUR)
    bob.read()
    bob.say("/names", at=NOON + HOUR + MINUTE)
    assert bob.read() == replies("2 here: ann (idle 1h), bob")


def test_many_names_take_several_lines(world: World, ann: SessionClient) -> None:
    nicks = [f"p{number}" for number in range(250)]
    first_line = NAMES_PER_LINE - 1  # beside ann
    world.join_sessions(*nicks[:first_line])
    ann.read()
    ann.say("/names")
    assert reply_texts(ann) == [f"{NAMES_PER_LINE} here: {', '.join(['ann', *nicks[:first_line]])}"]
    world.join_sessions(*nicks[first_line:])
    ann.say("/names", "/ping")
    assert reply_texts(ann) == [
        f"251 here: {', '.join(['ann', *nicks[:first_line]])},",
        f"{', '.join(nicks[first_line : first_line + NAMES_PER_LINE])},",
        ", ".join(nicks[first_line + NAMES_PER_LINE :]),
        "pong",
    ]


def test_line_of_names_has_limited_length(world: World, ann: SessionClient) -> None:
    for client in world.join_sessions("b", "c", "d"):
        client.say("/away " + "z" * (NAMES_LINE_CHARS // 2))
    ann.say("/names")
    texts = reply_texts(ann)
    assert [text[:14] for text in texts] == ["4 here: ann, b", "c (away: zzzzz", "d (away: zzzzz"]
    assert all(len(text) <= NAMES_LINE_CHARS + 1 for text in texts)


# Private messages


def test_newcomer_is_addressed_and_named_from_the_delivery_of_the_join(world: World, ann: SessionClient) -> None:
    bob = world.open_session()
    bob.session.line("bob", NOON)
    ann.session.line("/msg bob hi", NOON)
    assert ann.read() == [ErrorReply("bob is not here.")]
    world.deliver_in_part()
    world.turn()  # bob has joined, now ann receives the notice
    ann.session.line("/msg bob hi", NOON)
    ann.session.line("/names", NOON)
    assert ann.read()[1:] == replies("sent to bob.")
    ready = ann.session.ready
    world.settle()
    assert ann.read() == replies("2 here: ann, bob")
    assert (ready, ann.session.ready) == (False, True)
    assert bob.read()[-1:] == [PrivateMessage(ann.session.id, "ann", bob.session.id, "hi", NOON)]


def test_reply_goes_to_the_author_of_the_last_message_that_arrived(
    world: World, ann: SessionClient, bob: SessionClient
) -> None:
    (carol,) = world.join_sessions("carol")
    carol.say("/msg ann first")
    bob.session.line("/msg ann second", NOON)
    world.deliver_in_part()
    ann.read()
    ann.session.line("/reply yes", NOON)
    assert ann.read() == replies("sent to bob.")
    world.settle()
    assert bob.read()[-1:] == [PrivateMessage(ann.session.id, "ann", bob.session.id, "yes", NOON)]
    bob.say("quit")
    ann.say("/reply hm")
    assert ann.read()[1:] == [ErrorReply("the one who wrote to you last is not here.")]


# Backpressure


def test_author_waits_while_the_journal_has_too_much_and_nothing_is_lost() -> None:
    world = World(limits=Limits(high_water_events=3))
    (ann,) = world.join_sessions("ann")
    ready = []
    for line in ("one", "/me two", "/nick anna"):
        ready.append(ann.session.ready)
        ann.session.line(line, NOON)
    ready.append(ann.session.ready)
    world.settle()
    ready.append(ann.session.ready)
    assert ready == [True, True, True, False, True]
    assert world.room.last_seq == 2


def test_client_that_waits_for_an_answer_is_resumed_once() -> None:
    world = World(limits=Limits(high_water_events=1))
    (ann,) = world.join_sessions("ann")
    ann.say("one")
    calls = ann.ready_calls
    ann.say("/history")
    assert ann.ready_calls == calls + 1


def test_author_of_many_private_messages_waits_until_they_are_delivered(world: World, ann: SessionClient) -> None:
    bob, carol = world.join_sessions("bob", "carol")
    ann.read()
    waited = 0
    for number in range(100):
        ann.session.line(f"/msg bob {number} " + "x" * 4000, NOON)
        if not ann.session.ready:
            waited += 1
            world.settle()
    world.settle()
    assert waited > 10
    assert ann.read() == replies("sent to bob.") * 100
    assert sum(isinstance(event, PrivateMessage) for event in bob.read()) == 100
    bob.congest()
    carol.say("/msg bob hm")
    assert carol.read() == [ErrorReply("bob does not read what is sent to them.")]
