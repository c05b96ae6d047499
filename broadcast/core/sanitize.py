"""Sanitizing of text: the result is safe for every terminal, and one line remains one line. No bytes, no encoding.

All input passes once, before others see it: lines, nicknames, reasons, arguments. The result is safe for every door, so
no encoder checks characters again.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import category, combining, normalize

MAX_MARKS: Final = 8
"""Maximum number of combining marks on one letter."""

_BLANKS: Final = "\t\x85\u2028\u2029"
_REMOVED: Final = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\ud800-\udfff"  # surrogates
    "\u061c\u200e\u200f\u202a-\u202e"  # bidi marks, embeddings and overrides
    "\u180e\u200b\u2060-\u206f\ufeff"  # zero-width separators, joiners and operators; bidi isolates
    "\ufff9-\ufffb"  # interlinear annotation
    "\U000e0000-\U000e007f"  # tags
)
_ASTRAL: Final = "\U00010000-\U0010ffff"


def _ranges(characters: list[str]) -> str:
    """Return the inside of a ``[...]`` in a regular expression that matches *characters* (in ascending order)."""
    ranges: list[list[str]] = []
    for character in characters:
        if ranges and ord(character) == ord(ranges[-1][1]) + 1:
            ranges[-1][1] = character
        else:
            ranges.append([character, character])
    return "".join(f"{first}-{last}" for first, last in ranges)


def _classify() -> tuple[list[str], list[str]]:
    """Return the marks that count towards the limit, and those that do not; both in ascending order.

    Mn and Me count, and the few spacing marks that NFC sorts, so that it never has more than eight to sort.
    """
    marks: list[str] = []
    loose: list[str] = []
    # All marks and format characters of Unicode are below U+20000 or in plane 14, and a test checks that this remains
    # true. A loop over all code points would take longer than all other imports together.
    for character in map(chr, (*range(0x20000), *range(0xE0000, 0xE1000))):
        match category(character):
            case "Mn" | "Me":
                marks.append(character)
            case "Mc" | "Cf":
                (marks if combining(character) else loose).append(character)
    return marks, loose


_marks, _loose = _classify()
_attached: Final = sorted(_marks + _loose)
_MARK: Final = f"[{_ranges(_marks)}]"
_LOOSE: Final = f"[{_ranges(_loose)}]"
_ATTACHED: Final = f"[{_ranges(_attached)}]"
# A regular expression looks up characters of the basic plane in a table, but compares others range by range. So the
# first search takes all others as one range, and only its matches are searched exactly.
_basic: Final = [character for character in _attached if ord(character) <= 0xFFFF]
_SUSPECT: Final = f"[{_ranges(_basic)}{_ASTRAL}]"

_blanks: Final = re.compile(f"[{_BLANKS}]")
_removed: Final = re.compile(f"[{_REMOVED}]+")
_suspects: Final = re.compile(f"{_SUSPECT}{_SUSPECT}{{{MAX_MARKS},}}")
_too_many: Final = re.compile(f"{_ATTACHED}{_ATTACHED}{{{MAX_MARKS},}}")
_allowed: Final = re.compile(f"(?:{_LOOSE}*+{_MARK}){{{MAX_MARKS}}}{_LOOSE}*+")


def sanitize(text: str) -> str:
    """Return *text*, a line without its end, as it may be shown. Idempotent.

    The rules and their reasons:

    * TAB, U+0085 (next line), U+2028 and U+2029 (line and paragraph separator) become a blank. A terminal, browser or
      log would begin a new line or column there. The blank separates the words around them.
    * C0, DEL and C1 are removed. They clear the screen, move the cursor, ring the bell, set titles and clipboards
      (``ESC [``, ``ESC ]``, and the same as the single characters U+009B and U+009D). The rest of such a sequence is
      harmless text and remains.
    * Bidi marks, embeddings, overrides and isolates (U+061C, U+200E, U+200F, U+202A-202E, U+2066-2069) are removed.
      They change the order in which a line is shown (UTR #36: bidirectional text spoofing). Without their end they
      affect the text that follows. Right-to-left text needs none of them.
    * Zero-width characters (U+180E, U+200B, U+2060-2064, U+FEFF), deprecated format characters (U+206A-206F),
      interlinear annotation (U+FFF9-FFFB) and tags (U+E0000-E007F) are removed. Texts that look the same could differ
      by them, or hide a second text. ZWNJ and ZWJ remain: Persian, the scripts of India and emoji need them.
    * Surrogates are removed. They are no characters and cannot be encoded.
    * The result is NFC, so that equal texts are equal strings for comparison and search.
    * A letter keeps at most eight combining marks (categories Mn and Me), because more would cover the lines above and
      below. Everything between the eighth mark and the next letter is removed. Spacing marks and format characters
      do not count, and they do not end the letter: marks after them still appear on it.

    Takes time linear in the length of *text*. Printable ASCII is returned as the same object.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _removed.sub("", _blanks.sub(" ", text))
    # The limit applies before NFC, because NFC sorts the marks of a letter in quadratic time. It applies again after
    # NFC, because NFC can split marks off: u with diaeresis and macron is one character, but not with a dot below.
    return _limit_marks(normalize("NFC", _limit_marks(text)))


def _limit_marks(text: str) -> str:
    """Return *text* without the marks after the eighth of a letter. The result is NFC if *text* is.

    The beginning of an NFC text is NFC. The character after a cut is no mark, so NFC does not reorder it, and no such
    character composes with a mark. So the two parts together are NFC, too.
    """
    return _suspects.sub(lambda suspects: _too_many.sub(_allowed_part, suspects[0]), text)


def _allowed_part(run: re.Match[str]) -> str:
    """Return the part of a run of marks that remains."""
    allowed = _allowed.match(run[0])
    return run[0] if allowed is None else allowed[0]
