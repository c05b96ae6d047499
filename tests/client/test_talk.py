"""What is said and heard in the room, through a connection to a faithful server."""

from __future__ import annotations

import pytest

from broadcast.client.heartbeat import SILENCE
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
        ("a\x1b[1mb\u202e\tc", Said("ann", "ab c", own=True)),
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


def test_a_line_that_the_server_finds_too_long_is_none_that_it_keeps() -> None:
    play = Play().start()
    play.room.line_bytes = 20
    play.say("a", "b" * 21, "c")
    assert play.front.others == [Error("a line holds at most 20 bytes.")]
    assert play.front.said == ["ann: a", "ann: c"]
    play.wire.cut()
    assert play.front.unsaids == []


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


def test_a_refused_nickname_is_nobodys_whatever_is_answered_later() -> None:
    play = Play().start()
    play.room.reserved = {"away"}
    play.say("/nick away", "/away", "hi")
    assert play.connection.nick == "ann"
    assert play.front.others == [Error("away is taken."), Answer("You are away.")]
    assert play.kept == ["ann: hi"]


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


# Pings


def pongs(play: Play) -> int:
    return play.front.others.count(Answer("pong"))


def test_the_clients_own_ping_is_not_shown() -> None:
    play = Play().start()
    play.clock.advance(SILENCE)
    assert play.wire.up == b"/ping\r\n"
    play.settle()
    assert play.end.taken[-1] == "/ping"
    assert play.front.others == []
    play.say("/ping")
    assert pongs(play) == 1


@pytest.mark.parametrize("first", [True, False])
def test_of_two_pings_under_way_the_answer_to_the_users_is_shown_in_its_place(first: bool) -> None:
    play = Play().start()
    if first:
        play.connection.say("/PING now")
    play.clock.advance(SILENCE)
    if not first:
        play.connection.say("/ping")
    play.connection.say("/timestamp on")
    assert play.wire.up.count(b"\r\n") == 3
    play.end.tell("bob: pong")
    for shown in (first, not first):
        play.wire.carry_up()
        before = pongs(play)
        play.wire.carry_down()
        assert (pongs(play) > before) is shown
    play.settle()
    assert play.front.others[-1] == Answer("timestamps are on.")
    assert pongs(play) == 1
    assert play.front.said == ["bob: pong"]


def test_a_ping_does_not_disturb_receipts_and_refusals() -> None:
    play = Play().start()
    play.say("/receipts on")
    play.connection.say("a")
    play.clock.advance(SILENCE)
    play.room.full_disk = True
    play.connection.say("b")
    play.connection.say("/nick bea")
    play.settle()
    refused = Error("not kept: the disk is full.")
    assert play.front.others[1:] == [refused, refused, Answer("You are bea.")]
    play.room.full_disk = False
    play.say("c")
    assert play.front.said == ["bea: c"]
    assert play.connection.nick == "bea"


def test_a_server_without_pings_is_there_all_the_same() -> None:
    play = Play()
    play.room.pings = False
    play.start()
    for _ in range(5):
        play.clock.advance(SILENCE)
        play.settle()
    assert play.end.taken.count("/ping") == 5
    assert play.front.others == []
    play.say("/ping")
    assert play.front.others == [Error("unknown command /ping.")]


# What was chosen before the connection was lost


def test_what_was_chosen_with_commands_is_chosen_again_without_a_word() -> None:
    play = Play("one").start()
    play.say("/timestamp", "/quiet on", "/away lunch", "/ignore eve", "/receipts on")
    shown = len(play.front.others)
    assert shown == 5
    play.wire.cut()
    play.bob("two")
    play.room.said("eve", "spam")
    play.back()
    end = play.end
    assert (end.times, end.quiet, end.away, end.ignored) == (True, True, "lunch", {"eve"})
    play.room.said("eve", "spam")
    play.bob("three")
    play.say("four", "/back")
    assert play.front.others[shown:] == [Receipt(6), Answer("Welcome back.")]
    assert play.front.said == ["bob: one", "bob: two", "bob: three", "ann: four"]
    play.wire.cut()
    play.back()
    assert play.end.away is None
    assert play.end.times


