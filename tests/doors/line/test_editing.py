"""Erasing at the end of a line removes what a person sees as one character or one word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.doors.line.editing import erase_character, erase_word

ZWJ = "\u200d"
FAMILY = f"\U0001f468{ZWJ}\U0001f469\U0001f3fd{ZWJ}\U0001f467"
GERMANY, FRANCE = "\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    "character",
    [
        *("b", " ", "\xe9", "\u20ac", "\u5c71", "\U0001f600", "\0", "\x1b"),
        *("e\u0301", "x" + "\u0301" * 100, "\u0e01\u0e35\u0e48", "\u0915\u094d\u200d\u0937", "\u05e9\u05b8\u05c1"),
        *("\u2764\ufe0f", "1\ufe0f\u20e3", "\U0001f44b\U0001f3fd", FAMILY, f"\U0001f3f4{ZWJ}\u2620\ufe0f", SCOTLAND),
        *(GERMANY, "\U0001f1e9", f"\U0001f3f3\ufe0f{ZWJ}\U0001f308"),
        *("\x1b[A", "\x1b[3~", "\x1b[24;8~", "\x1b[[A", "\x1bOP", "\x1b[1;5C"),
    ],
    ids=ascii,
)
def test_one_character_is_removed_with_all_that_belongs_to_it(character: str) -> None:
    for before in ("", "a", "\u20ac", FAMILY, FRANCE, "\x1b[D"):
        line = bytearray((before + character).encode())
        erase_character(line)
        assert line.decode() == before


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"", b""),
        (b"a\xc3", b"a"),
        (b"a\xff\xff", b"a\xff"),
        (b"\x80\x80", b"\x80"),
        (b"\xe2\x82", b"\xe2"),
        (b"\xc3\xa9\xa9", b"\xc3\xa9"),
        (b"\x1b[ab", b"\x1b[a"),
        (b"\x1b[" + b"1" * 16 + b"A", b"\x1b[" + b"1" * 16),
    ],
)
def test_bytes_that_are_no_utf_8_and_long_sequences_are_removed_one_by_one(line: bytes, left: bytes) -> None:
    erased = bytearray(line)
    erase_character(erased)
    assert erased == left


def test_erasing_in_a_line_of_nothing_but_marks_takes_bounded_time() -> None:
    line = bytearray("\u0301".encode() * 2000)
    erase_character(line)
    assert len(line) == 4000 - 256


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("", ""),
        ("word", ""),
        ("one two", "one "),
        ("one two  ", "one "),
        ("one\ttwo\t ", "one\t"),
        ("  ", ""),
        (f"don't {FAMILY}!", "don't "),
    ],
)
def test_word_is_removed_with_the_blanks_after_it(line: str, left: str) -> None:
    erased = bytearray(line.encode())
    erase_word(erased)
    assert erased.decode() == left


@given(st.lists(st.binary(max_size=4) | st.text(max_size=4).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_erasing_shortens_any_line_until_it_is_empty(parts: list[bytes]) -> None:
    for erase in (erase_character, erase_word):
        line = bytearray(b"".join(parts))
        while line:
            before = bytes(line)
            erase(line)
            assert len(line) < len(before)
            assert before.startswith(line)
        erase(line)
        assert not line
