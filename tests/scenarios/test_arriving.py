"""PROTOCOL.md, "Arriving": from the welcome to the room."""

from __future__ import annotations

import pytest

from broadcast.core.hub import Settings
from tests.harness import NOON, World
from tests.scenarios.conftest import Opens

NOT_SPECIAL = "-> Error: a nickname holds only ASCII letters, digits, _, - and .\r\n"
TOO_LONG = "-> Error: a nickname has at most 24 characters.\r\n"
ALONE = " * You are {}. Nobody else is here. /help lists the commands, quit leaves.\r\n"
DAY = 86400


def test_the_first_words_are_the_welcome_and_the_prompt(world: World) -> None:
    assert world.connect().read() == "Welcome to Broadcast.\r\nNickname: "


def test_the_server_has_a_name_and_a_message_of_the_day(open_world: Opens) -> None:
    world = open_world(Settings(name="The Den", motd=("Be kind.", "", "Or else.")))
    assert world.connect().read() == "Welcome to The Den.\r\nBe kind.\r\n\r\nOr else.\r\nNickname: "


def test_who_comes_first_is_told_that_nobody_else_is_here(world: World) -> None:
    ann = world.connect()
    ann.read()
    ann.say("ann")
    assert ann.read() == ALONE.format("ann")


def test_one_other_is_named_and_sees_the_join(world: World) -> None:
    (bob,) = world.join("bob")
    ann = world.connect()
    ann.read()
    ann.say("ann")
    assert ann.lines() == [" * You are ann. 1 other is here: bob. /help lists the commands, quit leaves."]
    assert bob.lines() == [" * ann joined."]


def test_others_are_named_in_the_order_of_their_coming(world: World) -> None:
    world.join("bob", "carol")
    ann = world.connect()
    ann.read()
    ann.say("ann")
    assert ann.lines() == [" * You are ann. 2 others are here: bob, carol. /help lists the commands, quit leaves."]


@pytest.mark.parametrize(("others", "unnamed"), [(20, ""), (21, " and 1 more"), (234, " and 214 more")])
def test_of_many_twenty_are_named_and_the_rest_is_a_number(world: World, others: int, unnamed: str) -> None:
    nicks = [f"p{number}" for number in range(others)]
    world.join(*nicks)
    ann = world.connect()
    ann.read()
    ann.say("ann")
    company = f"{others} others are here: {', '.join(nicks[:20])}{unnamed}."
    assert ann.lines() == [f" * You are ann. {company} /help lists the commands, quit leaves."]


@pytest.mark.parametrize("typed", ["  ann ", "\tann", "ann\t "])
def test_blanks_around_a_nickname_do_not_count(world: World, typed: str) -> None:
    person = world.connect()
    person.read()
    person.say(typed)
    assert person.read() == ALONE.format("ann")


@pytest.mark.parametrize("nick", ["a", "A-b_c.9", "x" * 24, "...", "7"])
def test_a_nickname_is_1_to_24_letters_digits_and_three_signs(world: World, nick: str) -> None:
    person = world.connect()
    person.read()
    person.say(nick)
    assert person.read() == ALONE.format(nick)


@pytest.mark.parametrize(
    ("nick", "why"),
    [
        ("", "-> Error: a nickname cannot be empty.\r\n"),
        ("   ", "-> Error: a nickname cannot be empty.\r\n"),
        ("x" * 25, TOO_LONG),
        ("x" * 512, TOO_LONG),
        ("x" * 513, "-> Error: a line holds at most 512 bytes.\r\n"),
        ("ann smith", NOT_SPECIAL),
        ("ann!", NOT_SPECIAL),
        ("/help", NOT_SPECIAL),
        ("café", NOT_SPECIAL),
        ("\u0430nn", NOT_SPECIAL),
        ("bob", "-> Error: bob is taken.\r\n"),
        ("BOB", "-> Error: BOB is taken.\r\n"),
        *(
            (name, f"-> Error: {name} is reserved.\r\n")
            for name in ("server", "system", "admin", "root", "operator", "here", "all", "Server", "ADMIN")
        ),
    ],
)
def test_a_nickname_is_refused_with_the_reason_and_asked_for_again(world: World, nick: str, why: str) -> None:
    world.join("bob")
    ann = world.connect()
    ann.read()
    ann.say(nick)
    assert ann.read() == why + "Nickname: "
    ann.say("ann")
    assert ann.read().startswith(" * You are ann.")


def test_with_unicode_nicknames_letters_of_any_script_will_do_but_no_look_alikes(open_world: Opens) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    world.join("Ярослав", "anna")
    person = world.connect()
    person.read()
    person.say("\u0430nna")
    assert person.read() == "-> Error: \u0430nna looks too much like anna, who is here.\r\nNickname: "
    person.say("ЯРОСЛАВ")
    assert person.read() == "-> Error: ЯРОСЛАВ is taken.\r\nNickname: "
    person.say("जया")
    assert person.lines()[0].startswith(" * You are जया. 2 others are here: Ярослав, anna.")


