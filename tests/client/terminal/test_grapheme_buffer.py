from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.document import Document
from wcwidth import iter_graphemes

from broadcast.client.terminal.editor import GraphemeBuffer
from broadcast.client.terminal.graphemes import cells

PIECES = [
    "a",
    " ",
    "\n",
    "e\u0301",
    "\u0301",
    "\u200d",
    "👩",
    "👍🏽",
    "🇩",
    "🇪",
    "❤\ufe0f",
    "\u1112\u1161\u11ab",
    "क्षि",
    "日",
    "\r",
]
KEYS = ["left", "right", "up", "down", "home", "backspace", "delete", "kill word", "rub out word"]
texts = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def ends(text: str) -> set[int]:
    """The boundaries between graphemes. A line end is always one."""
    found, at = {0}, 0
    for line in text.split("\n"):
        found |= set(accumulate(map(len, iter_graphemes(line)), initial=at))
        at += len(line) + 1
    return found


def press(buffer: GraphemeBuffer, key: str) -> None:
    """Do what a key does."""
    document = buffer.document
    match key:
        case "left" | "right" | "up" | "down":
            getattr(buffer, f"cursor_{key}")()
        case "home":
            buffer.cursor_position += document.get_start_of_line_position()
        case "backspace":
            buffer.delete_before_cursor()
        case "delete":
            buffer.delete()
        case "kill word":
            buffer.delete(count=document.find_next_word_ending() or 0)
        case "rub out word":
            buffer.delete_before_cursor(count=-(document.find_start_of_previous_word() or 0))


@given(texts, st.lists(st.sampled_from(KEYS), max_size=12))
def test_no_key_leaves_the_cursor_in_a_grapheme_or_deletes_a_part_of_one(text: str, keys: list[str]) -> None:
    buffer = GraphemeBuffer()
    buffer.reset(Document(text))
    for key in keys:
        before, at = buffer.text, buffer.cursor_position
        press(buffer, key)
        if buffer.text == before:
            assert buffer.cursor_position in ends(before)
        else:
            start = buffer.cursor_position
            end = start + len(before) - len(buffer.text)
            assert before[:start] + before[end:] == buffer.text
            assert {start, end} - {at} <= ends(before)
            # What is left may form another grapheme around the cursor.
            buffer.cursor_position = min(position for position in ends(buffer.text) if position >= start)


@given(texts)
def test_a_stand_in_never_hides_a_control_character(text: str) -> None:
    shown = cells(text)
    assert [character for character in shown if character in "\r\n"] == [
        character for character in text if character in "\r\n"
    ]
