from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text

from broadcast.client.terminal.lines import Lines

ROWS = ["one deploy", "two", "three", "another DEPLOY", "five"]


def scrolling(height: int = 2) -> Lines:
    """The rows in a view of a few lines."""
    return Lines(rows(*ROWS), 20, height)


def rows(*texts: str) -> list[StyleAndTextTuples]:
    return [[("", text)] for text in texts]


def found(view: Lines) -> str:
    """The row that is marked."""
    return fragment_list_to_text([piece for piece in view.shown() if "class:found" in piece[0]])


def test_a_search_shows_and_marks_the_newest_row_with_the_text_and_then_the_next_above() -> None:
    view = scrolling()
    view.find("deploy")
    assert found(view) == "another DEPLOY"
    assert view.result == '"deploy" found, Ctrl-R finds the next'
    view.find()
    assert found(view) == "one deploy"
    view.find()
    assert view.result == '"deploy" not found'
    assert found(view) == "one deploy"


def test_the_mark_stays_with_its_row() -> None:
    view = scrolling()
    view.find("deploy")
    view.add(rows("six"))
    view.add_older(rows("zero", *ROWS, "six"))
    view.resize(4, 6)
    view.move(-10)
    view.find()
    assert found(view) == "one deploy"


def test_without_a_text_nothing_is_searched() -> None:
    view = scrolling()
    view.find()
    view.find("")
    assert view.result == ""
    assert found(view) == ""


def test_a_text_that_is_nowhere_moves_nothing() -> None:
    view = scrolling()
    before = view.position
    view.find("nothing")
    view.add(rows("six"))
    assert (view.result, view.position, found(view)) == ('"nothing" not found', before, "")
