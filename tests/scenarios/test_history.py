"""Earlier lines: /history by number, /search by word."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from broadcast.journals import full_text
from tests.harness import Person, World, is_read_from
from tests.scenarios.conftest import Opens, at_once


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("", range(6, 26)),
        ("2", [24, 25]),
        *((asked, [10, 11, 12]) for asked in ("#10-#12", "#10-12")),
        ("#3", [3]),
        ("#24-#99", [24, 25]),
        ("#0-#2", [1, 2]),
        (" 1 ", [25]),
        ("1000000", range(1, 26)),
    ],
)
def test_history_shows_lines_with_their_numbers(ann: Person, bob: Person, asked: str, numbers: Iterable[int]) -> None:
    bob.say(*(f"line {number}" for number in range(1, 25)), "/me waves")
    ann.read()
    ann.say(f"/history {asked}")
    said = [*(f"bob: line {number}" for number in range(1, 25)), "** bob waves"]
    assert ann.lines() == [f"-> #{number} [12:00] {said[number - 1]}" for number in numbers]


@pytest.mark.parametrize("asked", ["", "5", "#1", "#1-#9", "#7-#3"])
def test_history_says_when_there_is_nothing(ann: Person, asked: str) -> None:
    ann.say(f"/history {asked}")
    assert ann.lines() == ["-> nothing was said yet."]


def test_history_shows_at_most_a_thousand_lines(ann: Person) -> None:
    ann.say(*["x"] * 1003, "/history 1003")
    assert ann.lines() == [f"-> #{number} [12:00] ann: x" for number in range(4, 1004)]
    ann.say("/history #2-#1001")
    assert len(ann.lines()) == 1000


def test_history_holds_the_lines_of_its_batch(ann: Person, bob: Person) -> None:
    at_once((bob, "from bob"), (ann, "from ann", "/history"), (bob, "too late"))
    assert ann.lines() == [
        *("bob: from bob", "bob: too late"),
        *("-> #1 [12:00] bob: from bob", "-> #2 [12:00] ann: from ann", "-> #3 [12:00] bob: too late"),
    ]


@pytest.mark.one_turn
@pytest.mark.parametrize("question", ["/history", "/search line"])
def test_answer_holds_no_line_that_was_not_delivered_before_it(
    world: World, ann: Person, bob: Person, question: str
) -> None:
    ann.put(f"line from ann\r\n{question}\r\n/ping\r\n")
    assert not is_read_from(ann)
    world.turn()
    bob.put("line from bob\r\n")
    world.settle()
    assert [line for line in ann.lines() if line.startswith("->")] == ["-> #1 [12:00] ann: line from ann", "-> pong"]
    assert is_read_from(ann)


# /search


def test_search_shows_public_lines_as_history_does(ann: Person, bob: Person) -> None:
    bob.say("The build is red", "hm", "/me fixes the BUILD", "/msg ann the build is mine")
    ann.read()
    ann.say("/search build")
    assert ann.lines() == ["-> #1 [12:00] bob: The build is red", "-> #3 [12:00] ** bob fixes the BUILD"]


def test_search_shows_at_most_the_newest_fifty_lines(ann: Person) -> None:
    ann.say(*(f"line {number}" for number in range(1, 61)), "/search line")
    assert ann.lines() == [f"-> #{number} [12:00] ann: line {number}" for number in range(11, 61)]


def test_person_who_is_lost_while_they_search_has_left(ann: Person, bob: Person) -> None:
    ann.say("hello")
    bob.put("/search hello\r\n")
    bob.vanish()
    ann.say("/names")
    assert ann.lines() == [" * bob left: connection lost", "-> 1 here: ann"]


def test_server_that_cannot_search_says_why_and_goes_on(open_world: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_text, "FTS", "none_such")
    (ann,) = open_world().join("ann")
    ann.say("hi", "/search hi", "/history")
    assert ann.lines() == [*("-> Error: this server cannot search: its SQLite has no FTS5.", "-> #1 [12:00] ann: hi")]
