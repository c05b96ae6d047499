"""PROTOCOL.md, "Commands": what was said before, by its words."""

from __future__ import annotations

import pytest

from broadcast.journals.sqlite import database
from tests.harness import World
from tests.scenarios.conftest import Opens


def test_search_shows_the_lines_as_history_does(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("The build is red", "hm", "/me fixes the BUILD", "/msg ann the build is mine")
    ann.read()
    ann.say("/search build")
    assert ann.lines() == ["-> #1 [12:00] bob: The build is red", "-> #3 [12:00] ** bob fixes the BUILD"]
    assert bob.lines() == ["-> sent to ann."]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("the build", [1, 2]),
        ('"the build"', [1]),
        ('"the build', [1]),
        ("CREME", [3]),
        ("crème", [3]),
        ('build "is red"', [1]),
        ("  red  ", [1]),
        ("don't", [4]),
    ],
)
def test_all_words_must_occur_and_phrases_as_they_are(world: World, asked: str, numbers: list[int]) -> None:
    (ann,) = world.join("ann")
    said = ["the build is red", "build the house", "Crème brûlée", "I don't know"]
    ann.say(*said, f"/search {asked}")
    assert ann.lines() == [f"-> #{number} [12:00] ann: {said[number - 1]}" for number in numbers]


@pytest.mark.parametrize("asked", ['""', '"', "!!!", "* ^ + - : ( )", "nobody", "ann", "house OR build", 'x") OR ("y'])
def test_search_says_when_there_is_nothing(world: World, asked: str) -> None:
    (ann,) = world.join("ann")
    ann.say("house", "build", f"/search {asked}")
    assert ann.lines() == ["-> nothing found."]


@pytest.mark.parametrize("asked", ["", " ", "   "])
def test_search_for_nothing_is_refused(world: World, asked: str) -> None:
    (ann,) = world.join("ann")
    ann.say(f"/search{asked}")
    assert ann.lines() == ["-> Error: usage: /search WORDS"]


def test_search_for_too_much_is_refused(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/search " + "x" * 101)
    assert ann.lines() == ["-> Error: at most 100 characters can be searched for."]


def test_search_shows_at_most_fifty_lines_the_newest_last(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say(*(f"line {number}" for number in range(1, 61)))
    ann.say("/search line")
    assert ann.lines() == [f"-> #{number} [12:00] ann: line {number}" for number in range(11, 61)]


def test_search_finds_what_its_asker_has_just_said_and_nothing_that_they_were_not_shown(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.put("line from ann\r\n/search line\r\n/ping\r\n")
    assert not ann.transport.reading
    world.turn()
    bob.put("line from bob\r\n")
    world.settle()
    lines = ann.lines()
    assert [line for line in lines if line.startswith("->")] == ["-> #1 [12:00] ann: line from ann", "-> pong"]
    assert ann.transport.reading


def test_whoever_leaves_while_they_search_is_gone(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.say("hello")
    bob.put("/search hello\r\n")
    bob.vanish()
    ann.read()
    ann.say("/names")
    assert ann.lines() == ["-> 1 here: ann"]


def test_a_server_that_cannot_search_says_why_and_goes_on(open_world: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FTS", "none_such")
    (ann,) = open_world().join("ann")
    ann.say("hi", "/search hi", "/history")
    assert ann.lines() == [
        "-> Error: this server cannot search: its SQLite has no FTS5.",
        "-> #1 [12:00] ann: hi",
    ]
