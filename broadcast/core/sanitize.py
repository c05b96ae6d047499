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
_UNSAFE: Final = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\ud800-\udfff"  # surrogates
    "\u061c\u200e\u200f\u202a-\u202e"  # bidi marks, embeddings and overrides
    "\u180e\u200b\u2060-\u206f\ufeff"  # zero-width separators, joiners and operators; bidi isolates
    "\ufff9-\ufffb"  # interlinear annotation
    "\U000e0000-\U000e007f"  # tags
)
_ASTRAL: Final = "\U00010000-\U0010ffff"

_INTRODUCERS: Final = "\x8e-\x90\x98\x9b-\x9f"
"""The C1 characters that begin or end a sequence. ESC and a letter mean the same."""
_ESCAPE_SEQUENCE: Final = (
    r"\x1b(?:"
    # ECMA-48, section 5.4. The Linux console sends ESC [ [ A to E for F1 to F5.
    r"\[(?:\[[A-E]|[0-?]*+[ -/]*+[@-~]?)"  # CSI: parameters, intermediate characters, a final character
    r"|[NO][0-9;]*+[!-~]?"  # SS2 and SS3: one character; old versions of xterm write parameters before it
    r"|[PX\]^_][^\x07\x18\x1a\x1b]*+(?:\x1b\\|\x07)?"  # DCS, SOS, OSC, PM and APC: a string up to ST, or BEL in xterm
    r"|[#%(-/][ -/]*+[0-~]?"  # ECMA-35: character sets; ESC # 8
    r"|\\"  # ST
    r")"
)
"""A sequence of a terminal or of its keys, also without its end. ESC, CAN and SUB cancel a string."""
_FLAG: Final = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"
"""The flag of a region, such as Scotland: a valid emoji tag sequence."""


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
_unsafe: Final = re.compile(f"[{_UNSAFE}]+")
_introducers: Final = re.compile(f"[{_INTRODUCERS}]")
_escape_sequences: Final = re.compile(_ESCAPE_SEQUENCE)
_flags: Final = re.compile(f"({_FLAG})")
_suspects: Final = re.compile(f"{_SUSPECT}{_SUSPECT}{{{MAX_MARKS},}}")
_too_many: Final = re.compile(f"{_ATTACHED}{_ATTACHED}{{{MAX_MARKS},}}")
_allowed: Final = re.compile(f"(?:{_LOOSE}*+{_MARK}){{{MAX_MARKS}}}{_LOOSE}*+")


def sanitize(text: str) -> str:
    """Return *text*, a line without its end, as it may be shown. Idempotent.

    The rules and their reasons:

    * TAB, U+0085 (next line), U+2028 and U+2029 (line and paragraph separator) become a blank. A terminal, browser or
      log would begin a new line or column there. The blank separates the words around them.
    * Escape sequences are removed: those that clear the screen or set titles and clipboards, those that arrow keys and
      function keys send, and those around pasted text (bracketed paste). A string without its end (``ESC ]``) extends
      to the end of the line. After ESC, any other character remains: somebody may have pressed Esc and typed on.
    * Other C0, DEL and C1 characters are removed.
    * Bidi marks, embeddings, overrides and isolates (U+061C, U+200E, U+200F, U+202A-202E, U+2066-2069) are removed.
      They change the order in which a line is shown (UTR #36: bidirectional text spoofing). Without their end they
      affect the text that follows. Right-to-left text needs none of them.
    * Zero-width characters (U+180E, U+200B, U+2060-2064, U+FEFF), deprecated format characters (U+206A-206F),
      interlinear annotation (U+FFF9-FFFB) and tags (U+E0000-E007F) are removed. Texts that look the same could differ
      by them, or hide a second text. ZWNJ and ZWJ remain: Persian, the scripts of India and emoji need them.
    * Tags remain in the flag of a region: a black flag, three to six letters and digits, and U+E007F. This is a valid
      emoji tag sequence (UTS #51, annex C) without the list of existing regions. All other emoji sequences consist of
      characters that remain.
    * Surrogates are removed. They are no characters and cannot be encoded.
    * The result is NFC, so that equal texts are equal strings for comparison and search.
    * A letter keeps at most eight combining marks (categories Mn and Me), because more would cover the lines above and
      below. Everything between the eighth mark and the next letter is removed. Spacing marks and format characters
      do not count, and they do not end the letter: marks after them still appear on it.

    Takes time linear in the length of *text*. Printable ASCII is returned as the same object.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _blanks.sub(" ", text)
    if _unsafe.search(text):
        text = _remove_unsafe(text)
    # The limit applies before NFC, because NFC sorts the marks of a letter in quadratic time. It applies again after
    # NFC, because NFC can split marks off: u with diaeresis and macron is one character, but not with a dot below.
    limited = _limit_marks(text)
    composed = normalize("NFC", limited)
    return composed if composed == limited else _limit_marks(composed)


def _remove_unsafe(text: str) -> str:
    """Return *text* without escape sequences and unsafe characters."""
    text = _introducers.sub(lambda introducer: f"\x1b{chr(ord(introducer[0]) - 0x40)}", text)
    parts = _flags.split(_escape_sequences.sub("", text))
    parts[::2] = (_unsafe.sub("", part) for part in parts[::2])  # the others are flags
    return "".join(parts)


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
