"""Which nicknames there may be, and when two of them are the same or look the same; not who has which.

The rules are those of PROTOCOL.md. What is typed here has passed the text gate: it is NFC, and holds no controls.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import bidirectional, category, normalize

from broadcast.core.errors import NicknameRefused

MAX_NICKNAME_CHARS: Final = 24
"""A nickname has at most so many characters (code points in NFC)."""

RESERVED: Final = frozenset({"server", "system", "admin", "root", "operator", "here", "all", "quit", "exit"})
"""Nobody may be called that: it would read as the server speaking, as everybody, or as the words that leave."""

_plain: Final = re.compile(r"[A-Za-z0-9_.-]+")

# Letters and marks that nothing shows: the Default_Ignorable_Code_Point property of the Unicode character database
# (DerivedCoreProperties.txt), as far as it is letters and marks; the gate removes most of the others.
_invisible: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# What looks like an ASCII letter or digit: from confusables.txt of Unicode 17.0 (UTS #39, section 4), those letters and
# decimal digits that look like one ASCII character and are Latin, Greek, Coptic, Cyrillic, Armenian, Cherokee, Lisu, or
# a digit of any script. Compatibility forms (fullwidth, mathematical, ...) are left to NFKD where it says the same.
#
# Two things differ from that file. Capitals that it equates with l, because they look like a capital I, stand under i:
# nicknames are compared regardless of case. And no two ASCII characters are equated, neither 0 and O nor 1, l and I:
# two nicknames of a server without --unicode-nicknames are two with it as well, and ALI is not the reserved "all".
_LOOKS: Final = {
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

# The same for marks that differ by less than a terminal shows.
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
    """Look-alikes to what they look like. A small letter that looks like nothing by itself goes with its capital."""
    table = {ord(like): look for look, likes in (_LOOKS | _MARKS).items() for like in likes}
    capitals = {chr(like).casefold(): look for like, look in table.items()}
    return {ord(small): look for small, look in capitals.items() if len(small) == 1 and not small.isascii()} | table


_prototype: Final = _prototypes()
_dotted: Final = re.compile("(?<=[ij])\u0307")


def validate(name: str, *, unicode: bool = False) -> str:
    """The nickname that somebody who typed *name* asks for; raises ``NicknameRefused``, whose text says why not.

    Surrounding blanks are not part of it. It has 1 to 24 ASCII letters, digits, ``_``, ``-`` and ``.``; with *unicode*,
    letters and decimal digits of any script, and combining marks behind the letters that they belong to. Letters and
    marks that nothing shows are refused, and so are names that read from left to right in one part and from right to
    left in another: in what order those are shown depends on what stands around them. Reserved names are refused
    however they are capitalized; with *unicode*, also what looks like one.
    """
    name = name.strip()
    if unicode:
        name = normalize("NFC", name)
    if not name:
        raise NicknameRefused("a nickname cannot be empty.")
    if len(name) > MAX_NICKNAME_CHARS:
        raise NicknameRefused(f"a nickname has at most {MAX_NICKNAME_CHARS} characters.")
    if not (_is_word(name) if unicode else _plain.fullmatch(name)):
        raise NicknameRefused(f"a nickname holds only {'' if unicode else 'ASCII '}letters, digits, _, - and .")
    if {bidirectional(character) for character in name} & {"R", "AL"} and "L" in map(bidirectional, name):
        raise NicknameRefused("a nickname reads in one direction.")
    if casefold_key(name) in RESERVED or (unicode and skeleton(name) in RESERVED):
        raise NicknameRefused(f"{name} is reserved.")
    return name


def casefold_key(name: str) -> str:
    """What two spellings of one nickname have in common: case and compatibility forms make no difference.

    The compatibility caseless match of the Unicode Standard (section 3.13, D146): ``ANN`` is ``ann``, and so
    are their fullwidth forms; ``STRASSE`` is ``straße``. Takes any clean text.
    """
    if name.isascii():
        return name.lower()
    folded = normalize("NFKD", normalize("NFD", name).casefold()).casefold()
    return normalize("NFKC", folded)


def skeleton(name: str) -> str:
    """What nicknames that look alike have in common, in capitals or in small letters; to be compared, never shown.

    The idea is that of UTS #39, section 4, the facts are from its confusables.txt. Accents count: they are how many
    languages tell words apart, and in many scripts the vowels are marks. Nicknames of ASCII characters look alike only
    where they are the same.

    One name can still pass for another where a letter looks like one letter as a capital and like another as a small
    one (such as Greek nu): each is taken for what it looks like as typed.
    """
    look = normalize("NFKD", name.translate(_prototype)).translate(_prototype)
    folded = normalize("NFKD", look.casefold()).translate(_prototype)
    return _dotted.sub("", normalize("NFKD", folded))


def _is_word(name: str) -> bool:
    """Whether *name* holds only letters, the marks behind them, decimal digits, ``_``, ``-`` and ``.``."""
    if _invisible.search(name):
        return False
    after_letter = False
    for character in name:
        kind = category(character)
        if after_letter and kind in {"Mn", "Mc"}:
            continue
        after_letter = kind.startswith("L")
        if not (after_letter or kind == "Nd" or character in "_-."):
            return False
    return True
