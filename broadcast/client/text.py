"""Makes text from anywhere harmless for a terminal, and possible for its encoding."""

from __future__ import annotations

from typing import Final
from unicodedata import category

_BAR_COLUMNS: Final = 10
_MARKS: Final = 8
_JOINERS: Final = "\u200c\u200d"
_FLAG, _END_TAG = "\U0001f3f4", "\U000e007f"
_TAGS: Final = frozenset(map(chr, (*range(0xE0030, 0xE003A), *range(0xE0061, 0xE007B))))


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""Return *text* as one line that a terminal with *encoding* shows as text, whatever it contains.

    A TAB becomes a blank. A character that could control the terminal becomes U+FFFD: C0, DEL, C1, surrogates, line and
    paragraph separators, bidi marks, overrides and isolates, tags, and others without a width. ZWNJ and ZWJ remain,
    because many scripts need them, and so do the tags of flags. At most eight combining marks on a letter remain. A
    character that *encoding* does not have becomes an escape such as ``\u2026``. To do it again changes nothing.
    """
    if not (text.isascii() and text.isprintable()):
        text = _harmless(text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def sign(text: str, encoding: str, other: str) -> str:
    """Return the sign *text*, or *other* if *encoding* does not have it."""
    return text if printable(text, encoding) == text else other


def progress_bar(done: int, whole: int) -> str:
    """Return a bar and a percentage, such as ``[####......] 46%``."""
    part = done / whole if whole else 0.0
    return f"[{'#' * int(part * _BAR_COLUMNS):.<{_BAR_COLUMNS}}] {part:.0%}"


def _harmless(text: str) -> str:
    """Return *text* without control characters."""
    shown = []
    marks = flag_end = 0
    for index, character in enumerate(text):
        kind = category(character)
        if kind in {"Mn", "Me"}:
            marks += 1
            if marks > _MARKS:
                continue
        elif kind != "Mc" and character not in _JOINERS:
            marks = 0
        if character == _FLAG:
            flag_end = _end_of_flag(text, index)
        if character == "\t":
            shown.append(" ")
        elif kind in {"Cc", "Cs", "Zl", "Zp"} or (kind == "Cf" and character not in _JOINERS and index >= flag_end):
            shown.append("\ufffd")
        else:
            shown.append(character)
    return "".join(shown)


def _end_of_flag(text: str, start: int) -> int:
    """Return the end of the flag of a region, such as Scotland, at *start*. Its tags name the region."""
    end = text.find(_END_TAG, start + 4, start + 8)
    return end + 1 if all(tag in _TAGS for tag in text[start + 1 : end]) else start
