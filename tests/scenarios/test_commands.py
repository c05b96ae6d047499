"""Commands: what each of them answers, by every name that it has. Other files show the larger ones."""

from __future__ import annotations

import pytest

from broadcast.core.commands import COMMANDS
from broadcast.core.settings import Settings
from tests.harness import Person, World
from tests.scenarios.conftest import Opens, at_once

TABLE = """\
-> /help [COMMAND]   lists the commands, or explains one
-> /names   who is here
-> /nick NAME   takes another nickname
-> /me TEXT   says what you do: ** ann waves
-> /say TEXT   says it literally: /say quit
-> /msg NAME TEXT   private to one person
-> /reply TEXT   private to the last person who wrote to you
-> /inbox   the last stored messages to you; /history @NAME shows those with NAME
-> /history [N]   the last N lines, or those of a range: /history #10-#30
-> /search WORDS   the last lines that hold all WORDS: /search "the build" red
-> /files   lists the last 20 files of the room
-> /upload-link   shows how to share one file from a shell, with curl
-> /rooms   lists the rooms
-> /join ROOM   moves to another room, and opens it if there is none
-> /leave   moves back to the room in which you arrived
-> /topic [TEXT]   shows the topic of the room, or sets it
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
-> /register   registers your nickname: asks for a password, and only you can use it then
-> /login NAME   logs in to the registered nickname NAME: asks for its password
-> /logout   logs out: you get another nickname
-> /passwd   changes your password: asks for the old one and the new one
-> /drop   deletes your account: asks for the password, and anybody can use the nickname then
-> /quit [WHY]   leaves
""".splitlines()

MISUSES = {
    "/me TEXT": ["/me", "/me  "],
    "/say TEXT": ["/say", "/say  "],
    "/nick NAME": ["/nick"],
    "/msg NAME TEXT": ["/msg", "/msg bob", "/msg bob  ", "/w bob"],
    "/reply TEXT": ["/reply", "/r  "],
    "/search WORDS": ["/search", "/search ", "/search   "],
    "/join ROOM": ["/join", "/join  "],
    "/unignore NAME": ["/unignore"],
    "/timestamp [on/off]": ["/timestamp maybe"],
    "/receipts [on/off]": ["/receipts 1"],
    "/quiet [on/off]": ["/quiet on off"],
    "/history [N]": [f"/history {asked}" for asked in ("x", "0", "-1", "#", "#1-", "1-3", "٣", "9" * 19)],
}
ERRORS = [
    *((typed, f"usage: {usage}") for usage, lines in MISUSES.items() for typed in lines),
    *(
        (typed, f"unknown command /{verb}. /help lists them.")
        for typed, verb in [
            *(("/x", "x"), ("/X y z", "X"), ("/", ""), ("/ help", ""), ("/" + "y" * 99, "y" * 24)),
            *(("/help frobnicate", "frobnicate"), ("/\x1b[2Jx\x07", "x")),
        ]
    ),
    *(("/nick bob", "bob is taken."), ("/nick  BOB ", "BOB is taken."), ("/nick bo\u200bb", "bob is taken.")),
    ("/nick root", "root is reserved."),
    ("/nick rob\x1b[D", "a nickname holds no control characters, such as those that arrow keys send."),
    ("/nick two words", "a nickname holds only ASCII letters, digits, _, - and ."),
    ("/nick " + "x" * 25, "a nickname has at most 24 characters."),
    *((f"/msg {nick} hi", f"{nick} is not here.") for nick in ("zoe", "x" * 24)),
    ("/msg \x1b[2Jzoe\x07 hi", "zoe is not here."),
    ("/reply hello?", "nobody has written to you yet."),
    ("/ignore Ann", "you cannot ignore yourself."),
    ("/ignore zoe", "zoe is not here."),
    ("/unignore zoe", "you do not ignore zoe."),
    ("/history #2-#1002", "at most 1000 lines at once: /history #2-#1001"),
    ("/history #3000-#5", "at most 1000 lines at once: /history #5-#1004"),
    ("/history #" + "9" * 4000, "usage: /history [N]"),
    ("/search " + "x" * 101, "at most 100 characters can be searched for."),
]


