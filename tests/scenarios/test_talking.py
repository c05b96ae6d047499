"""PROTOCOL.md, "Talking": what a line means, what the others see of it, and what its typer sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broadcast.core.events import Stored, StoreFailed
from broadcast.journals.memory import MemoryJournal
from tests.harness import World
from tests.scenarios.conftest import Opens


class FaultyJournal(MemoryJournal):
    """Keeps nothing while there is a *fault*."""

    fault = ""

    def _store(self, event: Stored) -> Stored | StoreFailed:
        return StoreFailed(event, self.fault) if self.fault else super()._store(event)


class SlowJournal(MemoryJournal):
    """What comes back waits until the test lets it."""

    def __init__(self, wake: Callable[[Callable[[], None]], object]) -> None:
        self.held: list[Callable[[], None]] = []
        super().__init__(self.held.append)

    def commit(self) -> None:
        """Let what was appended so far come back."""
        held, self.held[:] = list(self.held), []
        for call in held:
            call()


# What a line means


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("hi", ["bob: hi"]),
        ("  indented", ["bob:   indented"]),
        ("trailing  ", ["bob: trailing  "]),
        (" /help", ["bob:  /help"]),
        (" * ann left.", ["bob:  * ann left."]),
        ("I quit", ["bob: I quit"]),
        ("quit it", ["bob: quit it"]),
        ("//help", ["bob: /help"]),
        ("///x", ["bob: //x"]),
        ("//", ["bob: /"]),
        ("héllo wörld ✓", ["bob: héllo wörld ✓"]),
        ("", []),
        ("   ", []),
        ("\t", []),
        ("a\tb", ["bob: a b"]),
    ],
)
def test_a_line_is_said_to_everybody_else(world: World, typed: str, seen: list[str]) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.read()
    bob.read()
    bob.say(typed)
    assert ann.lines() == carol.lines() == seen
    assert bob.read() == ""


@pytest.mark.parametrize("word", ["quit", "exit", "QUIT", "Exit", "  quit  ", "\texit"])
def test_quit_or_exit_as_the_whole_line_leaves(world: World, word: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(word)
    assert ann.lines() == [" * bob left."]
    assert bob.lines() == [" * Goodbye, bob."]
    assert bob.transport.finished


@pytest.mark.parametrize(
    ("typed", "verb"), [("/x", "x"), ("/X y z", "X"), ("/", ""), ("/ help", ""), ("/" + "y" * 99, "y" * 24)]
)
def test_an_unknown_command_is_refused_and_never_said(world: World, typed: str, verb: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(typed)
    assert bob.lines() == [f"-> Error: unknown command /{verb}. /help lists them."]
    assert ann.read() == ""


def test_verbs_are_read_in_any_case(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/PING", "/Ping")
    assert ann.lines() == ["-> pong", "-> pong"]


# What the others see


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("hi", "bob: hi"),
        ("/me waves", "** bob waves"),
        ("quit", " * bob left."),
        ("/quit tired", " * bob left: tired"),
        ("/nick rob", " * bob is now rob."),
        ("/msg ann psst", "[bob] psst"),
    ],
)
def test_what_others_see(world: World, typed: str, seen: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(typed)
    assert ann.read() == seen + "\r\n"


def test_only_the_one_it_is_for_sees_a_whisper(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.read()
    bob.read()
    bob.say("before", "/msg ann psst", "after")
    assert ann.lines() == ["bob: before", "[bob] psst", "bob: after"]
    assert carol.lines() == ["bob: before", "bob: after"]
    assert bob.lines() == ["-> sent to ann."]


@pytest.mark.parametrize("people", [1, 5])
def test_up_to_five_joins_and_leaves_of_a_burst_are_told_one_by_one(world: World, people: int) -> None:
    (ann,) = world.join("ann")
    crowd = [world.connect() for _ in range(people)]
    for number, person in enumerate(crowd):
        person.put(f"p{number}\r\n")
    world.settle()
    assert ann.lines() == [f" * p{number} joined." for number in range(people)]
    for person in crowd:
        person.put("quit\r\n")
    world.settle()
    assert ann.lines() == [f" * p{number} left." for number in range(people)]


def test_more_than_five_joins_or_leaves_of_a_burst_are_told_as_a_number(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    crowd = [world.connect() for _ in range(214)]
    bob.put("before\r\n")
    for number, person in enumerate(crowd):
        person.put(f"p{number}\r\n")
        if number == 100:
            bob.put("between\r\n")
    bob.put("after\r\n")
    world.settle()
    assert ann.lines() == ["bob: before", " * 214 people joined.", "bob: between", "bob: after"]
    bob.put("before\r\n")
    for number, person in enumerate(crowd):
        person.put(f"bye from {number}\r\nquit\r\n" if number % 100 == 0 else "/quit tired\r\n")
    bob.put("after\r\n")
    world.settle()
    assert ann.lines() == [
        "bob: before",
        "p0: bye from 0",
        "p100: bye from 100",
        "p200: bye from 200",
        " * 214 people left.",
        "bob: after",
    ]


def test_everybody_of_a_crowd_that_leaves_reads_their_goodbye_and_no_leaves_of_their_burst(world: World) -> None:
    crowd = world.join(*(f"p{number}" for number in range(7)))
    for person in crowd:
        person.read()
        person.put("quit\r\n")
    world.settle()
    assert [person.read() for person in crowd] == [f" * Goodbye, p{number}.\r\n" for number in range(7)]


# What the typer sees


def test_the_typer_does_not_see_their_own_line_again(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.put("from ann\r\n")
    bob.put("from bob\r\n")
    ann.put("/me waves\r\n")
    world.settle()
    assert ann.lines() == ["bob: from bob"]
    assert bob.lines() == ["ann: from ann", "** ann waves"]


def test_receipts_come_for_what_is_said_after_asking_for_them_and_for_nothing_else(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.put("one\r\n/receipts on\r\ntwo\r\n/me three\r\n")
    bob.put("four\r\n")
    ann.put("/say five\r\n/msg bob psst\r\n//six\r\n\r\n/receipts off\r\nseven\r\n")
    world.settle()
    assert ann.lines() == [
        "-> receipts are on.",
        "-> sent to bob.",
        "-> receipts are off.",
        "-> #2",
        "-> #3",
        "bob: four",
        "-> #5",
        "-> #6",
    ]
    bob.read()
    bob.say("/history #1-#7")
    assert [line.partition(" [12:00] ")[2] for line in bob.lines()] == [
        "ann: one",
        "ann: two",
        "** ann three",
        "bob: four",
        "ann: five",
        "ann: /six",
        "ann: seven",
    ]


def test_a_receipt_comes_before_the_goodbye(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/receipts on", "my last words", "quit")
    assert ann.lines() == ["-> receipts are on.", "-> #1", " * Goodbye, ann."]


def test_a_line_is_told_only_once_it_is_kept(open_world: Opens) -> None:
    world = open_world(journal=SlowJournal)
    journal = world.journal
    assert isinstance(journal, SlowJournal)
    ann, bob = world.connect(), world.connect()
    ann.put("ann\r\n")
    bob.put("bob\r\n")
    journal.commit()
    ann.read()
    bob.read()
    ann.say("/receipts on")
    ann.read()
    ann.say("hi")
    assert ann.read() == bob.read() == ""
    journal.commit()
    assert (ann.read(), bob.read()) == ("-> #1\r\n", "ann: hi\r\n")


def test_what_could_not_be_kept_is_told_to_its_author_alone(open_world: Opens) -> None:
    world = open_world(journal=FaultyJournal)
    journal = world.journal
    assert isinstance(journal, FaultyJournal)
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/receipts on", "kept")
    journal.fault = "the disk is full"
    ann.say("lost", "/me is lost", "/nick anna", "/msg bob psst")
    assert ann.lines() == [
        "-> receipts are on.",
        "-> #1",
        "-> You are anna.",
        "-> sent to bob.",
        "-> Error: not kept: the disk is full",
        "-> Error: not kept: the disk is full",
    ]
    assert bob.lines() == ["ann: kept", " * ann is now anna.", "[anna] psst"]
    journal.fault = ""
    ann.say("kept again")
    assert ann.lines() == ["-> #2"]
    assert bob.lines() == ["anna: kept again"]
    bob.say("/history")
    assert bob.lines() == ["-> #1 [12:00] ann: kept", "-> #2 [12:00] anna: kept again"]


def test_people_come_and_go_while_nothing_can_be_kept(open_world: Opens) -> None:
    world = open_world(journal=FaultyJournal)
    assert isinstance(world.journal, FaultyJournal)
    world.journal.fault = "the disk is full"
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("lost", "quit")
    assert bob.lines() == ["-> Error: not kept: the disk is full", " * Goodbye, bob."]
    assert ann.lines() == [" * bob left."]


# Order


def test_answers_come_in_the_order_of_the_questions(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("hi")
    ann.read()
    ann.say("/ping", "/history", "/ping", "/history 1", "/away", "/names", "/x", "/back")
    assert ann.lines() == [
        "-> pong",
        "-> #1 [12:00] bob: hi",
        "-> pong",
        "-> #1 [12:00] bob: hi",
        "-> You are away.",
        "-> 2 here: ann (away), bob",
        "-> Error: unknown command /x. /help lists them.",
        "-> Welcome back.",
    ]


def test_everybody_reads_the_lines_in_the_same_order(world: World) -> None:
    people = world.join("ann", "bob", "carol")
    for person in people:
        person.read()
    for turn in range(3):
        for nick, person in zip(("ann", "bob", "carol"), people, strict=True):
            person.put(f"{nick} {turn}\r\n")
    world.settle()
    said = [f"{nick}: {nick} {turn}" for turn in range(3) for nick in ("ann", "bob", "carol")]
    for nick, person in zip(("ann", "bob", "carol"), people, strict=True):
        assert person.lines() == [line for line in said if not line.startswith(nick)]


def test_a_paste_of_a_thousand_lines_is_said_whole_and_in_order(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(*(f"{number}" for number in range(1000)), "quit")
    assert ann.lines() == [*(f"bob: {number}" for number in range(1000)), " * bob left."]


def test_others_have_their_turn_during_a_long_paste(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.put("ann\r\n" * 1000)
    bob.put("/receipts on\r\nbob\r\n")
    world.settle()
    lines = carol.lines()
    assert lines.index("bob: bob") < 1000
    assert lines.count("ann: ann") == 1000


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\0"])
def test_lines_may_end_in_any_of_four_ways(world: World, end: str) -> None:
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.send(f"bob{end}one{end}{end}two{end}quit{end}")
    assert ann.lines() == [" * bob joined.", "bob: one", "bob: two", " * bob left."]


# A peer that does not read


def test_who_does_not_read_what_the_room_says_may_talk_on_and_gets_everything_in_order_afterwards(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.transport.takes = False
    for number in range(40):
        bob.say(f"{number} " + "x" * 2000)
    ann.say("/receipts on", "hello", "/ping")
    assert bob.lines() == ["ann: hello"]
    bob.say("still here?", "/msg ann psst")
    ann.transport.take_again()
    assert ann.lines() == [
        *(f"bob: {number} " + "x" * 2000 for number in range(40)),
        "-> receipts are on.",
        "-> pong",
        "-> #41",
        "bob: still here?",
        "[bob] psst",
    ]
    bob.say("and now?")
    assert ann.lines() == ["bob: and now?"]


def test_who_does_not_read_their_answers_is_not_read_from_and_goes_on_afterwards_in_order(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.transport.takes = False
    ann.put("/help\r\n" * 200 + "hello\r\n/ping\r\n")
    world.settle()
    reading = [ann.transport.reading]
    bob.say("hi")
    assert bob.read() == ""
    ann.transport.take_again()
    world.settle()
    assert [*reading, ann.transport.reading] == [False, True]
    assert bob.lines() == ["ann: hello"]
    lines = ann.lines()
    assert lines.count("bob: hi") == 1
    assert lines.count("-> /ping   answers pong") == 200
    assert lines[-1] == "-> pong"


def test_a_private_line_to_somebody_who_does_not_read_theirs_is_refused_to_its_sender(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.read()
    ann.transport.takes = False
    for number in range(100):
        bob.say(f"/msg ann {number} " + "x" * 2000)
    sent = [line == "-> sent to ann." for line in bob.lines()]
    assert sent == [True] * sum(sent) + [False] * (100 - sum(sent))
    assert sum(sent) * 2300 >= 64 * 1024, "64 KiB, with what each of them takes besides its text"
    assert sum(sent) * 2000 < 136 * 1024, "and as many in a transport"
    bob.say("/msg ann hello?")
    assert bob.lines() == ["-> Error: ann does not read what is sent to them."]
    ann.transport.take_again()
    bob.say("/msg ann hello!")
    lines = ann.lines()
    assert len(lines) == sum(sent) + 1
    assert lines[-1] == "[bob] hello!"


def test_who_was_behind_for_too_long_is_told_which_lines_they_missed(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("before")
    ann.read()
    ann.transport.takes = False
    bob.say(*(f"{number} " + "x" * 4000 for number in range(2, 1200)))
    ann.transport.take_again()
    lines = ann.lines()
    (at,) = (at for at, line in enumerate(lines) if line.startswith(" * You missed "))
    first, last = at + 2, 1199 - len(lines[at + 1 :])
    assert lines == [
        *(f"bob: {number} " + "x" * 4000 for number in range(2, first)),
        f" * You missed {last - first + 1} lines (#{first}-#{last}).",
        *(f"bob: {number} " + "x" * 4000 for number in range(last + 1, 1200)),
    ]
    ann.say(f"/history #{last}")
    assert ann.lines() == [f"-> #{last} [12:00] bob: {last} " + "x" * 4000]


def test_who_changes_what_they_see_while_they_do_not_read_can_talk_on(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.transport.takes = False
    bob.say("one")
    ann.say("/timestamp on", "hello")
    bob.say("two")
    ann.transport.take_again()
    assert [line.removeprefix("[12:00] ") for line in ann.lines()] == ["bob: one", "-> timestamps are on.", "bob: two"]
    assert bob.lines() == ["ann: hello"]


def test_others_are_read_from_while_one_does_not_read(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.transport.takes = False
    carol.read()
    bob.say(*["x" * 2000] * 50, "/ping")
    assert bob.lines()[-1] == "-> pong"
    assert len(carol.lines()) == 50


def test_who_asks_for_more_than_they_read_is_answered_as_they_read(world: World) -> None:
    (ann,) = world.join("ann")
    ann.transport.takes = False
    ann.put("/help\r\n" * 200 + "/ping\r\n")
    world.settle()
    assert len(ann.transport.held) < 70_000
    for _ in range(200):
        ann.transport.take_again()
        ann.transport.takes = False
        world.settle()
    ann.transport.take_again()
    world.settle()
    lines = ann.lines()
    assert lines[-1] == "-> pong"
    assert lines.count("-> /help [COMMAND]   lists the commands, or explains one") == 200
