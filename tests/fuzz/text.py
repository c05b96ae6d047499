"""``sanitize`` against the character database.

The first byte of an input says how the rest becomes characters: as UTF-8, or as numbers of three bytes. With numbers,
a small change of the input reaches any character.
"""

from __future__ import annotations

from unicodedata import category, is_normalized

from broadcast.core.sanitize import MAX_MARKS, sanitize

_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NO_WIDTH = set("\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff") | set(map(chr, range(0xE0000, 0xE0080)))


def characters(data: bytes) -> str:
    """Return the text of an input, which may hold surrogates."""
    if data[:1] < b"\x80":
        return data[1:].decode("utf-8", "replace")
    numbers = (int.from_bytes(data[at : at + 3]) for at in range(1, len(data), 3))
    return "".join(chr(number % 0x110000) for number in numbers)


def check(data: bytes) -> None:
    """Check that the text is safe for a terminal, one line, NFC, with few marks, and does not change again."""
    text = characters(data)
    sanitized = sanitize(text)
    assert sanitize(sanitized) == sanitized
    assert is_normalized("NFC", sanitized)
    assert not {character for character in sanitized if category(character) in {"Cc", "Cs", "Zl", "Zp"}}
    assert not set(sanitized) & (_BIDI | _NO_WIDTH)
    assert len(sanitized.splitlines()) <= 1
    marks = 0
    for character in sanitized:
        match category(character):
            case "Mn" | "Me":
                marks += 1
            case "Mc" | "Cf":
                pass
            case _:
                marks = 0
        assert marks <= MAX_MARKS
    if text.isascii() and text.isprintable():
        assert sanitized == text
