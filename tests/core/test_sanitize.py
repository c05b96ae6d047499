"""Sanitized text is safe for every terminal, stays one line, and has one form."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from unicodedata import category, combining, decomposition, is_normalized, name, normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.core.sanitize import MAX_MARKS, sanitize
from tests.fuzz.text import check

ZWNJ, ZWJ = "\u200c", "\u200d"
ACUTE, DOT_BELOW, GRAPHEME_JOINER = "\u0301", "\u0323", "\u034f"

C0_C1_DEL = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
WIDTHLESS = set("\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff")
ANNOTATION = set("\ufff9\ufffa\ufffb")
DEPRECATED_FORMATS, TAGS, SURROGATES = (
    set(map(chr, codes)) for codes in (range(0x206A, 0x2070), range(0xE0000, 0xE0080), range(0xD800, 0xE000))
)
BLANKS = set("\t\x85\u2028\u2029")
REMOVED = (C0_C1_DEL | BIDI | WIDTHLESS | DEPRECATED_FORMATS | ANNOTATION | TAGS | SURROGATES) - BLANKS
UNSAFE = REMOVED | BLANKS
C1_INTRODUCERS = set("\x8e\x8f\x90\x98\x9b\x9d\x9e\x9f")


def tags(text: str) -> str:
    """Return the tag characters of *text*."""
    return "".join(chr(0xE0000 + ord(character)) for character in text)


BLACK_FLAG, CANCEL_TAG = "\U0001f3f4", "\U000e007f"
SCOTLAND, TEXAS = (BLACK_FLAG + tags(region) + CANCEL_TAG for region in ("gbsct", "ustx"))
FLAG = re.compile(f"{BLACK_FLAG}[{tags('0')}-{tags('9')}{tags('a')}-{tags('z')}]{{3,6}}{CANCEL_TAG}")


def is_safe(text: str) -> bool:
    """Return whether *text* contains no unsafe character, except the tags of a flag."""
    return UNSAFE.isdisjoint(FLAG.sub("", text))


def everything() -> Iterator[str]:
    """Return all characters. A list would take each process of pytest long to make, also those without these tests."""
    return map(chr, range(sys.maxunicode + 1))


ATTACHING = {"Mn", "Me", "Mc", "Cf"}
ATTACHED = {c for c in map(chr, (*range(0x20000), *range(0xE0000, 0xE1000))) if category(c) in ATTACHING}
"""All marks and format characters: a test checks that there are no others."""

# Where the rules meet: marks of all classes; marks and letters that compose with each other, or only after something
# between them is removed; characters that neither count nor separate; and everything that is removed.
NASTY = st.lists(
    st.one_of(
        st.sampled_from(
            "aeu \u01d6\u1ee5\u1ebf"  # letters, with and without marks that NFC takes apart again
            f"{ACUTE}{DOT_BELOW}{GRAPHEME_JOINER}\u0304\u0307\u0308\u0315\u0327\u0338\u0345\u20dd\u20e3\ufe0f"
            f"{ZWNJ}{ZWJ}\xad\u0600"
            "\u0cbf\u0cc6\u0cc2\u0cd5\u0dd9\u0dcf\u0dca\u0b47\u0b3e\u0bc6\u0bbe\u302e\u302f\u3099\u304b"
            "\u1100\u1161\u11a8\uac00\u05d0\u05b8\u0627\u064e\u0651\u0f71\u0f72\u0f74"
            "\U0001d157\U0001d165\U0001d16d\U00011131\U00011127\U000114b9\U000114b0\U0001f468\U0001f3fd"
        ),
        st.sampled_from(sorted(BLANKS | BIDI | WIDTHLESS | ANNOTATION)),
        st.sampled_from([SCOTLAND, BLACK_FLAG, tags("gbsct"), tags("x"), CANCEL_TAG]),
        st.sampled_from(["\x1b[", "\x1bO", "\x1b]", "\x1b\\", "\x1b(", "\x07", "\x9b", "\x9d", "\x9c", "1;", "[", "~"]),
        st.sampled_from(sorted(ATTACHED)),
        st.characters(categories=("Mn", "Me", "Mc", "Cf", "Lo", "Cc", "Cs")),
        st.characters(),
    ),
    max_size=60,
).map("".join)


def most_marks(text: str) -> int:
    """Return the largest number of combining marks (Mn, Me) on one letter of *text*."""
    most = count = 0
    for character in text:
        if category(character) in {"Mn", "Me"}:
            count += 1
        elif character not in ATTACHED:
            count = 0
        most = max(most, count)
    return most


# Characters that are removed or become a blank


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
@example("")
@example("  two blanks in front, one behind ")
@example("".join(map(chr, range(0x20, 0x7F))))
def test_printable_ascii_comes_back_as_the_same_object(text: str) -> None:
    assert sanitize(text) is text


def test_exactly_the_unsafe_characters_are_removed_or_become_a_blank() -> None:
    for character in REMOVED - C1_INTRODUCERS:
        assert sanitize(f"{character}a{character}b\xe4{character}{character}") == "ab\xe4", ascii(character)
    for blank in BLANKS:
        assert sanitize(f"a{blank}b{blank}{blank}") == "a b  ", ascii(blank)
    others = sorted(set(everything()) - UNSAFE - {" ", "\u2065"})  # the last is unassigned, amid them
    shown = sanitize(" ".join(others)).split(" ")
    assert [ascii(c) for c, s in zip(others, shown, strict=True) if s != normalize("NFC", c)] == []


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        pytest.param("\x07" * 4096 + "\x0e\x0f\x08\x08\x08\x7f", "", id="BEL storm, shifts, backspaces, DEL"),
        pytest.param("\u202ereversed\u202c \u2066isolated", "reversed isolated", id="bidi override, open isolate"),
        pytest.param("a\u200b\u200e\u200f\ufeffb", "ab", id="zero width"),
        pytest.param("hi\U000e0041\U000e0042\U000e007f", "hi", id="a hidden text in tags"),
        pytest.param(BLACK_FLAG + tags("gbsct") + "!", BLACK_FLAG + "!", id="a flag without its cancel tag"),
        pytest.param(BLACK_FLAG + tags("gb") + CANCEL_TAG, BLACK_FLAG, id="a flag with too few tags"),
        pytest.param(BLACK_FLAG + tags("secrets") + CANCEL_TAG, BLACK_FLAG, id="a flag with too many tags"),
        pytest.param(BLACK_FLAG + tags("GBSCT") + CANCEL_TAG, BLACK_FLAG, id="a flag with capital tags"),
        pytest.param(BLACK_FLAG + "\ufe0f" + tags("gbsct") + CANCEL_TAG, BLACK_FLAG + "\ufe0f", id="tags after VS16"),
        pytest.param("\U0001f600" + tags("gbsct") + CANCEL_TAG, "\U0001f600", id="tags after another emoji"),
        pytest.param(SCOTLAND + tags("hidden") + CANCEL_TAG, SCOTLAND, id="tags after a flag"),
        pytest.param(f"{SCOTLAND}\x00{tags('x')}{TEXAS}", SCOTLAND + TEXAS, id="tags between two flags"),
        pytest.param("a" + ACUTE * 10_000, "\xe1" + ACUTE * (MAX_MARKS - 1), id="ten thousand marks on one letter"),
        pytest.param("a\r\nb\nc\rd\x00e\x0bf\x0cg\x1ch\x1di\x1ej", "abcdefghij", id="line ends of every kind"),
        pytest.param("a\tb\x85c\u2028d\u2029e", "a b c d e", id="TAB, line ends of Unicode"),
        pytest.param("\ud83d\ude00", "", id="surrogates, even as a pair"),
    ],
)
def test_terminal_commands_become_harmless(hostile: str, harmless: str) -> None:
    assert sanitize(hostile) == harmless


@pytest.mark.parametrize(
    "sequence",
    [
        *("[2J", "[m", "[1;31m", "[38;5;196m", "[?2004h", "[!p", "[2 q", "[>0;276;0c", "[6n"),
        *("[200~", "[201~", "[A", "[1;5C", "[H", "[3~", "[15~", "[24;8~", "[[A", "[Z", "[I", "[27;5;9~", "[97;5u"),
        *("OA", "OP", "O5P", "OM", "N~"),
        *("]0;title\x07", "]8;;http://x\x1b\\", "]52;c;cm0gLXJm\x07", "]\x07", "]0;\u00e4\U0001f600\u202e\x1b\\"),
        *("P$q\x1b\\", "P+q544e\x1b\\", "Xsos\x1b\\", "^pm\x1b\\", "_Gapc=1;AAAA\x1b\\", f"]0;{SCOTLAND}\x07"),
        *("(B", "(0", "#8", "%G", "\\"),
    ],
    ids=ascii,
)
def test_escape_sequence_is_removed_as_a_whole(sequence: str) -> None:
    """Escape sequences of programs, keys and pasted text, with ESC and as C1 characters."""
    assert sanitize(f"a\x1b{sequence}b") == "ab"
    assert sanitize(f"\x1b{sequence}" * 3) == ""
    if sequence[0] in "NOPX[\\]^_":
        c1 = chr(ord(sequence[0]) + 0x40) + sequence[1:]
        assert sanitize(f"a{c1}b") == "ab"
        assert sanitize(f"a{c1}b".replace("\x1b\\", "\x9c")) == "ab"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(
            (f"a\x1b{unfinished}", "a")
            for unfinished in ("", "[", "[1;", "[2 ", "O", "O5", "N", "(", "]", "P", "]0;title")
        ),
        *((f"a\x1b{unfinished}\u00e4", "a\u00e4") for unfinished in ("", "[", "[1;", "[2 ", "O", "(")),
        *((f"a\x1b{string}b\x07c", "ac") for string in ("]0;", "P1", "X", "^", "_")),
        ("a\x1b]0;b\x1b[31mc", "ac"),
        ("a\x1b]0;b\x18c\x1b]0;d\x1ae", "ace"),
        ("a\x1b[3\x1b[1mb", "ab"),
        ("a\x1b]0;b\x1b\x1b\\c", "ac"),
        ("a\x9b2Jb\x9d0;c\x9cd\x1b]0;e\x9cf", "abdf"),
        ("\x1b\x1b[Aa", "a"),
        ("\x1bc\x1b7\x1b=d\x1b e", "c7=d e"),
        ("[2J ]0; \\", "[2J ]0; \\"),
    ],
    ids=ascii,
)
def test_escape_sequence_extends_as_far_as_a_terminal_takes_it(text: str, shown: str) -> None:
    """Without its end, a string extends to the end of the line. ESC before another character is removed alone."""
    assert sanitize(text) == shown


@given(st.binary(max_size=300))
@example(b"\xc0\xaf")  # an overlong slash
@example(b"\xed\xa0\x80")  # a surrogate
@example(b"\xf5\x80\x80\x80")  # past the last code point
@example(b"\xff\xfe")  # a byte order mark
@example(b"hi \xe2\x82")  # cut off at the end
@example(b"hi \xf0\x9f\x98")  # cut off at the end, beyond the basic plane
def test_any_bytes_make_safe_text_that_can_be_encoded_again(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    shown = sanitize(text)
    assert is_safe(shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert ("\ufffd" in shown) == ("\ufffd" in text)


# Characters that stay


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"\u0645\u06cc{ZWNJ}\u062e\u0648\u0627\u0647\u0645", id="Persian with ZWNJ"),
        pytest.param(f"\u0915\u094d{ZWJ}\u0937", id="Devanagari with ZWJ"),
        pytest.param(f"\U0001f468\U0001f3fd{ZWJ}\u2764\ufe0f{ZWJ}\U0001f48b{ZWJ}\U0001f468", id="emoji with ZWJ"),
        pytest.param(f"{SCOTLAND}{TEXAS}x{SCOTLAND}", id="flags of regions"),
        pytest.param("1\ufe0f\u20e3 #\u20e3", id="keycaps"),
        pytest.param("\u2764\ufe0e \u2764\ufe0f", id="text and emoji presentation"),
        pytest.param("\U0001f44b\U0001f3fd", id="skin tone"),
        pytest.param("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", id="flags of countries"),
        pytest.param(f"\U0001f3f4{ZWJ}\u2620\ufe0f", id="pirate flag"),
        pytest.param("\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48", id="Thai"),
        pytest.param("Vi\u1ec7t Nam, \u03ac\u03b2\u03b3, \u0439, \u0448\u0430\u043b\u043e\u043c", id="accents"),
        pytest.param("\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", id="pointed Hebrew"),
        pytest.param("\u0f66\u0f92\u0fb2\u0f74\u0f56\u0f0b", id="Tibetan stacks"),
        pytest.param("\u6f22\u5b57 \u304b\u306a \ud55c\uae00 \xa0\u3000", id="East Asia, wide blanks"),
        pytest.param("\ufffd\ue000\U0010fffd", id="replacement character, private use"),
    ],
)
def test_characters_that_languages_need_stay(text: str) -> None:
    assert sanitize(text) == normalize("NFC", text)


def test_text_has_one_form_however_it_was_composed() -> None:
    assert sanitize("e\u0301") == sanitize("\xe9") == "\xe9"
    assert sanitize("\u1112\u1161\u11ab") == "\ud55c"


# Marks


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("x" + ACUTE * 8, "x" + ACUTE * 8, id="eight stay"),
        pytest.param(
            "x" + ACUTE * 9 + "y" + ACUTE * 8 + "z",
            "x" + ACUTE * 8 + "\xfd" + ACUTE * 7 + "z",
            id="the ninth is removed, up to the next letter",
        ),
        pytest.param(ACUTE * 20, ACUTE * 8, id="marks without a letter"),
        pytest.param("\u0f71" * 20, "\u0f71" * 8, id="Tibetan vowels without a letter"),
        pytest.param("x" + "\u20dd" * 20, "x" + "\u20dd" * 8, id="enclosing marks"),
        pytest.param(
            "\U0001e900" + "\U0001e944" * 20, "\U0001e900" + "\U0001e944" * 8, id="marks beyond the basic plane"
        ),
        pytest.param("\U0001f600" * 100, "\U0001f600" * 100, id="letters beyond the basic plane"),
    ],
)
def test_at_most_eight_marks_stay_on_a_letter(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@pytest.mark.parametrize("between", [ZWJ, ZWNJ, GRAPHEME_JOINER, "\xad", "\u0903", "\u302e"], ids=name)
def test_characters_that_stay_with_the_letter_do_not_allow_more_marks(between: str) -> None:
    shown = sanitize("x" + (ACUTE * 3 + between) * 100)
    assert shown.count(ACUTE) <= MAX_MARKS
    assert most_marks(shown) <= MAX_MARKS


def test_letter_that_nfc_decomposes_has_at_most_eight_marks() -> None:
    text = "\u01d6" + DOT_BELOW + ACUTE * 7
    assert len(normalize("NFC", text)) > 1 + MAX_MARKS
    assert most_marks(sanitize(text)) == MAX_MARKS


# No clock is read here. In quadratic time, each of these would take minutes.


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" + (ACUTE + DOT_BELOW) * 100_000, id="marks that NFC would sort"),
        pytest.param("a" + "\U0001d165\u302e" * 100_000, id="spacing marks that NFC would sort"),
        pytest.param("a" + ZWJ * 200_000, id="joiners"),
        pytest.param(("a" + ZWJ * 9 + ACUTE * 8) * 10_000, id="many letters, just not too many marks"),
        pytest.param("\x1ba" * 100_000, id="controls"),
        pytest.param("\x1b[" * 100_000, id="sequences without an end"),
        pytest.param("\x1b[" + "0" * 200_000, id="a sequence without an end"),
        pytest.param("\x1b]" * 100_000, id="strings without an end"),
        pytest.param("\x1b]" + "\x9d" * 200_000, id="C1 strings without an end"),
        pytest.param((BLACK_FLAG + tags("gbsct")) * 20_000, id="flags without their cancel tag"),
        pytest.param(SCOTLAND * 4_000, id="flags"),
        pytest.param("\u0903" * 200_000, id="spacing marks"),
        pytest.param("\U0001f600" * 200_000, id="emoji"),
    ],
)
def test_hundred_thousands_of_characters_are_sanitized_in_linear_time(text: str) -> None:
    assert most_marks(sanitize(text)) <= MAX_MARKS


# Facts about Unicode that the module relies on


def test_marks_and_format_characters_are_in_the_planes_that_are_searched() -> None:
    assert {c for c in everything() if category(c) in ATTACHING or combining(c)} == ATTACHED


def test_nfc_brings_back_nothing_that_was_removed() -> None:
    assert UNSAFE.isdisjoint(normalize("NFC", " ".join(set(everything()) - UNSAFE)))


def test_no_letter_composes_with_a_mark_before_it() -> None:
    """So a character after a cut does not change the marks before it."""
    for character in everything():
        parts = decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (chr(int(part, 16)) for part in parts)
            assert first not in ATTACHED or second in ATTACHED, name(character)


# Properties of any text


@given(NASTY)
@example("x" + ACUTE * 8 + "\u0cc6" + ACUTE + "\u0cc2")
@example("x" + ACUTE * 7 + "\u0cc6" + ACUTE + "\u0cc2")
@example("x" + ACUTE * 8 + GRAPHEME_JOINER + "\U0001d165")
@example("\u01d6" + ACUTE * 8 + DOT_BELOW)
@example("\u01d6" + DOT_BELOW + ACUTE * 7)
@example("e\u200b\u0301")
@example("\u1100\u200b\u1161\x00\u11a8")
def test_sanitized_text_is_safe_one_line_nfc_and_does_not_change_again(text: str) -> None:
    shown = sanitize(text)
    assert is_safe(shown)
    assert len(shown.splitlines()) <= 1
    assert is_normalized("NFC", shown)
    assert most_marks(shown) <= MAX_MARKS
    assert sanitize(shown) == shown


@given(NASTY)
@example("\x1b[\x9b[A\x1b]0;\x1b[200~a")
def test_sequences_end_where_those_of_the_reference_end(text: str) -> None:
    check(b"\0" + text.encode("utf-8", "replace"))


@given(NASTY, NASTY)
def test_parts_of_sanitized_text_are_sanitized(before: str, after: str) -> None:
    """So the arguments of a command need not be sanitized again."""
    for part in sanitize(f"{before} {after}").split(" "):
        assert sanitize(part) == part
