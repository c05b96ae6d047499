"""``sanitize`` against the character database, and a terminal that reads escape sequences character by character.

The first byte of an input says how the rest becomes characters: as UTF-8, or as numbers of three bytes. With numbers,
a small change of the input reaches any character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, is_normalized

from broadcast.core.sanitize import MAX_MARKS, sanitize

_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NO_WIDTH = set("\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff") | set(map(chr, range(0xE0000, 0xE0080)))
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_BLANKS = str.maketrans("\t\x85\u2028\u2029", "    ")


def shown(text: str) -> Iterator[str]:  # noqa: C901, PLR0912 -- the states of a terminal as one table
    """Yield the characters of *text* that are in no escape sequence."""
    state = "text"
    for character in re.sub("[\x8e-\x90\x98\x9b-\x9f]", lambda c1: f"\x1b{chr(ord(c1[0]) - 0x40)}", text):
        is_final = "@" <= character <= "~"
        is_intermediate = " " <= character <= "/"
        match state:
            case "csi" if character == "[":
                state = "linux"
            case "linux" if "A" <= character <= "E":
                state = "text"
            case "csi" | "parameters" if "0" <= character <= "?":
                state = "parameters"
            case "csi" | "parameters" | "intermediates" if is_intermediate:
                state = "intermediates"
            case "csi" | "parameters" | "intermediates" if is_final:
                state = "text"
            case "shift" if character in "0123456789;":
                pass
            case "shift" if "!" <= character <= "~":
                state = "text"
            case "character set" if is_intermediate:
                pass
            case "character set" if "0" <= character <= "~":
                state = "text"
            case "string" if character == "\x07":
                state = "text"
            case "string" if character not in "\x18\x1a\x1b":
                pass
            case "string" if character == "\x1b":
                state = "escape in string"
            case "escape in string" if character == "\\":
                state = "text"
            case "escape" | "escape in string" if character in "[NOPX]^_#%()*+,-./\\":
                state = (
                    {"[": "csi", "\\": "text"} | dict.fromkeys("NO", "shift") | dict.fromkeys("PX]^_", "string")
                ).get(character, "character set")
            case _ if character == "\x1b":
                state = "escape"
            case _:
                state = "text"
                yield character


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
    assert not set(_FLAG.sub("", sanitized)) & (_BIDI | _NO_WIDTH)
    without_sequences = "".join(shown(text.translate(_BLANKS)))
    assert sanitized == sanitize(without_sequences)
    assert _FLAG.findall(sanitized) == _FLAG.findall(without_sequences)
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