@pytest.mark.parametrize(("typed", "error"), ERRORS)
def test_rejected_command_reads_why_and_others_see_nothing(ann: Person, bob: Person, typed: str, error: str) -> None:
    ann.say(typed, "still ann")
    assert ann.lines() == [f"-> Error: {error}"]
    assert bob.lines() == ["ann: still ann"]


@pytest.mark.parametrize("verb", ["/help", "/h", "/?", "/HELP", "/help  "])
def test_help_lists_every_command(ann: Person, verb: str) -> None:
    ann.say(verb)
    assert ann.lines() == TABLE


def test_help_explains_a_command_by_each_of_its_names(ann: Person) -> None:
    public = [command for command in COMMANDS if not command.is_for_operators and command.name != "oidc"]
    for command, line in zip(public, TABLE, strict=True):
        also = [f"-> also {', '.join(f'/{alias}' for alias in command.aliases)}"] if command.aliases else []
        for name in (command.name, *command.aliases):
            ann.say(f"/help {name}", f"/help  /{name.title()} ")
            assert ann.lines() == [line, *also] * 2


@pytest.mark.parametrize("verb", ["/names", "/who", "/users", "/list"])
def test_names_lists_who_is_here_and_who_is_away(ann: Person, bob: Person, carol: Person, verb: str) -> None:
    bob.say("/away lunch")
    carol.say("/away")
    ann.say(verb)
    bob.say("/back")
    carol.say("quit")
    ann.say(verb)
    assert ann.lines() == [
        *("-> 3 here: ann, bob (away: lunch), carol (away)", " * carol left.", "-> 2 here: ann, bob")
    ]


# /nick


def test_nick_changes_name_at_once_and_its_case_too(ann: Person, bob: Person) -> None:
    bob.say("as bob", "/nick rob", "as rob", "/names", "/nick Rob", "/nick  Rob ")
    assert bob.lines() == ["-> You are rob.", "-> 2 here: ann, rob", "-> You are Rob.", "-> You are Rob."]
    assert ann.lines() == ["bob: as bob", " * bob is now rob.", "rob: as rob", " * rob is now Rob."]


def test_nick_frees_the_old_name_and_takes_the_new_one_at_once(bob: Person, carol: Person) -> None:
    at_once((bob, "/nick rob"), (carol, "/nick rob", "/nick bob"))
    assert carol.lines() == ["-> Error: rob is taken.", "-> You are bob.", " * bob is now rob."]


def test_nick_rejects_lookalikes_of_unicode_nicknames(open_world: Opens) -> None:
    anna, bob = open_world(Settings(unicode_nicknames=True)).join("anna", "bob")
    bob.say("/nick \u0430nna", "/nick b\u043eb")
    anna.read()
    anna.say("/nick bob")
    assert bob.lines() == ["-> Error: \u0430nna looks too much like anna, who is here.", "-> You are b\u043eb."]
    assert anna.lines() == ["-> Error: bob looks too much like b\u043eb, who is here."]


# Switches


@pytest.mark.parametrize(
    ("command", "on", "off"),
    [
        ("/timestamp", "timestamps are on.", "timestamps are off."),
        ("/receipts", "receipts are on.", "receipts are off."),
        ("/quiet", "joins and leaves are off.", "joins and leaves are on."),
    ],
)
def test_switch_without_a_word_toggles(ann: Person, command: str, on: str, off: str) -> None:
    ann.say(command, command, f"{command} off", f"{command} ON", f"{command} on ", f"{command} Off")
    assert ann.lines() == [f"-> {answer}" for answer in (on, off, off, on, on, off)]


