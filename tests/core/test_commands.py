"""The command table: what a line means, and what each command tells, changes or refuses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broadcast.core import commands
from broadcast.core.commands import (
    COMMANDS,
    HISTORY_DEFAULT_LINES,
    HISTORY_MAX_LINES,
    MAX_IGNORED,
    NAMES_LINE_CHARS,
    NAMES_PER_LINE,
    SEARCH_MAX_LINES,
    is_quit,
)
from broadcast.core.errors import JournalError
from broadcast.core.events import (
    Action,
    CommandReply,
    ErrorReply,
    Event,
    HistoryLine,
    Message,
    Notice,
    PrivateMessage,
    Uptime,
)
from broadcast.core.hub import Settings
from broadcast.core.interfaces import ReadCallback, View
from broadcast.core.limits import Limits
from broadcast.core.search_query import SearchQuery
from tests.core.stage import AT, Seat, Stage


@pytest.fixture
def stage() -> Stage:
    """An open room."""
    stage = Stage(Settings(version="1.2"))
    stage.hub.open()
    return stage


@pytest.fixture
def ann(stage: Stage) -> Seat:
    """Somebody in it."""
    return stage.join("ann")[0]


@pytest.fixture
def bob(stage: Stage, ann: Seat) -> Seat:
    """Somebody else."""
    (bob,) = stage.join("bob")
    ann.look()
    return bob


def answers(*lines: str) -> list[Event | Notice]:
    return [CommandReply(line) for line in lines]


# The table


def test_no_word_calls_two_commands() -> None:
    words = [word for command in COMMANDS for word in (command.name, *command.aliases)]
    assert len(words) == len(set(words)) == len(commands._BY_NAME)
    assert all(word == word.casefold() for word in words)


def test_the_table_is_that_of_the_protocol() -> None:
    assert [(command.syntax, command.aliases) for command in COMMANDS] == [
        ("/help [COMMAND]", ("h", "?")),
        ("/names", ("who", "users", "list")),
        ("/nick NAME", ()),
        ("/me TEXT", ()),
        ("/say TEXT", ()),
        ("/msg NAME TEXT", ("m", "tell", "w")),
        ("/reply TEXT", ("r",)),
        ("/history [N]", ()),
        ("/search WORDS", ()),
        ("/timestamp [on/off]", ()),
        ("/receipts [on/off]", ()),
        ("/quiet [on/off]", ()),
        ("/ignore [NAME]", ()),
        ("/unignore NAME", ()),
        ("/away [WHY]", ()),
        ("/back", ()),
        ("/ping", ()),
        ("/uptime", ()),
        ("/version", ()),
        ("/motd", ()),
        ("/quit [WHY]", ("exit", "q")),
    ]


@pytest.mark.parametrize("line", ["quit", "exit", " QUIT ", "Exit"])
def test_lines_that_leave(line: str) -> None:
    assert is_quit(line)


@pytest.mark.parametrize("line", ["", "/quit", "quit now", "quits", "q"])
def test_lines_that_do_not(line: str) -> None:
    assert not is_quit(line)


# Lines


@pytest.mark.parametrize(("line", "text"), [("hi", "hi"), ("  hi", "  hi"), ("//x", "/x"), ("//", "/")])
def test_text_is_said(ann: Seat, bob: Seat, line: str, text: str) -> None:
    ann.say(line)
    assert bob.look() == [Message(ann.session.id, "ann", text, AT, 1)]


@pytest.mark.parametrize("line", ["", " ", "\u3000"])
def test_nothing_is_not_said(ann: Seat, bob: Seat, line: str) -> None:
    ann.say(line)
    assert ann.look() == bob.look() == []


def test_the_whole_line_quit_leaves(ann: Seat) -> None:
    ann.say("quit")
    assert ann.closed


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/x", "unknown command /x. /help lists them."),
        ("/help x", "unknown command /x. /help lists them."),
        ("/me", "usage: /me TEXT"),
        ("/msg bob", "usage: /msg NAME TEXT"),
        ("/msg zoe hi", "zoe is not here."),
        ("/reply hi", "nobody has written to you yet."),
        ("/history x", "usage: /history [N]"),
        ("/history #1-#1001", "at most 1000 lines at once: /history #1-#1000"),
        ("/search", "usage: /search WORDS"),
        ("/search " + "x" * 101, "at most 100 characters can be searched for."),
        ("/quiet x", "usage: /quiet [on/off]"),
        ("/ignore ANN", "you cannot ignore yourself."),
        ("/ignore zoe", "zoe is not here."),
        ("/unignore zoe", "you do not ignore zoe."),
        ("/nick server", "server is reserved."),
    ],
)
def test_refusals(ann: Seat, bob: Seat, line: str, why: str) -> None:
    ann.say(line)
    assert ann.look() == [ErrorReply(why)]
    assert bob.look() == []


# Commands


def test_help(ann: Seat) -> None:
    ann.say("/help")
    assert len(ann.look()) == len(COMMANDS)
    ann.say("/help /Q", "/? back")
    assert ann.look() == answers("/quit [WHY]   leaves", "also /exit, /q", "/back   you are here again")


def test_names(ann: Seat, bob: Seat) -> None:
    bob.say("/away")
    ann.say("/names")
    bob.say("/away lunch")
    ann.say("/names")
    bob.say("/back")
    ann.say("/names")
    assert ann.look() == answers("2 here: ann, bob (away)", "2 here: ann, bob (away: lunch)", "2 here: ann, bob")


MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


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
def test_names_tells_who_has_typed_nothing_for_how_long(ann: Seat, bob: Seat, seconds: float, shown: str) -> None:
    ann.session.line("/names", AT + seconds)
    assert ann.look() == answers(f"2 here: ann, {shown}")


def test_names_tells_it_of_those_who_are_away_too(ann: Seat, bob: Seat) -> None:
    bob.say("/away lunch")
    ann.session.line("/names", AT + 12 * MINUTE)
    bob.say("/away")
    ann.session.line("/names", AT + 12 * MINUTE)
    assert ann.look() == answers("2 here: ann, bob (away: lunch, idle 12m)", "2 here: ann, bob (away, idle 12m)")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("hi", "bob"),
        ("", "bob"),
        ("/nonsense", "bob"),
        ("/back", "bob"),
        ("/ping", "bob (idle 10m)"),
    ],
)
def test_every_line_is_a_sign_of_somebody_but_for_the_ping_that_programs_send(
    ann: Seat, bob: Seat, line: str, shown: str
) -> None:
    bob.session.line(line, AT + 9 * MINUTE)
    ann.session.line("/names", AT + 10 * MINUTE)
    assert ann.look() == answers(f"2 here: ann, {shown}")


def test_who_has_just_come_has_just_typed_a_nickname(stage: Stage, ann: Seat) -> None:
    bob = Seat(stage)
    bob.session.start()
    bob.session.line("bob", AT + HOUR)
    stage.settle()
    bob.look()
    bob.session.line("/names", AT + HOUR + MINUTE)
    assert bob.look() == answers("2 here: ann (idle 1h), bob")


def test_many_names_are_several_lines(stage: Stage, ann: Seat) -> None:
    stage.join(*(f"p{number}" for number in range(250)))
    ann.look()
    ann.say("/names", "/ping")
    first, second, third, pong = (notice.text for notice in ann.look() if isinstance(notice, CommandReply))
    assert first.startswith("251 here: ann, p0, p1, ")
    assert [line.endswith(",") for line in (first, second, third)] == [True, True, False]
    named = " ".join([first.removeprefix("251 here: "), second, third]).split(", ")
    assert named == ["ann", *(f"p{number}" for number in range(250))]
    assert [line.count(",") for line in (first, second)] == [NAMES_PER_LINE, NAMES_PER_LINE]
    assert pong == "pong"


def test_as_many_as_one_line_holds_are_one_line(stage: Stage, ann: Seat) -> None:
    stage.join(*(f"p{number}" for number in range(NAMES_PER_LINE - 1)))
    ann.look()
    ann.say("/names")
    (line,) = ann.look()
    assert isinstance(line, CommandReply)
    assert line.text.count(", ") == NAMES_PER_LINE - 1


def test_a_line_of_names_is_no_longer_than_a_line_may_be(stage: Stage, ann: Seat) -> None:
    people = stage.join("b", "c", "d")
    for person in people:
        person.say("/away " + "z" * (NAMES_LINE_CHARS // 2))
    ann.look()
    ann.say("/names")
    texts = [notice.text for notice in ann.look() if isinstance(notice, CommandReply)]
    assert [text[:14] for text in texts] == ["4 here: ann, b", "c (away: zzzzz", "d (away: zzzzz"]
    assert all(len(text) <= NAMES_LINE_CHARS + 1 for text in texts)


def test_nick(ann: Seat) -> None:
    ann.say("/nick anna")
    assert ann.look() == answers("You are anna.")
    assert ann.session.nick == "anna"


def test_me_and_say(ann: Seat, bob: Seat) -> None:
    ann.say("/me  waves ", "/say quit")
    assert bob.look() == [
        Action(ann.session.id, "ann", "waves", AT, 1),
        Message(ann.session.id, "ann", "quit", AT, 2),
    ]


def test_msg_and_reply(ann: Seat, bob: Seat) -> None:
    ann.say("/away", "/msg bob  psst ")
    bob.say("/reply what?")
    ann.say("/away lunch")
    bob.say("/msg ann now?")
    ann.say("/back")
    bob.say("/r hm")
    a, b = ann.session.id, bob.session.id
    assert bob.look() == [
        PrivateMessage(a, "ann", b, "psst"),
        CommandReply("sent to ann, who is away."),
        CommandReply("sent to ann, who is away: lunch"),
        CommandReply("sent to ann."),
    ]
    assert [event for event in ann.look() if not isinstance(event, CommandReply)] == [
        PrivateMessage(b, "bob", a, "what?"),
        PrivateMessage(b, "bob", a, "now?"),
        PrivateMessage(b, "bob", a, "hm"),
    ]


def comes_and_is_seen_by_some(stage: Stage, nick: str) -> Seat:
    """Somebody of whose coming not everybody has been told yet."""
    newcomer = Seat(stage)
    newcomer.session.start()
    stage.holds = True
    newcomer.session.line(nick, AT)
    stage.settle()
    newcomer.look()
    return newcomer


def test_whom_one_has_seen_coming_can_be_written_to(stage: Stage, ann: Seat) -> None:
    bob = comes_and_is_seen_by_some(stage, "bob")
    ann.session.line("/msg bob hi", AT)
    assert ann.look()[1:] == [CommandReply("sent to bob.")]
    stage.go_on()
    assert bob.look()[-1:] == [PrivateMessage(1, "ann", 2, "hi")]


def test_whom_one_has_not_seen_coming_cannot(stage: Stage, ann: Seat) -> None:
    bob = Seat(stage)
    bob.session.start()
    bob.session.line("bob", AT)
    ann.session.line("/msg bob hi", AT)
    assert ann.look() == [ErrorReply("bob is not here.")]


def test_whom_one_has_seen_coming_is_named(stage: Stage, ann: Seat) -> None:
    comes_and_is_seen_by_some(stage, "bob")
    ann.session.line("/names", AT)
    assert not ann.session.ready
    stage.go_on()
    assert ann.look()[1:] == [CommandReply("2 here: ann, bob")]
    assert ann.session.ready


def test_reply_goes_to_the_last_one_who_was_read_also_while_others_are_still_told(
    stage: Stage, ann: Seat, bob: Seat
) -> None:
    (carol,) = stage.join("carol")
    carol.say("/msg ann first")
    stage.holds = True
    bob.say("/msg ann second")
    ann.look()
    ann.session.line("/reply yes", AT)
    assert ann.look() == [CommandReply("sent to bob.")]
    stage.go_on()
    assert bob.look()[-1:] == [PrivateMessage(1, "ann", 2, "yes")]


def test_reply_to_who_has_left_is_refused(ann: Seat, bob: Seat) -> None:
    bob.say("/msg ann psst", "quit")
    ann.look()
    ann.say("/reply hm")
    assert ann.look() == [ErrorReply("the one who wrote to you last is not here.")]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("", range(31 - HISTORY_DEFAULT_LINES, 31)),
        ("2", [29, 30]),
        ("99999", range(1, 31)),
        ("#7", [7]),
        ("#7-#9", [7, 8, 9]),
        ("#29-40", [29, 30]),
    ],
)
def test_history(stage: Stage, ann: Seat, asked: str, numbers: Sequence[int]) -> None:
    ann.say(*(f"line {number}" for number in range(1, 31)), f"/history {asked}")
    assert ann.look() == [HistoryLine(Message(0, "ann", f"line {number}", AT, number)) for number in numbers]
    assert ann.session.ready


@pytest.mark.parametrize("newest", [0, 5, 5000])
def test_history_never_asks_for_more_than_it_shows(newest: int) -> None:
    first, last = commands._parse_range("123456789")(newest)
    assert (first, last) == (newest - HISTORY_MAX_LINES + 1, newest)


def test_history_of_nothing(ann: Seat) -> None:
    ann.say("/history")
    assert ann.look() == answers("nothing was said yet.")


def test_the_next_line_waits_for_the_history(stage: Stage, ann: Seat) -> None:
    ann.session.line("/history", AT)
    assert not ann.session.ready
    stage.settle()
    assert ann.session.ready


def test_history_that_cannot_be_read(stage: Stage, ann: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(first: int, last: int, found: ReadCallback) -> None:
        found(JournalError("I/O error"))

    monkeypatch.setattr(stage.journal, "read", read)
    ann.say("/history")
    assert ann.look() == [ErrorReply("the history cannot be read: I/O error")]
    assert ann.session.ready


def test_search(stage: Stage, ann: Seat) -> None:
    ann.say(*(f"line {number}" for number in range(1, 61)), "/search LINE", '/search "line 7"', "/search lines")
    found = [(event.event.seq if isinstance(event, HistoryLine) else event) for event in ann.look()]
    assert found == [*range(61 - SEARCH_MAX_LINES, 61), 7, CommandReply("nothing found.")]


def test_search_that_cannot_be_done(stage: Stage, ann: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(words: SearchQuery, last: int, most: int, found: ReadCallback) -> None:
        found(JournalError("its SQLite has no FTS5."))

    monkeypatch.setattr(stage.journal, "search", search)
    ann.say("/search x")
    assert ann.look() == [ErrorReply("this server cannot search: its SQLite has no FTS5.")]
    assert ann.session.ready


def test_switches(ann: Seat) -> None:
    ann.say("/timestamp", "/quiet ON", "/receipts on", "/timestamp off", "/quiet", "/receipts Off")
    assert ann.look() == answers(
        "timestamps are on.",
        "joins and leaves are off.",
        "receipts are on.",
        "timestamps are off.",
        "joins and leaves are on.",
        "receipts are off.",
    )
    assert ann.views == [View(), View(times=True), View(times=True, quiet=True), View(quiet=True), View()]


def test_receipts_are_asked_for_with_each_line(ann: Seat, bob: Seat) -> None:
    ann.say("/receipts on", "hi", "/me waves", "/receipts off", "ho")
    assert [event.receipt for event in bob.look() if isinstance(event, Message | Action)] == [True, True, False]


def test_so_many_can_be_ignored_and_not_one_more(stage: Stage, ann: Seat) -> None:
    stage.join(*(f"p{number}" for number in range(MAX_IGNORED + 1)))
    ann.say(*(f"/ignore p{number}" for number in range(MAX_IGNORED)))
    assert len(ann.session.member.ignored) == MAX_IGNORED
    ann.look()
    ann.say(f"/ignore p{MAX_IGNORED}")
    assert ann.look() == [ErrorReply("you ignore 100 people already. /unignore NAME makes room.")]
    ann.say("/unignore p0", f"/ignore p{MAX_IGNORED}")
    assert len(ann.session.member.ignored) == MAX_IGNORED


def test_ignore_and_unignore(ann: Seat, bob: Seat) -> None:
    ann.say("/ignore", "/ignore BOB", "/ignore")
    bob.say("hi")
    ann.say("/unignore Bob")
    bob.say("ho")
    assert ann.look() == [
        *answers("you ignore nobody.", "you ignore bob. /unignore bob ends that.", "you ignore bob."),
        *answers("you no longer ignore bob."),
        Message(bob.session.id, "bob", "ho", AT, 2),
    ]


def test_away_and_back(ann: Seat) -> None:
    ann.say("/away", "/away lunch", "/back")
    assert ann.look() == answers("You are away.", "You are away: lunch", "Welcome back.")
    assert not ann.session.member.away


def test_what_the_server_says_of_itself(ann: Seat) -> None:
    ann.say("/ping", "/uptime", "/version", "/motd")
    assert ann.look() == [
        CommandReply("pong"),
        Uptime(AT, 1, 0),
        CommandReply("broadcast 1.2"),
        CommandReply("there is no message of the day."),
    ]


def test_quit_says_why(ann: Seat) -> None:
    ann.say("/quit  tired ")
    assert ann.closed
    assert ann.session.leave_reason == "tired"


# Faster than the journal, or than those who read


def limited(limits: Limits) -> Stage:
    """A room with other limits."""
    stage = Stage(Settings(limits=limits))
    stage.hub.open()
    return stage


def test_who_says_more_than_the_journal_has_kept_waits_and_nothing_is_lost() -> None:
    stage = limited(Limits(high_water_events=3))
    (ann,) = stage.join("ann")
    ready = []
    for line in ("one", "/me two", "/nick anna"):
        ready.append(ann.session.ready)
        ann.session.line(line, AT)
    ready.append(ann.session.ready)
    stage.settle()
    ready.append(ann.session.ready)
    assert ready == [True, True, True, False, True]
    assert stage.room.last_seq == 2


def test_who_waits_for_an_answer_is_not_let_on_by_the_journal() -> None:
    stage = limited(Limits(high_water_events=1))
    (ann,) = stage.join("ann")
    ann.say("one")
    proceeded = ann.proceeded
    ann.session.line("/history", AT)
    stage.settle()
    assert ann.proceeded == proceeded + 1


def test_who_whispers_a_lot_waits_until_it_is_told_and_is_never_refused(stage: Stage, ann: Seat) -> None:
    bob, carol = stage.join("bob", "carol")
    waited = 0
    for number in range(100):
        ann.session.line(f"/msg bob {number} " + "x" * 4000, AT)
        if not ann.session.ready:
            waited += 1
            stage.settle()
    stage.settle()
    assert [notice for notice in ann.look() if isinstance(notice, CommandReply | ErrorReply)] == [
        CommandReply("sent to bob.")
    ] * 100
    assert len([event for event in bob.look() if isinstance(event, PrivateMessage)]) == 100
    assert waited > 10
    bob.congested = True
    carol.say("/msg bob hm")
    assert carol.look() == [ErrorReply("bob does not read what is sent to them.")]


def test_history_is_shown_in_pages_each_when_there_is_room(stage: Stage, ann: Seat) -> None:
    ann.say(*(f"{number}" for number in range(1, 51)))
    ann.congested = True
    ann.say("/history 40")
    pages = []
    while ann.waiting is not None:
        pages.append(len(ann.look()))
        assert not ann.session.ready
        waiting, ann.waiting = ann.waiting, None
        waiting()
        stage.settle()
    pages.append(len(ann.look()))
    assert pages == [16, 16, 8]
    assert ann.session.ready


def test_what_is_said_while_a_history_is_shown_is_no_part_of_it(stage: Stage, ann: Seat) -> None:
    ann.say(*(f"{number}" for number in range(1, 21)))
    ann.congested = True
    ann.say("/history #1-#99")
    (bob,) = stage.join("bob")
    bob.say("too late")
    ann.look()
    assert ann.waiting is not None
    ann.waiting()
    stage.settle()
    assert [notice.event.text for notice in ann.look() if isinstance(notice, HistoryLine)] == ["17", "18", "19", "20"]


def test_a_history_that_cannot_be_read_on_says_so(stage: Stage, ann: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann.say(*(f"{number}" for number in range(1, 21)))
    ann.congested = True
    ann.say("/history")
    ann.look()
    monkeypatch.setattr(stage.journal, "read", lambda _first, _last, found: found(JournalError("I/O error")))
    assert ann.waiting is not None
    ann.waiting()
    assert ann.look() == [ErrorReply("the history cannot be read: I/O error")]
    assert ann.session.ready
