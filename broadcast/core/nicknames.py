"""The rules for nicknames: which are allowed, which count as the same, and which look the same.

Nicknames have passed ``sanitize`` before: they are NFC and contain no control characters.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import bidirectional, category, normalize

from broadcast.core.errors import NicknameRejected

MAX_NICKNAME_CHARS: Final = 24
"""Maximum length of a nickname, in code points of its NFC form."""

RESERVED: Final = frozenset({"server", "system", "admin", "root", "operator", "here", "all", "quit", "exit"})
"""Nicknames that are not allowed: they read as the server, as all members, or as the words that end a session."""

_plain: Final = re.compile(r"[A-Za-z0-9_.-]+")
_not_plain: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_controls: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x84\x86-\x9f]")
"""C0, DEL and C1, except those that ``sanitize`` turns into a blank."""

# Invisible letters and marks: those with the property Default_Ignorable_Code_Point in the Unicode character database
# (DerivedCoreProperties.txt). ``sanitize`` removes most other characters with this property.
_invisible: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# Characters that look like one ASCII letter or digit, from confusables.txt of Unicode 17.0 (UTS #39, section 4). They
# are letters of Latin, Greek, Coptic, Cyrillic, Armenian, Cherokee and Lisu, and decimal digits of all scripts. The
# table omits compatibility forms (fullwidth, mathematical, ...), because NFKD covers them.
#
# The table differs from that file in two respects:
# * Capitals that look like a capital I are equated with l there, and with i here: nicknames are compared without case.
# * No two ASCII characters are equated, neither 0 and O nor 1, l and I. So nicknames that are different on a server
#   without --unicode-nicknames are different with it, too, and ALI is not the reserved "all".
_LOOKALIKES: Final = {
    "2": "ƧϨꙄꝚ",
    "3": "ƷȜЗӠ\u0969\u0ae9ⲜⳄⳌꝪꞫ",
    "4": "Ꮞ",
    "5": "Ƽ",
    "6": "ϬбᏮⳒⳓⳜ",
    "8": "Ȣȣ\u09ea\u0a6a",
    "9": "\u09ed\u0a67\u0b68\u0d6dⳊⳋꝮ",
    "a": "ɑΑαАаᎪꓮ",
    "b": "ƄΒВЬᏏᏴⲂꓐꞴ",
    "c": "ϲϹСсᏟᴄⲤⲥꓚꮯ\U000118e9",
    "d": "ԁᎠᏧꓒꓓ",
    "e": "ΕЕеҽᎬꓰꬲ",
    "f": "ſƒϜքẝꓝꞘꞙꬵ",
    "g": "ƍɡԌցᏀᏳᶃꓖ",
    "h": "ΗНһհᎻᏂⲎꓧ",
    "i": "ıɩɪΙιІіւᎥⲒⲓꓲꙇꭵ",
    "j": "ͿϳЈјᎫꓙꞲ",
    "k": "ΚКᏦⲔꓗ",
    "l": "ƖǀӀӏ\u0661\u06f1ᏞⳐꓡ",
    "m": "ΜϺМᎷⲘꓟ",
    "n": "ΝոռⲚꓠ",
    "o": (
        "ΟοσϭОоՕօ\u0665\u06f5\u07c0"
        "\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u1040\u17e0"
        "ᴏᴑⲞⲟꓳꬽ\U000114d0\U000118e0"
    ),
    "p": "þƿΡρϸРрᏢⲢⲣⳎⳏꓑ",
    "q": "ԛգզ",
    "r": "ƦгᎡᏒᴦⲅꓣꭇꭈꮁ",
    "s": "ƽЅѕՏᏕᏚꓢꜱꮪ",
    "t": "ΤТᎢⲦꓔ",
    "u": "ʋυՍսᴜꓴꞟꭎꭒ",
    "v": "νѴѵ\u0667\u06f7Ꮩᴠꓦꮩ",
    "w": "ɯшѡԜԝաᎳᏔᴡⲽꓪꮃ\U000118e6",
    "x": "ΧХхⲬꓫꞳ",
    "y": "ɣʏΥγУуҮүᎩᎽᶌỿⲨⲩꓬꭚ",
    "z": "ΖᏃᴢꓜꮓ\U000118e5",
}

# Combining marks that look alike in a terminal.
_MARKS: Final = {
    "\u0302": "\u0311",  # circumflex: inverted breve
    "\u0303": "\u0342",  # tilde: perispomeni
    "\u0304": "\u0305",  # macron: overline
    "\u0306": "\u030c",  # breve: caron
    "\u0307": "\u0358",  # dot above: dot above right
    "\u0326": "\u0321\u0327\u0339",  # comma below: palatalized hook, cedilla, right half ring below
    "\u0328": "\u0322",  # ogonek: retroflex hook
    "\u0331": "\u0320",  # macron below: minus sign below
    "\u0335": "\u0336",  # short stroke: long stroke
    "\u0338": "\u0337",  # long solidus: short solidus
}


def _prototypes() -> dict[int, str]:
    """Return the prototype of each look-alike, as a table for ``str.translate``.

    A small letter that is not in the tables has the prototype of its capital.
    """
    table = {ord(alike): prototype for prototype, all_alike in (_LOOKALIKES | _MARKS).items() for alike in all_alike}
    folded = {chr(alike).casefold(): prototype for alike, prototype in table.items()}
    small = {ord(key): prototype for key, prototype in folded.items() if len(key) == 1 and not key.isascii()}
    return small | table


_prototype: Final = _prototypes()
_dotted: Final = re.compile("(?<=[ij])\u0307")  # these letters have a dot, so the mark does not show


def validate(name: str, *, unicode: bool = False) -> str:
    """Return the nickname in *name*, without surrounding blanks. Raises ``NicknameRejected``, whose text says why.

    * A nickname has 1 to 24 characters: ASCII letters, digits, ``_``, ``-`` and ``.``.
    * With *unicode*, letters and decimal digits of any script are allowed, and combining marks after a letter.
    * Invisible letters and marks are rejected.
    * Nicknames that mix left-to-right and right-to-left letters are rejected: their order on the screen depends on the
      text around them.
    * Reserved nicknames are rejected, with any capitalization; with *unicode*, also nicknames that look like one.
    """
    name = name.strip()
    if unicode:
        name = normalize("NFC", name)
    if not name:
        raise NicknameRejected("a nickname cannot be empty.", "characters")
    if len(name) > MAX_NICKNAME_CHARS:
        raise NicknameRejected(f"a nickname has at most {MAX_NICKNAME_CHARS} characters.", "too-long")
    if not (_is_word(name) if unicode else _plain.fullmatch(name)):
        allowed = f"{'' if unicode else 'ASCII '}letters, digits, _, - and ."
        raise NicknameRejected(f"a nickname holds only {allowed}", "characters")
    if {bidirectional(character) for character in name} & {"R", "AL"} and "L" in map(bidirectional, name):
        raise NicknameRejected("a nickname reads in one direction.", "characters")
    if casefold_key(name) in RESERVED or (unicode and skeleton(name) in RESERVED):
        raise NicknameRejected(f"{name} is reserved.", "reserved")
    return name


def make_stem(text: str, length: int) -> str:
    """Return the characters of *text*, up to the first ``@``, that every nickname may have: *length* at most.

    Letters lose their accents. The result is ``user`` if nothing is left.
    """
    plain = _not_plain.sub("", normalize("NFKD", text.partition("@")[0]))
    return plain[:length] or "user"


def reject_controls(typed: str) -> None:
    """Raise ``NicknameRejected`` if *typed*, the line before ``sanitize``, contains control characters.

    Without them, the rest of an arrow key, or of another protocol's binary message, could be a valid nickname.
    """
    if _controls.search(typed):
        msg = "a nickname holds no control characters, such as those that arrow keys send."
        raise NicknameRejected(msg, "characters")


def casefold_key(name: str) -> str:
    """Return the comparison key of *name*. Two nicknames are the same if their keys are equal.

    The key ignores case and compatibility forms, by the compatibility caseless match of the Unicode Standard (section
    3.13, D146): ``ANN`` is ``ann``, and so are their fullwidth forms; ``STRASSE`` is ``straße``. *name* can be any
    sanitized text.
    """
    if name.isascii():
        return name.lower()
    folded = normalize("NFKD", normalize("NFD", name).casefold()).casefold()
    return normalize("NFKC", folded)


def skeleton(name: str) -> str:
    """Return the skeleton of *name*, for comparison only. Two nicknames look alike if their skeletons are equal.

    This is the method of UTS #39, section 4, with the data of its confusables.txt, and without regard to case. Accents
    count, because many languages distinguish words by them, and in many scripts the vowels are marks. ASCII nicknames
    look alike only if they are the same.

    One case is not covered: a letter can look like one letter as a capital and like another as a small letter, for
    example Greek nu. The skeleton follows only its look as typed.
    """
    typed = normalize("NFKD", name.translate(_prototype)).translate(_prototype)
    folded = normalize("NFKD", typed.casefold()).translate(_prototype)
    return _dotted.sub("", normalize("NFKD", folded))


def _is_word(name: str) -> bool:
    """Return whether *name* has only letters, marks after letters, decimal digits, ``_``, ``-`` and ``.``."""
    if _invisible.search(name):
        return False
    after_letter = False
    for character in name:
        general_category = category(character)
        if after_letter and general_category in {"Mn", "Mc"}:
            continue
        after_letter = general_category.startswith("L")
        if not (after_letter or general_category == "Nd" or character in "_-."):
            return False
    return True
