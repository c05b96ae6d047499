"""Arriving: from the welcome to the room."""

from __future__ import annotations

import pytest

from broadcast.core.limits import Limits
from broadcast.core.settings import Settings
from tests.harness import Person, World
from tests.scenarios.conftest import Opens, at_once, newcomer

PROMPT = "Nickname: "
EMPTY = "a nickname cannot be empty."
BAD_CHARACTERS = "a nickname holds only ASCII letters, digits, _, - and ."
NICK_FIRST = "choose a nickname first: commands come after it. quit leaves."
NICK_TOO_LONG = "a nickname has at most 24 characters."
LINE_TOO_LONG = "a line holds at most 512 bytes."
DAY = 86400


def confirmation(nick: str, company: str = "Nobody else is here.") -> str:
    """Return the line with which the room receives *nick*."""
    return f" * You are {nick}. {company} /help lists the commands, quit leaves."


@pytest.mark.parametrize(
    ("settings", "welcome"),
    [
        (Settings(), "Welcome to Broadcast. Type a nickname and press Enter.\r\n"),
        (
            Settings(name="The Den", motd=("Be kind.", "", "Or else.")),
            "Welcome to The Den. Type a nickname and press Enter.\r\nBe kind.\r\n\r\nOr else.\r\n",
        ),
    ],
)
def test_newcomer_reads_welcome_and_prompt(open_world: Opens, settings: Settings, welcome: str) -> None:
    assert open_world(settings).connect().read() == welcome + PROMPT


@pytest.mark.parametrize(
    ("others", "company"),
    [
        (0, "Nobody else is here."),
        (1, "1 other is here: p0."),
        (2, "2 others are here: p0, p1."),
        (20, "20 others are here: {}."),
        (21, "21 others are here: {} and 1 more."),
        (234, "234 others are here: {} and 214 more."),
    ],
)
def test_newcomer_reads_up_to_twenty_names_and_others_see_the_join(world: World, others: int, company: str) -> None:
    nicks = [f"p{number}" for number in range(others)]
    people = world.join(*nicks)
    ann = newcomer(world)
    ann.say("ann")
    assert ann.lines() == [confirmation("ann", company.format(", ".join(nicks[:20])))]
    assert all(person.lines() == [" * ann joined."] for person in people)


# Nicknames


@pytest.mark.one_door
@pytest.mark.parametrize(
    ("typed", "nick"),
    [
        *((nick, nick) for nick in ("a", "A-b_c.9", "x" * 24, "...", "bob.", "7")),
        *((typed, "bob") for typed in ("  bob ", "\tbob", "bob\t ", "b\u200bob", "b\u202eob")),
    ],
)
def test_nickname_without_blanks_and_invisible_characters_is_shown(
    world: World, ann: Person, typed: str, nick: str
) -> None:
    person = newcomer(world)
    person.say(typed, "hi")
    assert person.lines() == [confirmation(nick, "1 other is here: ann.")]
    assert ann.lines() == [f" * {nick} joined.", f"{nick}: hi"]


@pytest.mark.one_door
@pytest.mark.parametrize(
    ("nick", "error"),
    [
        *((nick, EMPTY) for nick in ("", "   ", " \t ", "\u200b")),
        *((nick, NICK_TOO_LONG) for nick in ("x" * 25, "x" * 512)),
        ("x" * 513, LINE_TOO_LONG),
        *((nick, BAD_CHARACTERS) for nick in ("ann smith", "ann!", "café", "\u0430nn", "דוד")),
        *((nick, NICK_FIRST) for nick in ("/help", " /quit", "/nick bob", "/oidc now", "//bob")),
        *((nick, f"{nick.strip()} is taken.") for nick in ("ann", "ANN", "ann ")),
        *((nick, "ann is taken.") for nick in ("\ufeffann", "\u202eann")),
        *(
            (nick, f"{nick} is reserved.")
            for nick in ("server", "system", "admin", "root", "operator", "here", "all", "Server", "ADMIN")
        ),
    ],
)
def test_rejected_nickname_is_asked_for_again(world: World, ann: Person, nick: str, error: str) -> None:
    person = newcomer(world)
    person.say(nick)
    assert person.read() == f"-> Error: {error}\r\n{PROMPT}"
    person.say("bob")
    assert person.lines() == [confirmation("bob", "1 other is here: ann.")]
    assert ann.lines() == [" * bob joined."]


