from __future__ import annotations

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import get_cwidth

from broadcast.client.terminal.graphemes import boundary, cell, cells, write_graphemes
from tests.client.model import Model

FLAG, FAMILY, SKIN, HEART = "🇩🇪", "👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f"
ACCENT, JAMO, KEYCAP, SCOTLAND = "e\u0301", "\u1112\u1161\u11ab", "1\ufe0f\u20e3", "🏴\U000e0067\U000e0062\U000e007f"
GRAPHEMES = [FLAG, FAMILY, SKIN, HEART, ACCENT, JAMO, KEYCAP, SCOTLAND, "日", "x"]


@pytest.mark.parametrize("grapheme", GRAPHEMES)
def test_a_grapheme_has_boundaries_only_around_it(grapheme: str) -> None:
    text = f"a{grapheme}b"
    for at in range(1, 1 + len(grapheme)):
        assert boundary(text, at, after=False) == 1
    for at in range(2, 2 + len(grapheme)):
        assert boundary(text, at, after=True) == 1 + len(grapheme)


def test_two_flags_are_two_graphemes() -> None:
    assert [boundary(FLAG + FLAG, at, after=True) for at in range(5)] == [0, 2, 2, 4, 4]


def test_each_line_of_a_text_begins_with_a_boundary() -> None:
    assert boundary("a\n\u0301b", 2, after=True) == 2
    assert boundary("a\nb\n", 4, after=False) == 4
    assert boundary("", 0, after=False) == 0


@pytest.mark.parametrize("grapheme", GRAPHEMES)
def test_a_grapheme_is_one_cell_of_its_width(grapheme: str) -> None:
    shown = cells(grapheme)
    assert len(shown) == 1
    assert get_cwidth(shown) == (1 if grapheme in {ACCENT, "x"} else 2)
    assert cells(f"a{grapheme}b") == f"a{shown}b"


def test_a_stand_in_that_somebody_types_is_shown_as_itself() -> None:
    stand_in = cell(FAMILY)
    assert cell(stand_in) != stand_in
    model = Model()
    output = Vt100_Output(model, lambda: Size(rows=24, columns=80))  # type: ignore[arg-type]
    write_graphemes(output)
    output.write(cell(stand_in))
    output.flush()
    assert stand_in in model.written


def test_a_grapheme_wider_than_two_columns_is_left_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.client.terminal.graphemes._TERMINAL", "vte")
    family = "👨\u200d👨\u200d👧"
    assert cells(family) == family


def test_marks_without_a_letter_are_left_to_the_terminal() -> None:
    assert cells("\u0301\u0302") == "\u0301\u0302"


def test_stand_ins_can_be_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.client.terminal.graphemes._STAND_INS", 0)
    assert cells("👩🏽\u200d🚀") == "👩🏽\u200d🚀"


def test_the_cursor_is_at_the_end_of_the_width_whatever_the_terminal_draws() -> None:
    model = Model()
    output = Vt100_Output(model, lambda: Size(rows=24, columns=80))  # type: ignore[arg-type]
    write_graphemes(output)
    for character in f"a{cell(FAMILY)}{cell(ACCENT)}":
        output.write(character)
    output.flush()
    assert model.cursor == (4, 0)
    output.write("\x1b[2J")
    output.flush()
    assert model.shown != [""]