def test_a_look_alike_is_free_again_once_the_one_it_looks_like_has_left(open_world: Opens) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    (anna,) = world.join("anna")
    anna.say("quit")
    person = world.connect()
    person.read()
    person.say("\u0430nna")
    assert person.read() == ALONE.format("\u0430nna")


def test_after_nine_refusals_there_is_one_more_try(world: World) -> None:
    person = world.connect()
    person.read()
    person.say(*["not a nickname"] * 9)
    assert person.read() == (NOT_SPECIAL + "Nickname: ") * 9
    person.say("ann")
    assert person.read() == ALONE.format("ann")


def test_the_tenth_refusal_closes_and_nothing_is_taken_any_more(world: World) -> None:
    (bob,) = world.join("bob")
    person = world.connect()
    person.read()
    person.say(*["not a nickname"] * 10, "ann", "hi")
    assert person.read() == (NOT_SPECIAL + "Nickname: ") * 9 + NOT_SPECIAL + " * Goodbye.\r\n"
    assert person.transport.finished
    assert bob.read() == ""


@pytest.mark.parametrize("word", ["quit", "exit", "QUIT", " Exit "])
def test_quit_or_exit_at_the_prompt_leaves(world: World, word: str) -> None:
    (bob,) = world.join("bob")
    person = world.connect()
    person.read()
    person.say(word, "ann", "hi")
    assert person.read() == " * Goodbye.\r\n"
    assert person.transport.finished
    assert bob.read() == ""


def test_a_newcomer_reads_the_last_twenty_lines_without_joins_and_leaves(world: World) -> None:
    bob, carol = world.join("bob", "carol")
    bob.say(*(f"line {number}" for number in range(25)), "/me waves")
    carol.say("/msg bob psst", "quit")
    ann = world.connect()
    ann.read()
    ann.say("ann")
    greeting, *replay = ann.lines()
    assert greeting.startswith(" * You are ann. 1 other is here: bob.")
    assert replay == [*(f"[12:00] bob: line {number}" for number in range(6, 25)), "[12:00] ** bob waves"]


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_how_many_lines_a_newcomer_reads_is_a_setting(open_world: Opens, lines: int) -> None:
    world = open_world(Settings(replay=lines))
    (bob,) = world.join("bob")
    bob.say("a", "b", "c", "d")
    ann = world.connect()
    ann.read()
    ann.say("ann")
    assert ann.lines()[1:] == ["[12:00] bob: a", "[12:00] bob: b", "[12:00] bob: c", "[12:00] bob: d"][4 - lines :]


def test_a_line_of_another_day_shows_its_date(world: World) -> None:
    assert world.clock.seconds() == NOON
    (bob,) = world.join("bob")
    bob.say("old")
    world.clock.advance(DAY / 2 - 1)
    bob.say("late")
    world.clock.advance(1)
    bob.say("new")
    ann = world.connect()
    ann.say("ann")
    assert ann.lines()[-3:] == ["[2026-01-15 12:00] bob: old", "[2026-01-15 23:59] bob: late", "[00:00] bob: new"]


def test_what_follows_the_nickname_in_the_same_chunk_waits_for_the_room(world: World) -> None:
    (bob,) = world.join("bob")
    ann = world.connect()
    ann.read()
    ann.say("ann", "hi", "/ping", "quit")
    assert ann.lines() == [
        " * You are ann. 1 other is here: bob. /help lists the commands, quit leaves.",
        "-> pong",
        " * Goodbye, ann.",
    ]
    assert bob.lines() == [" * ann joined.", "ann: hi", " * ann left."]


def test_nothing_more_is_read_from_a_newcomer_until_the_room_has_them(world: World) -> None:
    ann = world.connect()
    ann.put("ann\r\n")
    assert not ann.transport.reading
    world.settle()
    assert ann.transport.reading


def test_the_longer_line_may_come_in_the_same_chunk_as_the_nickname(world: World) -> None:
    (bob,) = world.join("bob")
    ann = world.connect()
    ann.say("ann", "x" * 4096)
    assert bob.lines() == [" * ann joined.", "ann: " + "x" * 4096]


def test_two_who_ask_for_a_nickname_at_once_get_it_in_turn(world: World) -> None:
    first, second = world.connect(), world.connect()
    first.read()
    second.read()
    first.put("ann\r\n")
    second.put("Ann\r\n")
    world.settle()
    assert first.read() == ALONE.format("ann")
    assert second.read() == "-> Error: Ann is taken.\r\nNickname: "


def test_two_who_come_at_once_find_each_other_here(world: World) -> None:
    ann, bob = world.connect(), world.connect()
    ann.read()
    bob.read()
    ann.put("ann\r\n")
    bob.put("bob\r\n")
    world.settle()
    assert ann.lines() == [" * You are ann. 1 other is here: bob. /help lists the commands, quit leaves."]
    assert bob.lines() == [" * You are bob. 1 other is here: ann. /help lists the commands, quit leaves."]