def test_what_was_typed_while_catching_up_comes_after_what_was_chosen() -> None:
    play = Play("one").start()
    play.say("/timestamp on")
    play.wire.cut()
    play.clock.advance(play.front.losses[-1][1] or 0)
    while not play.connection.standing:
        play.wire.carry_down()
        if play.wire.up:
            play.wire.carry_up()
    play.connection.say("/timestamp")
    play.settle()
    assert not play.end.times
    assert play.front.others == [Answer("timestamps are on."), Answer("timestamps are off.")]


def test_joins_and_leaves_stay_hidden_while_one_comes_back() -> None:
    play = Play().start()
    play.say("/quiet")
    play.wire.cut()
    play.clock.advance(play.front.losses[-1][1] or 0)
    play.wire.carry_down()
    play.wire.carry_up()
    play.wire.carry_down()
    play.room.join("bob")
    play.settle()
    play.room.join("eve")
    play.settle()
    assert Joined("bob") not in play.front.events
    assert play.connection.here == 0
    assert list(play.connection.names) == ["bob"]


def test_who_is_not_back_yet_is_ignored_when_they_are() -> None:
    play = Play().start()
    play.say("/ignore eve")
    play.wire.cut()
    play.room.absent = {"eve"}
    play.back()
    assert play.end.ignored == set()
    play.room.join("eve")
    play.room.said("eve", "spam")
    play.settle()
    assert play.end.ignored == {"eve"}
    play.room.said("eve", "more spam")
    play.bob("hi")
    assert play.front.said == ["bob: hi"]
    assert play.front.others == [Answer("you ignore eve. /unignore eve ends that."), Joined("eve")]
    play.wire.cut()
    play.back()
    assert play.front.said == ["bob: hi"]


def test_who_is_not_back_yet_can_be_heard_again_too() -> None:
    play = Play().start()
    play.say("/ignore eve")
    play.wire.cut()
    play.room.absent = {"eve"}
    play.back()
    play.say("/unignore eve")
    assert play.front.others[-1] == Answer("you no longer ignore eve.")
    play.room.join("eve")
    play.room.said("eve", "hi")
    play.settle()
    assert play.end.ignored == set()
    assert play.front.said == ["eve: hi"]


# What the status line tells


def test_it_is_known_whether_one_is_away_also_on_the_next_connection() -> None:
    play = Play().start()
    known = [play.connection.away]
    for command in ("/away lunch", "/ping"):
        changes = play.front.changes
        play.say(command)
        known += [play.connection.away, play.front.changes > changes]
    play.wire.cut()
    play.back()
    known.append(play.connection.away)
    changes = play.front.changes
    play.say("/back")
    known += [play.connection.away, play.front.changes > changes]
    assert known == [False, True, True, True, False, True, False, True]


def test_while_joins_and_leaves_are_hidden_nobody_knows_how_many_are_here() -> None:
    play = Play().start()
    play.say("/quiet on")
    assert play.connection.here == 0
    play.say("/who")
    assert play.connection.here == 0, "it would be true for a moment only"
    play.say("/quiet off")
    assert play.connection.here == 3
    play.room.join("dan")
    play.settle()
    assert play.connection.here == 4
    shown = [event.text for event in play.front.others if isinstance(event, Answer)]
    assert shown == ["joins and leaves are off.", "3 here: ann, bob, eve", "joins and leaves are on."]
    play.say("/NAMES")
    assert play.connection.here == 3, "what the server says counts"


def test_the_number_is_asked_for_once_also_where_others_are_asking() -> None:
    play = Play().start()
    play.say("/quiet on")
    for line in ("/quiet off", "/names", "/timestamp on"):
        play.connection.say(line)
    play.settle()
    assert play.end.taken[-4:] == ["/quiet off", "/names", "/timestamp on", "/names"]
    assert len([event for event in play.front.others if event == Answer("3 here: ann, bob, eve")]) == 1
    assert play.connection.here == 3
