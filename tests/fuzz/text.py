"""The text gate against the character database.

An input is one byte that says how the rest becomes characters: as UTF-8, or, so that every character is near, as
numbers of three bytes.
"""

from __future__ import annotations

from unicodedata import category, is_normalized

from broadcast.core.sanitize import MAX_MARKS, sanitize

_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NO_WIDTH = set("\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff") | set(map(chr, range(0xE0000, 0xE0080)))


def characters(data: bytes) -> str:
    """The text that an input stands for; surrogates may be among it."""
    if data[:1] < b"\x80":
        return data[1:].decode("utf-8", "replace")
    numbers = (int.from_bytes(data[at : at + 3]) for at in range(1, len(data), 3))
    return "".join(chr(number % 0x110000) for number in numbers)


def check(data: bytes) -> None:
    """Nothing that harms a terminal, one line, NFC, not too many marks; and cleaning it again changes nothing."""
    text = characters(data)
    cleaned = sanitize(text)
    assert sanitize(cleaned) == cleaned
    assert is_normalized("NFC", cleaned)
    assert not {character for character in cleaned if category(character) in {"Cc", "Cs", "Zl", "Zp"}}
    assert not set(cleaned) & (_BIDI | _NO_WIDTH)
    assert len(cleaned.splitlines()) <= 1
    marks = 0
    for character in cleaned:
        match category(character):
            case "Mn" | "Me":
                marks += 1
            case "Mc" | "Cf":
                pass
            case _:
                marks = 0
        assert marks <= MAX_MARKS
    if text.isascii() and text.isprintable():
        assert cleaned == text