@pytest.mark.one_door
@pytest.mark.parametrize(
    ("nick", "error"),
    [
        ("\u0430nna", "\u0430nna looks too much like anna, who is here."),
        ("ЯРОСЛАВ", "ЯРОСЛАВ is taken."),
        ("ＡＮＮＡ", "ＡＮＮＡ is taken."),
        ("anna\u202e", "anna is taken."),
        ("שadmin", "a nickname reads in one direction."),
        ("s\u0435rver", "s\u0435rver is reserved."),
    ],
)
def test_unicode_nickname_that_could_deceive_is_rejected(open_world: Opens, nick: str, error: str) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    world.join("Ярослав", "anna")
    person = newcomer(world)
    person.say(nick)
    assert person.read() == f"-> Error: {error}\r\n{PROMPT}"
    person.say("जया")
    assert person.lines() == [confirmation("जया", "2 others are here: Ярослав, anna.")]


def test_unicode_nickname_is_free_when_its_lookalike_has_left(open_world: Opens) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    anna, david = world.join("anna", "דוד")
    anna.say("quit")
    david.read()
    newcomer(world).say("\u0430nna", "שלום")
    assert david.lines() == [" * \u0430nna joined.", "\u0430nna: שלום"]


@pytest.mark.parametrize(("nick", "error"), [("not a nickname", BAD_CHARACTERS), ("x" * 513, LINE_TOO_LONG)])
def test_tenth_rejected_nickname_closes_connection(world: World, nick: str, error: str) -> None:
    again = f"-> Error: {error}\r\n{PROMPT}"
    lucky, unlucky = newcomer(world), newcomer(world)
    lucky.say(*[nick] * 9)
    assert lucky.read() == again * 9
    lucky.say("ann")
    assert lucky.lines() == [confirmation("ann")]
    unlucky.say(*[nick] * 10, "bob", "hi")
    assert unlucky.read() == again * 9 + f"-> Error: {error}\r\n * Goodbye.\r\n"
    assert unlucky.transport.finished
    assert lucky.read() == ""


@pytest.mark.parametrize("word", ["quit", "exit", "QUIT", " Exit "])
def test_quit_at_the_prompt_leaves(world: World, ann: Person, word: str) -> None:
    person = newcomer(world)
    person.say(word, "bob", "hi")
    assert person.read() == " * Goodbye.\r\n"
    assert person.transport.finished
    assert ann.read() == ""


@pytest.mark.parametrize("seconds", [60, 2.5])
def test_connection_without_nickname_is_closed_at_the_deadline(open_world: Opens, seconds: float) -> None:
    world = open_world(limits=Limits(nickname_seconds=seconds))
    (ann,) = world.join("ann")
    person = newcomer(world)
    person.say("not a nickname")
    person.read()
    world.clock.advance(seconds - 0.1)
    assert person.read() == ""
    world.clock.advance(0.2)
    assert person.lines() == [f" * No nickname in {seconds:g} seconds."]
    person.hang_up()
    world.clock.advance(DAY)
    assert ann.read() == ""
    assert not ann.transport.finished
    assert not world.clock.getDelayedCalls()


# The replay


