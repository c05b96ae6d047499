from __future__ import annotations

import pytest
from prompt_toolkit.formatted_text import StyleAndTextTuples

from broadcast.client import lines
from broadcast.client.colors import color_of
from broadcast.client.lines import Emoted, Event, Said
from broadcast.client.rendering import arrival, line_of, names, says, typed


def text(line: StyleAndTextTuples) -> str:
    return "".join(piece[1] for piece in line)


@pytest.mark.parametrize(
    "line",
    [
        "bob: hi",
        "[14:02] bob: hi",
        "[2026-01-31 14:02] bob: hi",
        "** bob waves",
        "[14:02] ** bob waves",
        " * bob joined.",
        " * bob left.",
        " * bob left: tired",
        " * bob is now rob.",
        " * 214 people joined.",
        " * 214 people left.",
        "[bob] psst",
        " * You missed 142 lines (#3-#144).",
        "-> 2 here: ann, bob",
        "-> Error: unknown command /x. /help lists them.",
        "-> #1207",
        "-> #12 [14:02] bob: hi",
        "-> #13 [14:02] ** bob waves",
        " * The server is going down.",
    ],
)
def test_what_the_server_shows_is_shown_with_the_same_words(line: str) -> None:
    event = lines.classify(line)
    assert text(line_of(event, "ann")) == line


@pytest.mark.parametrize(
    ("others", "line"),
    [
        ((), "Nobody else is here."),
        (("bob",), "1 other is here: bob."),
        (("bob", "carol"), "2 others are here: bob, carol."),
    ],
)
def test_the_arrival_says_who_is_here(others: tuple[str, ...], line: str) -> None:
    assert text(arrival("ann", others, len(others))) == f" * You are ann. {line}"
    assert text(line_of(lines.Arrived("ann", others, len(others)), "ann")) == f" * You are ann. {line}"


def test_the_arrival_says_how_many_are_not_named() -> None:
    assert text(arrival("ann", ["bob"], 30)).endswith("30 others are here: bob, and 29 more.")
    assert text(arrival("ann", [], 30)).endswith("30 others are here.")


@pytest.mark.parametrize(
    "event", [Said("bob", "hi"), Emoted("bob", "waves"), lines.Whispered("bob", "hi"), lines.Joined("bob")]
)
def test_a_nickname_has_its_color_wherever_it_stands(event: Event) -> None:
    (colored,) = {style.split()[-1] for style, piece, *_ in line_of(event, "ann") if "bob" in piece}
    assert colored == color_of("bob")


def test_a_line_that_names_you_stands_out_and_your_own_does_not() -> None:
    assert line_of(Said("bob", "well, Ann?"), "ann")[-1] == ("bold", " well, Ann?")
    assert line_of(Said("bob", "banner"), "ann")[-1] == ("", " banner")
    assert line_of(Said("ann", "I, ann", own=True), "ann")[-1] == ("", " I, ann")


@pytest.mark.parametrize("said", ["ann", "ann: hi", "hi ann", "hi ANN!", "(ann)", "ann's", "thanks, ann."])
def test_a_nickname_that_is_a_word_of_its_own_is_meant(said: str) -> None:
    assert names(said, "ann")


@pytest.mark.parametrize("said", ["", "banner", "joann", "ann-marie", "ann2", "x.ann"])
def test_a_nickname_that_is_part_of_another_word_is_not(said: str) -> None:
    assert not names(said, "ann")
    assert not names(said, "")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("hi", "ann: hi"),
        ("  indented", "ann:   indented"),
        ("/me waves ", "** ann waves"),
        ("/ME waves", "** ann waves"),
        ("/say quit", "ann: quit"),
        ("//usr/bin", "ann: /usr/bin"),
        ("quit this", "ann: quit this"),
    ],
)
def test_what_says_something_is_shown_as_the_others_see_it(line: str, shown: str) -> None:
    assert says(line)
    assert text(typed(line, "ann")) == shown


@pytest.mark.parametrize("line", ["/names", "/msg bob hi", "/me", "/say  ", "quit", " EXIT ", "", "  ", "\x01", "/ me"])
def test_what_says_nothing_to_the_room_is_shown_as_it_was_typed(line: str) -> None:
    assert not says(line)
    assert text(typed(line, "ann")) == line
