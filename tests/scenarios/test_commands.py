"""PROTOCOL.md, "Commands": what each of them answers, by every name that it has; but for those of the other files."""

from __future__ import annotations

import pytest

from broadcast.core.commands import COMMANDS
from broadcast.core.hub import Settings
from tests.harness import World
from tests.scenarios.conftest import Opens

TABLE = """\
-> /help [COMMAND]   lists the commands, or explains one
-> /names   who is here
-> /nick NAME   takes another nickname
-> /me TEXT   says what you do: ** ann waves
-> /say TEXT   says it literally: /say quit
-> /msg NAME TEXT   private to one person
-> /reply TEXT   private to whoever wrote to you last
-> /history [N]   the last N lines, or those of a range: /history #10-#30
-> /search WORDS   the last lines that hold all WORDS: /search "the build" red
-> /timestamp [on/off]   shows the time of each line
-> /receipts [on/off]   tells the number under which each of your lines is kept
-> /quiet [on/off]   hides who joins and leaves
-> /ignore [NAME]   hides what NAME says, does and whispers; alone, lists whom
-> /unignore NAME   shows it again
-> /away [WHY]   tells those who look or write that you are away
-> /back   you are here again
-> /ping   answers pong
-> /uptime   since when the server runs, and how much there is
-> /version   name and version of the server
-> /motd   the message of the day
-> /quit [WHY]   leaves
""".splitlines()


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("/me", "/me TEXT"),
        ("/me  ", "/me TEXT"),
        ("/say", "/say TEXT"),
        ("/say  ", "/say TEXT"),
        ("/nick", "/nick NAME"),
        ("/msg", "/msg NAME TEXT"),
        ("/msg bob", "/msg NAME TEXT"),
        ("/msg bob  ", "/msg NAME TEXT"),
        ("/w bob", "/msg NAME TEXT"),
        ("/reply", "/reply TEXT"),
        ("/r  ", "/reply TEXT"),
        ("/unignore", "/unignore NAME"),
        ("/timestamp maybe", "/timestamp [on/off]"),
        ("/receipts 1", "/receipts [on/off]"),
        ("/quiet on off", "/quiet [on/off]"),
        ("/history x", "/history [N]"),
        ("/history 0", "/history [N]"),
        ("/history -1", "/history [N]"),
        ("/history #", "/history [N]"),
        ("/history #1-", "/history [N]"),
        ("/history 1-3", "/history [N]"),
        ("/history ٣", "/history [N]"),
        ("/history " + "9" * 19, "/history [N]"),
    ],
)
def test_what_is_misused_is_refused_with_its_usage(world: World, typed: str, answer: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say(typed)
    assert ann.lines() == [f"-> Error: usage: {answer}"]
    assert bob.read() == ""


# /help


@pytest.mark.parametrize("verb", ["/help", "/h", "/?", "/HELP", "/help  "])
def test_help_lists_every_command(world: World, verb: str) -> None:
    (ann,) = world.join("ann")
    ann.say(verb)
    assert ann.lines() == TABLE


@pytest.mark.parametrize("asked", ["msg", "/msg", "w", "/Tell", " m "])
def test_help_explains_one_command_by_any_of_its_names(world: World, asked: str) -> None:
    (ann,) = world.join("ann")
    ann.say(f"/help {asked}")
    assert ann.lines() == ["-> /msg NAME TEXT   private to one person", "-> also /m, /tell, /w"]


def test_help_explains_a_command_with_one_name(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/help ping")
    assert ann.lines() == ["-> /ping   answers pong"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_knows_every_command(world: World, command: object) -> None:
    assert command in COMMANDS
    (ann,) = world.join("ann")
    ann.say(*(f"/help {each.name}" for each in COMMANDS if each is command))
    assert ann.lines()[0] in TABLE


def test_help_refuses_what_it_does_not_know(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/help frobnicate")
    assert ann.lines() == ["-> Error: unknown command /frobnicate. /help lists them."]


# /names


@pytest.mark.parametrize("verb", ["/names", "/who", "/users", "/list"])
def test_names_lists_who_is_here_and_who_is_away(world: World, verb: str) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    bob.say("/away lunch")
    carol.say("/away")
    ann.read()
    ann.say(verb)
    assert ann.lines() == ["-> 3 here: ann, bob (away: lunch), carol (away)"]
    bob.say("/back")
    carol.say("quit")
    ann.read()
    ann.say(verb)
    assert ann.lines() == ["-> 2 here: ann, bob"]


# /nick


def test_nick_takes_another_nickname_at_once(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("as bob", "/nick rob", "as rob", "/names")
    assert bob.lines() == ["-> You are rob.", "-> 2 here: ann, rob"]
    assert ann.lines() == ["bob: as bob", " * bob is now rob.", "rob: as rob"]


@pytest.mark.parametrize(
    ("nick", "why"),
    [
        ("ann", "ann is taken."),
        ("Ann", "Ann is taken."),
        ("root", "root is reserved."),
        ("two words", "a nickname holds only ASCII letters, digits, _, - and ."),
        ("x" * 25, "a nickname has at most 24 characters."),
    ],
)
def test_nick_refuses_as_the_prompt_does(world: World, nick: str, why: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(f"/nick {nick}", "still bob")
    assert bob.lines() == [f"-> Error: {why}"]
    assert ann.lines() == ["bob: still bob"]


def test_nick_may_change_the_case_of_the_same_name(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("/nick Bob", "/nick  Bob ")
    assert bob.lines() == ["-> You are Bob.", "-> You are Bob."]
    assert ann.lines() == [" * bob is now Bob."]


def test_the_old_nickname_is_free_and_the_new_one_taken(world: World) -> None:
    bob, carol = world.join("bob", "carol")
    bob.put("/nick rob\r\n")
    carol.put("/nick rob\r\n/nick bob\r\n")
    world.settle()
    assert carol.lines() == ["-> Error: rob is taken.", "-> You are bob.", " * bob is now rob."]


def test_nick_keeps_unicode_nicknames_apart_from_their_look_alikes(open_world: Opens) -> None:
    world = open_world(Settings(unicode_nicknames=True))
    anna, bob = world.join("anna", "bob")
    bob.say("/nick \u0430nna", "/nick b\u043eb")
    anna.read()
    assert bob.lines() == [
        "-> Error: \u0430nna looks too much like anna, who is here.",
        "-> You are b\u043eb.",
    ]
    anna.say("/nick bob")
    assert anna.lines() == ["-> Error: bob looks too much like b\u043eb, who is here."]


# /me, /say


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("/me waves", "** bob waves"),
        ("/ME  waves  ", "** bob waves"),
        ("/say quit", "bob: quit"),
        ("/say /help", "bob: /help"),
        ("/say //x", "bob: //x"),
        ("/say  two blanks", "bob:  two blanks"),
    ],
)
def test_me_acts_and_say_is_literal(world: World, typed: str, seen: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(typed)
    assert ann.lines() == [seen]
    assert bob.read() == ""


# Switches


def test_timestamp_shows_the_time_of_each_line(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/timestamp on")
    bob.say("hi", "/me waves", "/msg ann psst", "/nick rob")
    ann.say("/timestamp off")
    bob.say("bye")
    assert ann.lines() == [
        "-> timestamps are on.",
        "[12:00] bob: hi",
        "[12:00] ** bob waves",
        "[bob] psst",
        " * bob is now rob.",
        "-> timestamps are off.",
        "rob: bye",
    ]


def test_quiet_hides_joins_and_leaves_and_nothing_else(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/quiet on")
    (carol,) = world.join("carol")
    carol.say("hi", "/nick caro", "quit")
    crowd = [world.connect() for _ in range(6)]
    for number, person in enumerate(crowd):
        person.put(f"p{number}\r\nquit\r\n")
    world.settle()
    ann.say("/quiet off")
    bob.say("quit")
    assert ann.lines() == [
        "-> joins and leaves are off.",
        "carol: hi",
        " * carol is now caro.",
        "-> joins and leaves are on.",
        " * bob left.",
    ]


@pytest.mark.parametrize(
    ("command", "on", "off"),
    [
        ("/timestamp", "timestamps are on.", "timestamps are off."),
        ("/receipts", "receipts are on.", "receipts are off."),
        ("/quiet", "joins and leaves are off.", "joins and leaves are on."),
    ],
)
def test_a_switch_without_a_word_toggles(world: World, command: str, on: str, off: str) -> None:
    (ann,) = world.join("ann")
    ann.say(command, command, f"{command} off", f"{command} ON", f"{command} on ", f"{command} Off")
    assert ann.lines() == [f"-> {answer}" for answer in (on, off, off, on, on, off)]


def test_views_are_each_readers_own(world: World) -> None:
    ann, bob, carol, dave = world.join("ann", "bob", "carol", "dave")
    ann.say("/timestamp")
    bob.say("/quiet")
    carol.say("/quiet", "/timestamp")
    for person in (ann, bob, carol, dave):
        person.read()
    (eve,) = world.join("eve")
    eve.say("hi")
    assert ann.lines() == [" * eve joined.", "[12:00] eve: hi"]
    assert bob.lines() == ["eve: hi"]
    assert carol.lines() == ["[12:00] eve: hi"]
    assert dave.lines() == [" * eve joined.", "eve: hi"]


# /away, /back, and what the server says of itself


def test_away_and_back(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/away  lunch ", "/away", "/back", "/back")
    assert ann.lines() == ["-> You are away: lunch", "-> You are away.", "-> Welcome back.", "-> Welcome back."]
    assert bob.read() == ""


def test_ping(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/ping")
    assert ann.read() == "-> pong\r\n"


def test_uptime_tells_since_when_and_how_many_people_and_lines(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/uptime")
    assert ann.lines() == ["-> up since 2026-01-15 12:00, 1 person, 0 lines."]
    world.join("bob")
    world.clock.advance(3600)
    ann.read()
    ann.say("hi")
    ann.say("/uptime")
    assert ann.lines() == ["-> up since 2026-01-15 12:00, 2 people, 1 line."]


def test_version(open_world: Opens) -> None:
    (ann,) = open_world(Settings(version="1.2.3")).join("ann")
    ann.say("/version")
    assert ann.lines() == ["-> broadcast 1.2.3"]


def test_motd(open_world: Opens, world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/motd")
    assert ann.lines() == ["-> there is no message of the day."]
    (bob,) = open_world(Settings(motd=("Be kind.", "Or else."))).join("bob")
    bob.say("/motd")
    assert bob.lines() == ["-> Be kind.", "-> Or else."]


# /quit


@pytest.mark.parametrize("verb", ["/quit", "/exit", "/q", "/QUIT"])
@pytest.mark.parametrize(("why", "told"), [("", " * bob left."), (" tired ", " * bob left: tired")])
def test_quit_leaves_and_may_say_why(world: World, verb: str, why: str, told: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(verb + why, "not said any more")
    assert bob.lines() == [" * Goodbye, bob."]
    assert ann.lines() == [told]
    assert bob.transport.finished