def test_newcomer_reads_last_twenty_lines_without_joins_and_leaves(world: World, bob: Person, carol: Person) -> None:
    bob.say(*(f"line {number}" for number in range(25)), "/me waves")
    carol.say("/msg bob psst", "quit")
    dave = newcomer(world)
    dave.say("dave")
    assert dave.lines() == [
        confirmation("dave", "2 others are here: ann, bob."),
        *(f"[12:00] bob: line {number}" for number in range(6, 25)),
        "[12:00] ** bob waves",
    ]


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_length_of_replay_is_a_setting(open_world: Opens, lines: int) -> None:
    world = open_world(Settings(replay=lines))
    world.join("ann")[0].say(*"abcd")
    bob = newcomer(world)
    bob.say("bob")
    assert bob.lines()[1:] == [f"[12:00] ann: {text}" for text in "abcd"[4 - lines :]]


def test_replayed_line_of_another_day_shows_its_date(world: World, ann: Person) -> None:
    ann.say("old")
    world.clock.advance(DAY / 2 - 1)
    ann.say("late")
    world.clock.advance(1)
    ann.say("new")
    bob = newcomer(world)
    bob.say("bob")
    assert bob.lines()[1:] == ["[2026-01-15 12:00] ann: old", "[2026-01-15 23:59] ann: late", "[00:00] ann: new"]


# Several things at once


def test_lines_typed_with_the_nickname_wait_for_the_room(world: World, ann: Person) -> None:
    bob = newcomer(world)
    bob.say("bob", "x" * 4096, "/ping", "quit")
    assert bob.lines() == [confirmation("bob", "1 other is here: ann."), "-> pong", " * Goodbye, bob."]
    assert ann.lines() == [" * bob joined.", "bob: " + "x" * 4096, " * bob left."]


def test_first_of_two_newcomers_gets_the_nickname_and_they_see_each_other(world: World) -> None:
    first, second = newcomer(world), newcomer(world)
    at_once((first, "ann", "I am"), (second, "Ann", "rob", "I was late"))
    assert first.lines() == [confirmation("ann", "1 other is here: rob."), "rob: I was late"]
    assert second.read() == f"-> Error: Ann is taken.\r\n{PROMPT}" + "".join(
        f"{line}\r\n" for line in (confirmation("rob", "1 other is here: ann."), "ann: I am")
    )


def test_nickname_of_somebody_who_is_leaving_is_free(world: World, ann: Person, carol: Person) -> None:
    heir = newcomer(world)
    at_once((ann, "my last words", "quit"), (heir, "ann"))
    heir.say("my first")
    assert ann.lines()[-1] == " * Goodbye, ann."
    assert carol.lines() == ["ann: my last words", " * ann left.", " * ann joined.", "ann: my first"]
    assert heir.lines() == [confirmation("ann", "2 others are here: bob, carol."), "[12:00] ann: my last words"]


def test_newcomer_reads_each_line_once_around_the_join(world: World, ann: Person, bob: Person) -> None:
    bob.say("long before")
    dave = newcomer(world)
    at_once((bob, "just before"), (dave, "dave"), (bob, "just after"))
    bob.say("long after")
    assert dave.lines() == [
        confirmation("dave", "2 others are here: ann, bob."),
        *(f"[12:00] bob: {text}" for text in ("long before", "just before", "just after")),
        "bob: long after",
    ]
    assert ann.lines() == [
        *("bob: long before", "bob: just before", " * dave joined.", "bob: just after", "bob: long after")
    ]


def test_newcomer_does_not_read_joins_renames_and_leaves_of_the_same_batch(
    world: World, bob: Person, carol: Person
) -> None:
    dave = newcomer(world)
    at_once((dave, "dave"), (bob, "/nick rob"), (carol, "quit"))
    assert dave.lines() == [confirmation("dave", "2 others are here: ann, rob.")]


def test_newcomer_reads_others_under_the_names_that_the_next_batch_changes(world: World) -> None:
    ann, bob = newcomer(world), newcomer(world)
    at_once((bob, "bob", "/nick rob"), (ann, "ann"))
    assert ann.lines() == [confirmation("ann", "1 other is here: bob."), " * bob is now rob."]
