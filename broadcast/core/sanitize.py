"""The text gate: what is said is safe for every terminal, and one line in is one line out; no bytes, no encoding.

Everything that people type passes it once, before anybody else sees it: lines, nicknames, reasons, arguments. What
it lets through holds for every door, so no wire looks at a character again.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import category, combining, normalize

MAX_MARKS: Final = 8
"""At most so many combining marks on one letter (PROTOCOL)."""

_BLANKS: Final = "\t\x85\u2028\u2029"
_REMOVED: Final = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\ud800-\udfff"  # surrogates
    "\u061c\u200e\u200f\u202a-\u202e"  # bidi marks, embeddings and overrides
    "\u180e\u200b\u2060-\u206f\ufeff"  # without width: separators, joiners, operators; and the bidi isolates
    "\ufff9-\ufffb"  # interlinear annotation
    "\U000e0000-\U000e007f"  # tags
)
_ASTRAL: Final = "\U00010000-\U0010ffff"


def _ranges(characters: list[str]) -> str:
    """The inside of a regular expression's ``[...]`` that matches *characters* (in ascending order)."""
    ranges: list[list[str]] = []
    for character in characters:
        if ranges and ord(character) == ord(ranges[-1][1]) + 1:
            ranges[-1][1] = character
        else:
            ranges.append([character, character])
    return "".join(f"{first}-{last}" for first, last in ranges)


def _classify() -> tuple[list[str], list[str]]:
    """The marks that count, and what neither counts nor separates; each in ascending order.

    Besides Mn and Me, a few spacing marks count: those that NFC sorts, so that it never has more than eight to sort.
    """
    marks: list[str] = []
    loose: list[str] = []
    # Unicode has given all its marks and format characters below 20000 and in plane 14, and a test sees to it that
    # this stays true: looking at all code points would take longer than every other import together.
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
# A set of characters is looked up at once in the basic plane, and range by range beyond it. So what might be a crowd
# of marks is searched with the whole rest as one range, and only what was found is looked at closely.
_basic: Final = [character for character in _attached if ord(character) <= 0xFFFF]
_SUSPECT: Final = f"[{_ranges(_basic)}{_ASTRAL}]"

_blanks: Final = re.compile(f"[{_BLANKS}]")
_removed: Final = re.compile(f"[{_REMOVED}]+")
_suspects: Final = re.compile(f"{_SUSPECT}{_SUSPECT}{{{MAX_MARKS},}}")
_crowd: Final = re.compile(f"{_ATTACHED}{_ATTACHED}{{{MAX_MARKS},}}")
_allowed: Final = re.compile(f"(?:{_LOOSE}*+{_MARK}){{{MAX_MARKS}}}{_LOOSE}*+")


def sanitize(text: str) -> str:
    """What may be shown of *text*, a line without its end; cleaning it again changes nothing.

    The rules, and what each protects:

    * TAB, U+0085 (next line), U+2028 and U+2029 (line and paragraph separator) become a blank: somebody's terminal,
      browser or log would begin a new line or column there, and the words around them stay apart.
    * C0, DEL and C1 are removed: they clear the screen, move the cursor, ring, set titles and clipboards (``ESC [``,
      ``ESC ]``, and the same as the single characters U+009B and U+009D). The rest of such a sequence stays, as
      harmless as it looks.
    * Bidi marks, embeddings, overrides and isolates (U+061C, U+200E, U+200F, U+202A-202E, U+2066-2069) are removed:
      they show a line in another order than it has (UTR #36: bidirectional text spoofing), and without their end they
      go on into what follows. Right-to-left text needs none of them.
    * What has no width (U+180E, U+200B, U+2060-2064, U+FEFF), deprecated format characters (U+206A-206F), interlinear
      annotation (U+FFF9-FFFB) and tags (U+E0000-E007F) are removed: they make two texts that look the same differ,
      and hide a second text in the first. ZWNJ and ZWJ stay, for Persian, the scripts of India, and emoji need them.
    * Surrogates are removed: they are no characters, and nothing could encode them.
    * The result is NFC, so that the same text is the same string, for comparing and for searching.
    * More than eight combining marks (categories Mn and Me) on one letter would climb over the lines above and
      below: what follows the eighth is removed, up to the next letter. Spacing marks and format characters neither
      count nor separate: marks behind them still land on that letter.

    Takes time linear in the length of *text*; printable ASCII comes back as the same object.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _removed.sub("", _blanks.sub(" ", text))
    # Before NFC, because that sorts the marks of a letter in quadratic time; and after it, because NFC can take marks
    # off a letter: u with diaeresis and macron is one character, but not with another dot below.
    return _limit_marks(normalize("NFC", _limit_marks(text)))


def _limit_marks(text: str) -> str:
    """*text* without what follows the eighth mark of a letter; still NFC, if *text* was.

    The beginning of an NFC text is NFC. What comes behind a cut is no mark, so it is not reordered, and no such
    character composes with a mark: the two parts together are NFC as well.
    """
    return _suspects.sub(lambda suspects: _crowd.sub(_beginning, suspects[0]), text)


def _beginning(crowd: re.Match[str]) -> str:
    """What stays of a run of marks and the like."""
    allowed = _allowed.match(crowd[0])
    return crowd[0] if allowed is None else allowed[0]
