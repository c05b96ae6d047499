from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.text import printable

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[2J", "\ufffd[2J"),
        ("\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        ("\x9b2J\x90\x9d", "\ufffd2J\ufffd\ufffd"),
        ("a\rb\nc\x00\x7f", "a\ufffdb\ufffdc\ufffd\ufffd"),
        ("a\tb", "a b"),
        ("\u202eevil\u2066\u200f", "\ufffdevil\ufffd\ufffd"),
        ("\u2028\u2029\u0085", "\ufffd\ufffd\ufffd"),
        ("z\u200bz\ufeff\u00ad", "z\ufffdz\ufffd\ufffd"),
        ("\U000e0041", "\ufffd"),
        (f"{SCOTLAND}\x1b{SCOTLAND[:2]}", f"{SCOTLAND}\ufffd\U0001f3f4\ufffd"),
        ("\ud800", "\ufffd"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("漢字é", "漢字é"),
        ("a" + "\u0301" * 20 + "b\u0301", "a" + "\u0301" * 8 + "b\u0301"),
        ("क" + "\u093f" * 9, "क" + "\u093f" * 9),
    ],
)
def test_a_hostile_text_is_shown_as_text(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


ENCODINGS = ["utf-8", "ascii", "latin-1", "cp1252", "koi8-r", "shift_jis", "euc-jp", "gb18030", "iso2022_jp", "utf-16"]


@given(st.text(st.characters(categories=None)), st.sampled_from(ENCODINGS))
def test_printable_text_holds_no_control_and_stays_as_it_is(text: str, encoding: str) -> None:
    shown = printable(text, encoding)
    assert printable(shown, encoding) == shown
    assert all(character >= " " and not "\x7f" <= character <= "\x9f" for character in shown)
    shown.encode(encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "na\u00efve \u2026 \U0001f600 \ufffd"),
        ("latin-1", r"na" + "\u00ef" + r"ve \u2026 \U0001f600 \ufffd"),
        ("ascii", r"na\xefve \u2026 \U0001f600 \ufffd"),
    ],
)
def test_a_character_that_the_encoding_does_not_have_becomes_an_escape(encoding: str, shown: str) -> None:
    assert printable("na\u00efve \u2026 \U0001f600 \x1b", encoding) == shown
