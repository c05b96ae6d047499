"""Editing of an unfinished line, for clients that send each key as it is pressed; no Twisted.

A terminal in line mode edits the line itself. Raw connections (``socat``, PuTTY, Windows' telnet) send the keys. The
keys and their effects are those of a Unix terminal: Backspace (BS or DEL), Ctrl-W, Ctrl-U and Ctrl-D.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final
from unicodedata import category


class Edit(Enum):
    """The effect of a key or of a telnet command on the line before it."""

    NOTHING = auto()
    """No effect; there may be a reply."""
    ERASE_CHARACTER = auto()
    """Remove the last character."""
    ERASE_WORD = auto()
    """Remove the last word, with the blanks after it."""
    ERASE_LINE = auto()
    """Remove the unfinished line."""
    END_INPUT = auto()
    """End the input."""


EOT: Final = 0x04
"""Ctrl-D, which ends the input only at the beginning of a line."""
EDITING_KEYS: Final = {
    EOT: Edit.END_INPUT,
    0x08: Edit.ERASE_CHARACTER,  # BS
    0x15: Edit.ERASE_LINE,  # Ctrl-U
    0x17: Edit.ERASE_WORD,  # Ctrl-W
    0x7F: Edit.ERASE_CHARACTER,  # DEL
}
"""The bytes that edit, with their effects."""

_CHARACTER_BYTES: Final = 256
"""Maximum number of bytes that are removed as one character.

It bounds the time of an erasure if the line consists of nothing but marks.
"""
_KEY_BYTES: Final = 16
"""Maximum length of the sequence of an arrow key or function key; ``ESC [ 24 ; 8 ~`` is a long one."""
_KEY_SEQUENCE: Final = re.compile(rb"\x1b(?:\[\[?[0-?]*+[@-~]|O[!-~])\Z")
_ZWJ: Final = "\u200d"


def erase_character(line: bytearray) -> None:
    """Remove the last character of *line*: a letter with its marks, an emoji sequence, a flag, or a key's sequence.

    Each byte that is not UTF-8 is a character.
    """
    if not line:
        return
    if line[-1] < 0x80:
        escape = line.rfind(b"\x1b", -_KEY_BYTES)
        is_key = escape >= 0 and _KEY_SEQUENCE.match(line, escape)
        del line[escape if is_key else -1 :]
        return
    text = line[-_CHARACTER_BYTES:].decode("utf-8", "surrogateescape")
    del line[-len(text[_last_character(text) :].encode("utf-8", "surrogateescape")) :]


def erase_word(line: bytearray) -> None:
    """Remove the last word of *line*, with the blanks after it."""
    words = line.rstrip(b" \t")
    del line[max(words.rfind(b" "), words.rfind(b"\t")) + 1 :]


def _last_character(text: str) -> int:
    """Return the index at which the last user-perceived character of *text*, which is not empty, begins.

    These are the rules of UAX #29 (grapheme clusters) without those for Hangul jamo and prepended marks. After ZWJ, all
    but ASCII joins, as in the conjuncts of Indian scripts.
    """
    start = len(text) - 1
    while start and (_is_extender(text[start]) or (text[start - 1] == _ZWJ and not text[start].isascii())):
        start -= 1
    if _is_regional_indicator(text[start]):
        before = start
        while before and _is_regional_indicator(text[before - 1]):
            before -= 1
        start -= (start - before) % 2
    return start


def _is_extender(character: str) -> bool:
    """Return whether *character* belongs to the one before it: a mark, a format character or a skin tone."""
    return category(character) in {"Mn", "Me", "Mc", "Cf"} or "\U0001f3fb" <= character <= "\U0001f3ff"


def _is_regional_indicator(character: str) -> bool:
    """Return whether *character* is half of a flag."""
    return "\U0001f1e6" <= character <= "\U0001f1ff"
