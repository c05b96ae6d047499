"""Talking: the meaning of a line, and what the others and its author see of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broadcast.core.events import Action, Event, Message, StoreFailed
from broadcast.core.limits import Limits
from broadcast.journals.memory import MemoryJournal, MemoryRoomLog
from tests.harness import Person, World, is_read_from
from tests.scenarios.conftest import Opens, at_once, newcomer


class FaultyJournal(MemoryJournal):
    """A journal that stores nothing while it has a *fault*."""

    fault = ""

    def append(self, log: MemoryRoomLog, event: Event) -> None:
        if self.fault and isinstance(event, (Message, Action)):
            event = StoreFailed(event, self.fault)
        super().append(log, event)


class SlowJournal(MemoryJournal):
    """A journal that commits only when the test says so."""

    def __init__(self, wake: Callable[[Callable[[], None]], object]) -> None:
        self._uncommitted: list[Callable[[], None]] = []
        super().__init__(self._uncommitted.append)

    def commit(self) -> None:
        """Return what was appended so far."""
        uncommitted, self._uncommitted[:] = list(self._uncommitted), []
        for call in uncommitted:
            call()


# The meaning of a line


@pytest.mark.one_door
@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        *((text, f"bob: {text}") for text in ("hi", "  indented", "trailing  ", " /help", "I quit", "quit it")),
        *((text, f"bob: {text}") for text in (" * ann left.", "[ann] psst", "-> Error: your password?", "-> #1")),
        *((text, f"bob: {text}") for text in ("GET / HTTP/1.1", "héllo wörld ✓", "שלום a", "🙂", "x" * 4096)),
        *(("//help", "bob: /help"), ("///x", "bob: //x"), ("//", "bob: /"), ("a\tb", "bob: a b")),
        *(("/me waves", "** bob waves"), ("/ME  waves  ", "** bob waves"), ("/me \x1b[1Aann: hi", "** bob ann: hi")),
        *((f"/say {text}", f"bob: {text}") for text in ("quit", "/help", "//x", " two blanks")),
        *((blank, None) for blank in ("", "   ", "\t", "\u2028\u2028", "\x07" * 4096)),
    ],
)
def test_line_is_said_to_everybody_else(ann: Person, bob: Person, carol: Person, typed: str, seen: str | None) -> None:
    bob.say(typed)
    assert ann.lines() == carol.lines() == ([seen] if seen else [])
    assert bob.read() == ""


@pytest.mark.one_door
@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("\x1b[2Jhi\x07", "hi"),
        ("\x9b2Jhi", "hi"),
        ("\x1b[Aa\x1b]0;title\x07b\x1bc", "abc"),
        ("a\x00b\x01c", "abc"),
        ("\u202ehi\u2066", "hi"),
        ("a\u200bb\ufeffc\u200cd\u200de", "abc\u200cd\u200de"),
        ("hi\U000e0041", "hi"),
        ("a\u2028b\u2029c\x85d\te", "a b c d e"),
        ("e" + "\u0330" * 20, "\u1e1b" + "\u0330" * 7),
    ],
)
def test_unsafe_characters_are_removed_before_anybody_sees_them(
    ann: Person, bob: Person, typed: str, seen: str
) -> None:
    bob.say(typed, f"/me {typed}", f"/msg ann {typed}", f"/quit {typed}")
    assert ann.lines() == [f"bob: {seen}", f"** bob {seen}", f"[bob] {seen}", f" * bob left: {seen}"]


@pytest.mark.parametrize(
    ("limits", "line_bytes", "nick_bytes"), [(None, 4096, 512), (Limits(line_bytes=200, nickname_bytes=30), 200, 30)]
)
def test_longer_line_than_the_limit_in_bytes_is_rejected_and_the_next_is_said(
    open_world: Opens, limits: Limits | None, line_bytes: int, nick_bytes: int
) -> None:
    world = open_world(limits=limits)
    ann, bob = world.join("ann", "bob")
    bob.say("x" * line_bytes, "y" * (line_bytes + 1), "é" * (line_bytes // 2), "é" * (line_bytes // 2 + 1), "z")
    assert ann.lines() == ["bob: " + "x" * line_bytes, "bob: " + "é" * (line_bytes // 2), "bob: z"]
    assert bob.lines() == [f"-> Error: a line holds at most {line_bytes} bytes."] * 2
    eve = newcomer(world)
    eve.say("x" * (nick_bytes + 1), "eve")
    assert eve.read().startswith(f"-> Error: a line holds at most {nick_bytes} bytes.\r\nNickname:  * You are eve.")


# Joins and leaves of many


@pytest.mark.parametrize("people", [1, 5])
def test_up_to_five_joins_or_leaves_of_a_batch_are_shown_one_by_one(world: World, ann: Person, people: int) -> None:
    crowd = [(world.connect(), f"p{number}") for number in range(people)]
    at_once(*crowd)
    assert ann.lines() == [f" * {nick} joined." for _, nick in crowd]
    at_once(*((person, "quit") for person, _ in crowd))
    assert ann.lines() == [f" * {nick} left." for _, nick in crowd]


def test_more_than_five_joins_or_leaves_of_a_batch_are_shown_as_a_number(
    world: World, ann: Person, bob: Person
) -> None:
    crowd = [(world.connect(), f"p{number}") for number in range(214)]
    at_once((bob, "before"), *crowd[:100], (bob, "between"), *crowd[100:], (bob, "after"))
    assert ann.lines() == ["bob: before", " * 214 people joined.", "bob: between", "bob: after"]
    for person, _ in crowd:
        person.read()
    typed = [["/quit tired"] if number % 100 else [f"bye from {number}", "quit"] for number in range(214)]
    at_once(
        (bob, "before"), *((person, *lines) for (person, _), lines in zip(crowd, typed, strict=True)), (bob, "after")
    )
    byes = [f"p{number}: bye from {number}" for number in (0, 100, 200)]
    assert ann.lines() == ["bob: before", *byes, " * 214 people left.", "bob: after"]
    assert crowd[213][0].lines() == ["bob: before", *byes, "bob: after", " * Goodbye, p213."]


# What the author sees


def test_receipts_come_for_later_lines_only_and_before_the_goodbye(ann: Person, bob: Person) -> None:
    at_once(
        (ann, "one", "/receipts on", "two", "/me three"),
        (bob, "four"),
        (ann, "/say five", "/msg bob psst", "//six", "", "/receipts off", "seven"),
    )
    assert ann.lines() == [
        *("-> receipts are on.", "-> sent to bob.", "-> receipts are off."),
        *("-> #2", "-> #3", "bob: four", "-> #5", "-> #6"),
    ]
    bob.read()
    bob.say("/history #1-#7")
    assert [line.partition(" [12:00] ")[2] for line in bob.lines()] == [
        *("ann: one", "ann: two", "** ann three", "bob: four", "ann: five", "ann: /six", "ann: seven")
    ]
    ann.say("/receipts on", "my last words", "quit")
    assert ann.lines() == ["-> receipts are on.", "-> #8", " * Goodbye, ann."]


def test_line_is_delivered_only_after_its_commit(open_world: Opens) -> None:
    world = open_world(journal=SlowJournal)
    assert isinstance(world.journal, SlowJournal)
    ann, bob = newcomer(world), newcomer(world)
    at_once((ann, "ann", "/receipts on"), (bob, "bob"))
    world.journal.commit()
    world.settle()
    ann.read()
    bob.read()
    ann.say("hi")
    assert ann.read() == bob.read() == ""
    world.journal.commit()
    assert (ann.read(), bob.read()) == ("-> #1\r\n", "ann: hi\r\n")


def test_only_the_author_reads_that_a_line_was_not_stored_and_the_room_goes_on(open_world: Opens) -> None:
    world = open_world(journal=FaultyJournal)
    assert isinstance(world.journal, FaultyJournal)
    ann, bob = world.join("ann", "bob")
    ann.say("/receipts on", "kept")
    world.journal.fault = "the disk is full"
    ann.say("lost", "/me is lost", "/nick anna", "/msg bob psst")
    assert ann.lines() == [
        *("-> receipts are on.", "-> #1", "-> You are anna.", "-> sent to bob."),
        *["-> Error: not kept: the disk is full"] * 2,
    ]
    assert bob.lines() == ["ann: kept", " * ann is now anna.", "[anna] psst"]
    (carol,) = world.join("carol")
    carol.say("lost", "quit")
    assert carol.lines() == ["-> Error: not kept: the disk is full", " * Goodbye, carol."]
    assert bob.lines() == [" * carol joined.", " * carol left."]
    world.journal.fault = ""
    ann.say("kept again")
    assert ann.lines()[2:] == ["-> #2"]
    bob.say("/history")
    assert bob.lines() == ["anna: kept again", "-> #1 [12:00] ann: kept", "-> #2 [12:00] anna: kept again"]


# Order


def test_answers_come_in_the_order_of_the_questions(ann: Person, bob: Person) -> None:
    bob.say("hi")
    ann.read()
    ann.say("/ping", "/history", "/ping", "/history 1", "/away", "/names", "/x", "/back")
    assert ann.lines() == [
        *("-> pong", "-> #1 [12:00] bob: hi", "-> pong", "-> #1 [12:00] bob: hi", "-> You are away."),
        *("-> 2 here: ann (away), bob", "-> Error: unknown command /x. /help lists them.", "-> Welcome back."),
    ]


def test_paste_of_a_thousand_lines_is_said_whole_while_others_take_turns(
    ann: Person, bob: Person, carol: Person
) -> None:
    at_once((ann, *(f"{number}" for number in range(1000)), "quit"), (bob, "hi"))
    lines = carol.lines()
    assert lines.index("bob: hi") < 1000
    lines.remove("bob: hi")
    assert lines == [*(f"ann: {number}" for number in range(1000)), " * ann left."]


# People who do not read


def test_person_who_does_not_read_answers_is_not_read_from_until_they_do(
    world: World, ann: Person, bob: Person
) -> None:
    ann.transport.takes = False
    at_once((ann, *["/help"] * 200, "hello", "/ping"))
    assert not is_read_from(ann)
    assert len(ann.transport.held) < 70_000
    bob.say("hi")
    assert bob.read() == ""
    for _ in range(200):
        ann.transport.take_again()
        ann.transport.takes = False
        world.settle()
    ann.transport.take_again()
    world.settle()
    assert is_read_from(ann)
    assert bob.lines() == ["ann: hello"]
    lines = ann.lines()
    assert lines.count("bob: hi") == 1
    assert lines.count("-> /ping   answers pong") == 200
    assert lines[-1] == "-> pong"


def test_private_line_to_a_person_who_does_not_read_theirs_is_rejected(ann: Person, bob: Person) -> None:
    ann.transport.takes = False
    bob.say(*(f"/msg ann {number} " + "x" * 2000 for number in range(100)))
    answers = bob.lines()
    sent = answers.count("-> sent to ann.")
    assert answers == ["-> sent to ann."] * sent + ["-> Error: ann does not read what is sent to them."] * (100 - sent)
    assert sent * 2300 >= 64 * 1024, "64 KiB, with what each of them takes besides its text"
    assert sent * 2000 < 136 * 1024, "and as many in a transport"
    ann.transport.take_again()
    bob.say("/msg ann hello!")
    assert [line[:10] for line in ann.lines()] == [*(f"[bob] {n} xx"[:10] for n in range(sent)), "[bob] hell"]


def test_person_who_is_too_far_behind_reads_which_lines_they_missed(ann: Person, bob: Person) -> None:
    said = {number: f"bob: {number} " + "x" * 4000 for number in range(1, 1200)}
    ann.transport.takes = False
    bob.say(*(line.removeprefix("bob: ") for line in said.values()))
    ann.transport.take_again()
    lines = ann.lines()
    (at,) = (at for at, line in enumerate(lines) if line.startswith(" * You missed "))
    first, last = at + 1, 1200 - len(lines[at:])
    assert lines == [
        *(said[number] for number in range(1, first)),
        f" * You missed {last - first + 1} lines (#{first}-#{last}).",
        *(said[number] for number in range(last + 1, 1200)),
    ]
    ann.say(f"/history #{last}")
    assert ann.lines() == [f"-> #{last} [12:00] {said[last]}"]