def test_timestamp_shows_the_time_of_each_stored_line(ann: Person, bob: Person) -> None:
    ann.say("/timestamp on")
    bob.say("hi", "/me waves", "/msg ann psst", "/nick rob")
    ann.say("/timestamp off")
    bob.say("bye")
    assert ann.lines() == [
        *("-> timestamps are on.", "[12:00] bob: hi", "[12:00] ** bob waves", "[bob] psst", " * bob is now rob."),
        *("-> timestamps are off.", "rob: bye"),
    ]


def test_quiet_hides_joins_and_leaves_and_nothing_else(world: World, ann: Person, bob: Person) -> None:
    ann.say("/quiet on")
    (carol,) = world.join("carol")
    carol.say("hi", "/nick caro", "quit")
    crowd = [world.connect() for _ in range(6)]
    at_once(*((person, f"p{number}", "quit") for number, person in enumerate(crowd)))
    ann.say("/quiet off")
    bob.say("quit")
    assert ann.lines() == [
        *("-> joins and leaves are off.", "carol: hi", " * carol is now caro."),
        *("-> joins and leaves are on.", " * bob left."),
    ]


def test_each_person_has_a_view_of_their_own(world: World, ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/timestamp")
    bob.say("/quiet")
    carol.say("/quiet", "/timestamp")
    (dave,) = world.join("dave")
    for person in (ann, bob, carol):
        person.read()
    world.join("eve")[0].say("hi")
    assert ann.lines() == [" * eve joined.", "[12:00] eve: hi"]
    assert bob.lines() == ["eve: hi"]
    assert carol.lines() == ["[12:00] eve: hi"]
    assert dave.lines() == [" * eve joined.", "eve: hi"]


# What the server says of people and of itself


def test_away_and_back_are_answered(ann: Person, bob: Person) -> None:
    ann.say("/away  lunch ", "/away \x1b]0;x\x07\u0085y", "/away", "/back", "/back")
    assert ann.lines() == [
        *("-> You are away: lunch", "-> You are away: y", "-> You are away.", "-> Welcome back."),
        "-> Welcome back.",
    ]
    assert bob.read() == ""


def test_server_answers_questions_about_itself(open_world: Opens, ann: Person) -> None:
    world = open_world(Settings(version="1.2.3", motd=("Be kind.", "Or else.")))
    (zoe,) = world.join("zoe")
    zoe.say("/PING", "/Ping", "/version", "/motd", "/uptime")
    world.join("bob")
    world.clock.advance(3600)
    zoe.say("hi")
    zoe.say("/uptime")
    assert zoe.lines() == [
        *("-> pong", "-> pong", "-> broadcast 1.2.3", "-> Be kind.", "-> Or else."),
        "-> up since 2026-01-15 12:00, 1 person, 0 lines.",
        " * bob joined.",
        "-> up since 2026-01-15 12:00, 2 people, 1 line.",
    ]
    ann.say("/motd")
    assert ann.lines() == ["-> there is no message of the day."]


@pytest.mark.parametrize(
    ("typed", "end"),
    [
        *((word, ".") for word in ("quit", "exit", "QUIT", "Exit", "  quit  ", "\texit")),
        *((verb, ".") for verb in ("/quit", "/exit", "/q", "/QUIT")),
        *((f"{verb} tired ", ": tired") for verb in ("/quit", "/exit", "/q", "/QUIT")),
    ],
)
def test_quit_leaves_at_once_and_says_why(ann: Person, bob: Person, typed: str, end: str) -> None:
    bob.say("my last words", typed, "not said any more")
    assert ann.lines() == ["bob: my last words", f" * bob left{end}"]
    assert bob.lines() == [" * Goodbye, bob."]
    assert bob.transport.finished
    ann.say("/names", "/msg bob hm")
    assert ann.lines() == ["-> 1 here: ann", "-> Error: bob is not here."]
