"""The line protocol as a client reads it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.lines import (
    HELD,
    Answer,
    Arrived,
    Crowd,
    Emoted,
    Entered,
    Error,
    Event,
    Joined,
    Left,
    Missed,
    Notice,
    Prompt,
    Reader,
    Recalled,
    Receipt,
    Renamed,
    Said,
    Whispered,
    classify,
    printable,
    spoken,
)

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"

FORMS: list[tuple[str, Event]] = [
    ("bob: hi", Said("bob", "hi")),
    ("bob: ", Said("bob", "")),
    ("bob:  * eve joined.", Said("bob", " * eve joined.")),
    ("bob: eve: hi", Said("bob", "eve: hi")),
    ("[14:02] bob: hi", Said("bob", "hi", "14:02")),
    ("[2026-01-31 14:02] bob: hi", Said("bob", "hi", "2026-01-31 14:02")),
    ("-x-: hi", Said("-x-", "hi")),
    ("Зоя: привет", Said("Зоя", "привет")),
    ("** bob waves", Emoted("bob", "waves")),
    ("[14:02] ** bob waves", Emoted("bob", "waves", "14:02")),
    ("** bob says: hi", Emoted("bob", "says: hi")),
    (" * bob joined.", Joined("bob")),
    (" * bob left.", Left("bob", "")),
    (" * bob left: tired", Left("bob", "tired")),
    (" * bob left: connection lost", Left("bob", "connection lost")),
    (" * bob. left.", Left("bob.", "")),
    (" * bob is now rob.", Renamed("bob", "rob")),
    (" * 214 people joined.", Crowd(214, joined=True)),
    (" * 3 people left.", Crowd(3, joined=False)),
    ("[bob] psst", Whispered("bob", "psst")),
    ("[bob] eve: hi", Whispered("bob", "eve: hi")),
    ("[bob] ** eve waves", Whispered("bob", "** eve waves")),
    (" * You missed 142 lines (#3-#144).", Missed(3, 144)),
    (" * You missed 1 line (#3).", Missed(3, 3)),
    (" * You missed 1 lines (#3-#3).", Missed(3, 3)),
    ("-> text", Answer("text")),
    ("-> ", Answer("")),
    ("-> bob: hi", Answer("bob: hi")),
    ("-> nothing was said yet.", Answer("nothing was said yet.")),
    ("-> nothing found.", Answer("nothing found.")),
    ("-> Error: bob is taken.", Error("bob is taken.")),
    ("-> Error: not kept: the disk is full", Error("not kept: the disk is full")),
    ("-> #1207", Receipt(1207)),
    ("-> #1207 ", Answer("#1207 ")),
    ("-> #12 [14:02] bob: hi", Recalled(12, Said("bob", "hi", "14:02"))),
    ("-> #13 [14:02] ** bob waves", Recalled(13, Emoted("bob", "waves", "14:02"))),
    ("-> #13 [2026-01-31 14:02] bob: ", Recalled(13, Said("bob", "", "2026-01-31 14:02"))),
    ("-> #13 [nothing] known", Answer("#13 [nothing] known")),
    (" * The server is going down.", Notice("The server is going down.")),
    (" * You are in kitchen. Nobody else is here.", Entered("kitchen", (), 0)),
    (" * You are in kitchen. 1 other is here: bob.", Entered("kitchen", ("bob",), 1)),
    (" * You are in a-b_1. 22 others are here: bob, eve and 20 more.", Entered("a-b_1", ("bob", "eve"), 22)),
    (" * You are in Kitchen. Nobody else is here.", Notice("You are in Kitchen. Nobody else is here.")),
    (" * You are in kitchen. Are you?", Notice("You are in kitchen. Are you?")),
    (" * Goodbye, ann.", Notice("Goodbye, ann.")),
    ("", Notice("")),
    ("a line of anything", Notice("a line of anything")),
    (" bob: hi", Notice(" bob: hi")),
]

ARRIVALS = [
    (" * You are ann. Nobody else is here. /help lists the commands, quit leaves.", Arrived("ann", (), 0)),
    (" * You are ann. 1 other is here: bob. /help lists the commands.", Arrived("ann", ("bob",), 1)),
    (" * You are ann. 2 others are here: bob, carol. /help", Arrived("ann", ("bob", "carol"), 2)),
    (" * You are a.b. 23 others are here: bob, c. and 21 more. /help", Arrived("a.b", ("bob", "c."), 23)),
    (" * You are ann. 1 other is here: bob.", Arrived("ann", ("bob",), 1)),
]

GREETING = "Welcome to Broadcast.\r\nbob: is not here\r\n\r\n * news\r\nNickname: "
READ = [Notice("Welcome to Broadcast."), Notice("bob: is not here"), Notice(""), Notice("news"), Prompt("Nickname: ")]


def read(*chunks: bytes) -> list[Event | Prompt]:
    reader = Reader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def in_room() -> Reader:
    reader = Reader()
    assert list(reader.feed(ARRIVALS[0][0].encode() + b"\r\n")) == [ARRIVALS[0][1]]
    return reader


@pytest.mark.parametrize(("line", "event"), FORMS)
def test_every_form_of_line_is_known(line: str, event: Event) -> None:
    assert classify(line) == event


@pytest.mark.parametrize(("line", "event"), ARRIVALS)
def test_arriving_is_known(line: str, event: Event) -> None:
    assert read(line.encode() + b"\r\n") == [event]


def test_all_of_it_is_the_same_byte_by_byte_and_at_once() -> None:
    text = GREETING + "-> Error: taken.\r\nNickname: " + ARRIVALS[2][0] + "\r\n"
    text += "".join(line + "\r\n" for line, _ in FORMS)
    expected = [*READ, Error("taken."), Prompt("Nickname: "), ARRIVALS[2][1], *(event for _, event in FORMS)]
    data = text.encode()
    assert read(data) == expected
    assert read(*(bytes([byte]) for byte in data)) == expected


@given(st.lists(st.integers(0, 200), max_size=8))
def test_cutting_into_chunks_changes_nothing(cuts: list[int]) -> None:
    data = (GREETING + ARRIVALS[0][0] + "\r\nbób: hi\r\n-> #1\r\n").encode()
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(at)]
    assert read(*chunks) == read(data)


def test_a_line_may_end_without_a_carriage_return() -> None:
    assert list(in_room().feed(b"bob: hi\nbob: ho\n")) == [Said("bob", "hi"), Said("bob", "ho")]


def test_a_prompt_is_told_before_its_line_ends_and_only_once_whole() -> None:
    reader = Reader()
    assert list(reader.feed(b"Nickname:")) == []
    assert list(reader.feed(b" ")) == [Prompt("Nickname: ")]
    assert list(reader.feed(b"")) == []


@pytest.mark.parametrize("prompt", ["Password: ", "The password of ann, please: ", "PASSWORD: "])
def test_a_question_for_a_password_is_a_prompt(prompt: str) -> None:
    assert read(prompt.encode()) == [Prompt(prompt)]


@pytest.mark.parametrize("text", ["Name: ", "-> Error: password: ", "Your password"])
def test_other_unfinished_lines_are_no_prompt(text: str) -> None:
    assert read(text.encode()) == []


@pytest.mark.parametrize("text", ["Nickname: ", "Password: "])
def test_in_the_room_nothing_is_a_prompt(text: str) -> None:
    assert list(in_room().feed(text.encode())) == []


def test_before_one_is_in_the_room_nobody_says_anything() -> None:
    assert read(b"bob: hi\r\n-> #1\r\n") == [Notice("bob: hi"), Notice("-> #1")]


def test_in_the_room_nobody_arrives() -> None:
    assert list(in_room().feed(b" * You are eve. Nobody else is here.\r\n")) == [
        Notice("You are eve. Nobody else is here.")
    ]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert list(in_room().feed(b"bob: \xff\xc3\n")) == [Said("bob", "\ufffd\ufffd")]


def test_an_endless_line_is_held_up_to_a_limit_and_the_next_is_whole() -> None:
    reader = in_room()
    for _ in range(3 * HELD // 1000):
        assert list(reader.feed(b"x" * 1000)) == []
    assert len(reader._line) == HELD
    assert list(reader.feed(b"y\r\nbob: hi\r\n")) == [Notice("x" * HELD), Said("bob", "hi")]


def test_a_line_of_just_the_limit_is_whole() -> None:
    assert list(in_room().feed(b"x" * HELD + b"\n")) == [Notice("x" * HELD)]


@pytest.mark.parametrize(("line", "event"), [entry for entry in FORMS if isinstance(entry[1], Said | Emoted)])
def test_a_kept_line_reads_as_it_was_without_its_time(line: str, event: Said | Emoted) -> None:
    assert spoken(str(event)) == type(event)(event.nick, event.text)
    assert line.endswith(str(event))


def test_what_is_not_said_is_not_spoken() -> None:
    assert spoken("[bob] psst") is None


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[2J", "\ufffd[2J"),
        ("\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        ("\x9b2J\x90\x9d", "\ufffd2J\ufffd\ufffd"),
        ("a\rb\nc\x00\x7f", "a\ufffdb\ufffdc\ufffd\ufffd"),
        ("a\tb", "a b"),
        ("\u202eevil\u2066\u200f", "\ufffdevil\ufffd\ufffd"),
        ("\u2028\u2029\u0085", "\ufffd\ufffd\ufffd"),
        ("z\u200bz\ufeff\u00ad", "z\ufffdz\ufffd\ufffd"),
        ("\U000e0041", "\ufffd"),
        (f"{SCOTLAND}\x1b{SCOTLAND[:2]}", f"{SCOTLAND}\ufffd\U0001f3f4\ufffd"),
        ("\ud800", "\ufffd"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("漢字é", "漢字é"),
        ("a" + "\u0301" * 20 + "b\u0301", "a" + "\u0301" * 8 + "b\u0301"),
        ("क" + "\u093f" * 9, "क" + "\u093f" * 9),
    ],
)
def test_what_a_hostile_server_sends_is_shown_as_text(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


@given(st.text(st.characters()))
def test_printable_text_holds_no_control_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert all(character >= " " and not "\x7f" <= character <= "\x9f" for character in shown)