def test_the_nickname_of_somebody_who_is_just_leaving_is_free(world: World) -> None:
    ann, carol = world.join("ann", "carol")
    carol.read()
    heir = world.connect()
    heir.read()
    ann.put("my last words\r\nquit\r\n")
    heir.put("ann\r\n")
    world.settle()
    heir.say("my first")
    assert carol.lines() == ["ann: my last words", " * ann left.", " * ann joined.", "ann: my first"]
    assert heir.lines() == [
        " * You are ann. 1 other is here: carol. /help lists the commands, quit leaves.",
        "[12:00] ann: my last words",
    ]
    assert ann.lines()[-1] == " * Goodbye, ann."


def test_a_newcomer_sees_every_line_exactly_once(world: World) -> None:
    """Whatever is said before, in the same burst as, or after the join."""
    bob, carol = world.join("bob", "carol")
    carol.read()
    bob.say("long before")
    bob.put("just before\r\n")
    ann = world.connect()
    ann.read()
    ann.put("ann\r\n")
    bob.put("just after\r\n")
    world.settle()
    bob.say("long after")
    assert ann.lines() == [
        " * You are ann. 2 others are here: bob, carol. /help lists the commands, quit leaves.",
        "[12:00] bob: long before",
        "[12:00] bob: just before",
        "[12:00] bob: just after",
        "bob: long after",
    ]
    assert carol.lines() == [
        "bob: long before",
        "bob: just before",
        " * ann joined.",
        "bob: just after",
        "bob: long after",
    ]


def test_a_newcomer_is_not_told_of_joins_renames_and_leaves_of_their_own_burst(world: World) -> None:
    bob, carol = world.join("bob", "carol")
    ann = world.connect()
    ann.read()
    ann.put("ann\r\n")
    bob.put("/nick rob\r\n")
    carol.put("quit\r\n")
    world.settle()
    assert ann.lines() == [" * You are ann. 1 other is here: rob. /help lists the commands, quit leaves."]


def test_a_newcomer_finds_the_others_under_the_names_that_the_stream_goes_on_with(world: World) -> None:
    """A rename that is still to be told has not happened yet."""
    bob, ann = world.connect(), world.connect()
    ann.read()
    bob.put("bob\r\n/nick rob\r\n")
    ann.put("ann\r\n")
    world.settle()
    assert ann.lines() == [
        " * You are ann. 1 other is here: bob. /help lists the commands, quit leaves.",
        " * bob is now rob.",
    ]


def test_no_nickname_within_a_minute_closes(world: World) -> None:
    person = world.connect()
    person.say("not a nickname")
    person.read()
    world.clock.advance(59.9)
    assert person.read() == ""
    world.clock.advance(0.1)
    assert person.read() == " * No nickname in 60 seconds.\r\n"
    assert person.transport.finished


def test_who_has_a_nickname_may_be_silent_for_hours(world: World) -> None:
    (ann,) = world.join("ann")
    world.clock.advance(DAY)
    world.settle()
    assert ann.read() == ""
    assert not ann.transport.finished
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("start", "spoken"),
    [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"),
        ("POST /ann HTTP/1.1\r\n\r\nann\r\nhi\r\n", "HTTP"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "SSH"),
    ],
)
def test_programs_at_the_wrong_door_are_told_so_and_are_never_a_nickname(world: World, start: str, spoken: str) -> None:
    (bob,) = world.join("bob")
    person = world.connect()
    person.read()
    person.send(start.encode("latin-1"))
    person.send("ann\r\nhi\r\n")
    told = person.lines()
    assert told == [f" * This port speaks plain lines of text, not {spoken}: connect with telnet or nc."]
    assert person.transport.finished
    assert bob.read() == ""


def test_only_the_first_line_can_be_of_another_protocol(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("GET / HTTP/1.1", "SSH-2.0-OpenSSH_9.2p1")
    assert ann.lines() == ["bob: GET / HTTP/1.1", "bob: SSH-2.0-OpenSSH_9.2p1"]


def test_who_comes_and_does_not_read_at_first_is_shown_all_the_same_what_was_said_before(world: World) -> None:
    """Also when much more has been said before they read on."""
    (ann,) = world.join("ann")
    before = [f"{number}" + "x" * 3000 for number in range(20)]
    ann.say(*before)
    bob = world.connect()
    bob.read()
    bob.transport.takes = False
    bob.put("bob\r\n")
    world.settle()
    ann.say(*(f"later {number}" for number in range(100)))
    bob.transport.take_again()
    world.settle()
    lines = bob.lines()
    assert lines[1:21] == [f"[12:00] ann: {text}" for text in before]
    assert lines[21:] == [f"ann: later {number}" for number in range(100)]
