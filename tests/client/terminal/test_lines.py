from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text

from broadcast.client.terminal.lines import Lines, wrap


def texts(view: Lines) -> list[str]:
    return fragment_list_to_text(view.shown()).split("\n")


def rows(*texts: str) -> list[StyleAndTextTuples]:
    return [[("", text)] for text in texts]


def scrolling(*texts: str, columns: int = 4, height: int = 3) -> Lines:
    return Lines(rows(*texts), columns, height)


def test_rows_are_wrapped_as_a_terminal_does() -> None:
    assert wrap([("a", "ab"), ("b", "cdef")], 4) == [[("a", "ab"), ("b", "cd")], [("b", "ef")]]
    assert wrap([("", "日本語")], 5) == [[("", "日本")], [("", "語")]]
    assert wrap([("", "abcd")], 4) == [[("", "abcd")]]
    assert wrap([], 4) == [[]]


def test_sequences_of_links_have_no_width() -> None:
    row: StyleAndTextTuples = [
        ("[ZeroWidthEscape]", "\x1b]8;;x\x1b\\"),
        ("", "abcd"),
        ("[ZeroWidthEscape]", "\x1b]8;;\x1b\\"),
    ]
    assert wrap(row, 4) == [row]


def test_the_terminal_wraps_the_rows_itself() -> None:
    assert texts(scrolling("abcdef", "gh")) == ["abcdef", "gh"]


def test_moves_stop_at_both_ends() -> None:
    view = scrolling(*"abcdefgh")
    assert texts(view) == ["f", "g", "h"]
    view.move(-view.page_rows)
    assert texts(view) == ["e", "f", "g"]
    view.move(-100)
    assert texts(view) == ["a", "b", "c"]
    assert not view.is_at_end
    view.move(100)
    assert texts(view) == ["f", "g", "h"]
    assert view.is_at_end


def test_new_and_older_entries_move_nothing() -> None:
    view = scrolling(*"abcdef")
    view.move(-view.page_rows)
    before = texts(view)
    view.add(rows("new", "newer"))
    view.add_older(rows("old", "longer than a row", *"abcdef", "new", "newer"))
    assert texts(view) == before
    view.move(100)
    assert texts(view) == ["new", "newer"]


def test_after_a_resize_the_first_row_is_still_the_first() -> None:
    view = scrolling("abcdef", "ghijkl", "mn", "op", "qr")
    view.move(-1)
    assert texts(view) == ["kl", "mn", "op"]
    view.resize(3, 4)
    assert texts(view)[0] == "ghijkl"
    view.resize(80, 2)
    assert texts(view) == ["ghijkl", "mn"]


def test_after_a_resize_the_end_is_still_the_end() -> None:
    view = scrolling("abcdef", "ghijkl", "mn")
    view.resize(2, 3)
    assert texts(view)[-1] == "mn"
    assert view.is_at_end


def test_a_view_without_entries_can_be_shown() -> None:
    view = scrolling()
    view.move(-view.page_rows)
    view.resize(2, 2)
    view.find("x")
    assert texts(view) == [""]


# Search

ROWS = ["one deploy", "two", "three", "another DEPLOY", "five"]


def deploys(height: int = 2) -> Lines:
    """The rows in a view of a few lines."""
    return Lines(rows(*ROWS), 20, height)


def found(view: Lines) -> str:
    """The row that is marked."""
    return fragment_list_to_text([piece for piece in view.shown() if "class:found" in piece[0]])


def test_a_search_shows_and_marks_the_newest_row_with_the_text_and_then_the_next_above() -> None:
    view = deploys()
    view.find("deploy")
    assert found(view) == "another DEPLOY"
    assert view.result == '"deploy" found, Ctrl-R finds the next'
    view.find()
    assert found(view) == "one deploy"
    view.find()
    assert view.result == '"deploy" not found'
    assert found(view) == "one deploy"


def test_the_mark_stays_with_its_row() -> None:
    view = deploys()
    view.find("deploy")
    view.add(rows("six"))
    view.add_older(rows("zero", *ROWS, "six"))
    view.resize(4, 6)
    view.move(-10)
    view.find()
    assert found(view) == "one deploy"


def test_without_a_text_nothing_is_searched() -> None:
    view = deploys()
    view.find()
    view.find("")
    assert view.result == ""
    assert found(view) == ""


def test_a_text_that_is_nowhere_moves_nothing() -> None:
    view = deploys()
    before = view.position
    view.find("nothing")
    view.add(rows("six"))
    assert (view.result, view.position, found(view)) == ('"nothing" not found', before, "")
