"""What is said and heard in the room, through a connection to a faithful server."""

from __future__ import annotations

import pytest

from broadcast.client.lines import (
    LINE_BYTES,
    Answer,
    Crowd,
    Emoted,
    Error,
    Joined,
    Left,
    Recalled,
    Receipt,
    Renamed,
    Said,
    Whispered,
)
from tests.client.fake import Play


def test_the_replay_and_what_follows_are_shown() -> None:
    play = Play("one", "two").start()
    play.bob("three")
    assert play.front.said == ["bob: one", "bob: two", "bob: three"]
    assert [event.time for event in play.front.events if isinstance(event, Said)] == ["14:02", "14:02", ""]


def test_ones_own_line_is_shown_once_it_is_kept() -> None:
    play = Play().start()
    assert play.connection.say("hi")
    assert play.front.said == []
    play.settle()
    assert play.front.events[-1] == Said("ann", "hi", own=True)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("/me waves", Emoted("ann", "waves", own=True)),
        ("/say quit", Said("ann", "quit", own=True)),
        ("//usr", Said("ann", "/usr", own=True)),
        ("a\x1b[1mb\u202e\tc", Said("ann", "a[1mb c", own=True)),
        ("\ufffd", Said("ann", "\ufffd", own=True)),
    ],
)
def test_ones_own_line_is_shown_as_the_others_see_it(typed: str, shown: Said | Emoted) -> None:
    play = Play().start()
    play.say(typed)
    assert play.front.events[-1] == shown
    assert play.kept == [str(shown)]


def test_several_lines_are_sent_as_lines() -> None:
    play = Play().start()
    play.say("a\nb\r\nc\rd")
    assert play.kept == ["ann: a", "ann: b", "ann: c", "ann: d"]
    assert play.front.said == play.kept


@pytest.mark.parametrize("typed", ["", "  ", "\u00ad", "\ud800"])
def test_a_line_that_says_nothing_gets_no_place(typed: str) -> None:
    play = Play().start()
    play.say(typed, "hi")
    assert play.front.said == ["ann: hi"]


def test_a_line_that_is_too_long_is_refused_here() -> None:
    play = Play().start()
    play.say("x" * (LINE_BYTES + 1), "hi")
    assert play.front.others == [Error(f"a line holds at most {LINE_BYTES} bytes.")]
    assert play.front.said == ["ann: hi"]


def test_a_line_that_is_not_kept_is_not_shown_and_the_reason_is() -> None:
    play = Play().start()
    play.room.full_disk = True
    play.say("a")
    play.room.full_disk = False
    play.say("b")
    assert play.front.others == [Error("not kept: the disk is full.")]
    assert play.front.said == ["ann: b"]


def test_a_server_without_receipts_shows_ones_own_lines_at_once() -> None:
    play = Play()
    play.room.numbered = False
    play.start()
    play.connection.say("hi")
    assert play.front.said == ["ann: hi"]
    assert play.front.others == []
    play.settle()
    assert play.kept == ["ann: hi"]


def test_answers_to_the_clients_own_commands_are_not_shown_and_the_users_are() -> None:
    play = Play("one").start()
    play.wire.cut()
    play.bob("two")
    play.back()
    assert play.front.others == []
    play.say("/history 1", "/what", "hi")
    assert [type(event) for event in play.front.others] == [Recalled, Error]


def test_receipts_are_shown_when_they_are_asked_for() -> None:
    play = Play().start()
    play.say("/receipts on", "a", "/receipts", "b", "/RECEIPTS  off")
    assert play.front.others == [
        Answer("receipts are on."),
        Receipt(1),
        Answer("receipts are off."),
        Answer("receipts are off."),
    ]
    assert play.front.said == ["ann: a", "ann: b"]


def test_another_nickname_is_known_once_the_server_says_so() -> None:
    play = Play().start()
    play.say("/nick bea", "hi")
    assert play.connection.nick == "bea"
    assert play.front.said == ["bea: hi"]
    play.wire.cut()
    play.back()
    assert play.front.arrivals[-1] == ("bea", True)


def test_who_is_here_is_followed() -> None:
    play = Play().start()
    for line in (" * bob joined.", " * bob is now rob.", " * 3 people joined.", "eve: hi", " * 2 people left."):
        play.room.tell(line)
    play.settle()
    assert play.connection.here == 3
    assert list(play.connection.names) == ["rob", "eve"]
    play.room.tell(" * rob left: tired")
    play.room.tell("[eve] psst")
    play.settle()
    assert list(play.connection.names) == ["eve"]
    assert play.front.others == [
        Joined("bob"),
        Renamed("bob", "rob"),
        Crowd(3, joined=True),
        Crowd(2, joined=False),
        Left("rob", "tired"),
        Whispered("eve", "psst"),
    ]
