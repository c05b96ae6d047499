"""What the text gate promises: safe for every terminal, one line in is one line out, the same text is one string."""

from __future__ import annotations

import sys
from unicodedata import category, combining, decomposition, is_normalized, name, normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.core.sanitize import MAX_MARKS, sanitize

ZWNJ, ZWJ = "\u200c", "\u200d"
ACUTE, DOT_BELOW, GRAPHEME_JOINER = "\u0301", "\u0323", "\u034f"

C0_C1_DEL = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
WIDTHLESS = set("\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff")
DEPRECATED = {chr(code) for code in range(0x206A, 0x2070)}
ANNOTATION = set("\ufff9\ufffa\ufffb")
TAGS = {chr(code) for code in range(0xE0000, 0xE0080)}
SURROGATES = {chr(code) for code in range(0xD800, 0xE000)}
BLANKS = set("\t\x85\u2028\u2029")
REMOVED = (C0_C1_DEL | BIDI | WIDTHLESS | DEPRECATED | ANNOTATION | TAGS | SURROGATES) - BLANKS

UNSAFE = REMOVED | BLANKS

EVERYTHING = [chr(code) for code in range(sys.maxunicode + 1)]
ATTACHED = frozenset(c for c in EVERYTHING if category(c) in {"Mn", "Me", "Mc", "Cf"})

# Where the rules meet: marks of all classes, marks and letters that compose with each other or only once something
# between them is gone, what neither counts nor separates, and everything that is removed.
NASTY = st.text(
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
        st.sampled_from(sorted(ATTACHED)),
        st.characters(categories=("Mn", "Me", "Mc", "Cf", "Lo", "Cc", "Cs")),
        st.characters(),
    ),
    max_size=60,
)


def most_marks(text: str) -> int:
    """The most combining marks (Mn, Me) on one letter of *text*."""
    most = count = 0
    for character in text:
        if category(character) in {"Mn", "Me"}:
            count += 1
        elif character not in ATTACHED:
            count = 0
        most = max(most, count)
    return most


# The fast path


@pytest.mark.parametrize("text", ["", "hi", "  two blanks in front, one behind ", "".join(map(chr, range(0x20, 0x7F)))])
def test_printable_ascii_comes_back_as_the_same_object(text: str) -> None:
    assert sanitize(text) is text


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_no_printable_ascii_is_ever_changed(text: str) -> None:
    assert sanitize(text) is text


# What is removed, and what becomes a blank


@pytest.mark.parametrize(
    "characters",
    [
        pytest.param(C0_C1_DEL - BLANKS, id="C0, C1, DEL"),
        pytest.param(BIDI, id="bidi"),
        pytest.param(WIDTHLESS, id="no width"),
        pytest.param(DEPRECATED, id="deprecated formats"),
        pytest.param(ANNOTATION, id="interlinear annotation"),
        pytest.param(TAGS, id="tags"),
        pytest.param(SURROGATES, id="surrogates"),
    ],
)
def test_each_of_them_is_removed_wherever_it_stands(characters: set[str]) -> None:
    for character in characters:
        assert sanitize(f"{character}a{character}b\xe4{character}{character}") == "ab\xe4"


@pytest.mark.parametrize("blank", sorted(BLANKS), ids=ascii)
def test_what_separates_columns_or_lines_becomes_one_blank(blank: str) -> None:
    assert sanitize(f"a{blank}b") == "a b"
    assert sanitize(blank + blank) == "  "


def test_nothing_else_is_removed_or_becomes_a_blank() -> None:
    others = sorted(set(EVERYTHING) - REMOVED - BLANKS - {" ", "\u2065"})  # the last is unassigned, amid them
    shown = sanitize(" ".join(others)).split(" ")
    assert [ascii(c) for c, s in zip(others, shown, strict=True) if s != normalize("NFC", c)] == []


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        pytest.param("a\tb", "a b", id="TAB"),
        pytest.param("\x1b[2Jgone", "[2Jgone", id="ESC [2J clears the screen"),
        pytest.param("\x1b]0;title\x07hi", "]0;titlehi", id="OSC 0 sets the title"),
        pytest.param("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "]8;;http://x\\link]8;;\\", id="OSC 8 makes a link"),
        pytest.param("\x1b]52;c;cm0gLXJm\x07", "]52;c;cm0gLXJm", id="OSC 52 sets the clipboard"),
        pytest.param("\x1bP$q\x1b\\", "P$q\\", id="DCS asks the terminal to answer"),
        pytest.param("\x9b2J", "2J", id="CSI as the single character 9B"),
        pytest.param("\x9d0;title\x9c", "0;title", id="OSC as the single character 9D"),
        pytest.param("\x07" * 4096, "", id="BEL storm"),
        pytest.param("\x0e\x0f\x08\x08\x08\x7f", "", id="shifts, backspaces, DEL"),
        pytest.param("\u202ereversed\u202c", "reversed", id="bidi override"),
        pytest.param("\u2066isolated", "isolated", id="bidi isolate without its end"),
        pytest.param("a\u200b\u200e\u200f\ufeffb", "ab", id="zero width"),
        pytest.param("hi\U000e0041\U000e0042\U000e007f", "hi", id="a hidden text in tags"),
        pytest.param("a" + ACUTE * 10_000, "\xe1" + ACUTE * (MAX_MARKS - 1), id="ten thousand marks on one letter"),
        pytest.param("a\r\nb\nc\rd\x00e\x0bf\x0cg\x1ch\x1di\x1ej", "abcdefghij", id="line ends of every kind"),
        pytest.param("a\x85b\u2028c\u2029d", "a b c d", id="line ends of Unicode"),
        pytest.param("\ud83d\ude00", "", id="surrogates, even as a pair"),
    ],
)
def test_what_terminals_obey_is_harmless(hostile: str, harmless: str) -> None:
    assert sanitize(hostile) == harmless


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xc0\xaf", id="overlong slash"),
        pytest.param(b"\xed\xa0\x80", id="surrogate"),
        pytest.param(b"\xf5\x80\x80\x80", id="past the last code point"),
        pytest.param(b"\xff\xfe", id="byte order mark"),
        pytest.param(b"hi \xe2\x82", id="cut off at the end"),
        pytest.param(b"hi \xf0\x9f\x98", id="cut off at the end, beyond the basic plane"),
    ],
)
def test_bytes_that_are_no_utf_8_show_as_replacement_characters(raw: bytes) -> None:
    shown = sanitize(raw.decode("utf-8", "replace"))
    assert "\ufffd" in shown
    assert UNSAFE.isdisjoint(shown)


# What stays


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"\u0645\u06cc{ZWNJ}\u062e\u0648\u0627\u0647\u0645", id="Persian with ZWNJ"),
        pytest.param(f"\u0915\u094d{ZWJ}\u0937", id="Devanagari with ZWJ"),
        pytest.param(f"\U0001f468\U0001f3fd{ZWJ}\u2764\ufe0f{ZWJ}\U0001f48b{ZWJ}\U0001f468", id="emoji with ZWJ"),
        pytest.param("\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48", id="Thai"),
        pytest.param("Vi\u1ec7t Nam, \u03ac\u03b2\u03b3, \u0439, \u0448\u0430\u043b\u043e\u043c", id="accents"),
        pytest.param("\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", id="pointed Hebrew"),
        pytest.param("\u0f66\u0f92\u0fb2\u0f74\u0f56\u0f0b", id="Tibetan stacks"),
        pytest.param("\u6f22\u5b57 \u304b\u306a \ud55c\uae00 \xa0\u3000", id="East Asia, wide blanks"),
        pytest.param("\ufffd\ue000\U0010fffd", id="replacement character, private use"),
    ],
)
def test_what_languages_need_stays(text: str) -> None:
    assert sanitize(text) == normalize("NFC", text)


def test_the_same_text_is_the_same_string_however_it_was_composed() -> None:
    assert sanitize("e\u0301") == sanitize("\xe9") == "\xe9"
    assert sanitize("\u1112\u1161\u11ab") == "\ud55c"


# Marks


def test_eight_marks_on_a_letter_stay() -> None:
    text = "x" + ACUTE * MAX_MARKS
    assert sanitize(text) == text


def test_what_follows_the_eighth_mark_is_removed_up_to_the_next_letter() -> None:
    assert sanitize("x" + ACUTE * 9 + "y" + ACUTE * 8 + "z") == "x" + ACUTE * 8 + "\xfd" + ACUTE * 7 + "z"


def test_marks_without_a_letter_count_as_well() -> None:
    assert sanitize(ACUTE * 20) == ACUTE * MAX_MARKS
    assert sanitize("\u0f71" * 20) == "\u0f71" * MAX_MARKS


def test_enclosing_marks_count() -> None:
    assert sanitize("x" + "\u20dd" * 20) == "x" + "\u20dd" * MAX_MARKS


@pytest.mark.parametrize("between", [ZWJ, ZWNJ, GRAPHEME_JOINER, "\xad", "\u0903", "\u302e"], ids=name)
def test_nothing_that_stays_with_the_letter_lets_more_marks_climb_on_it(between: str) -> None:
    shown = sanitize("x" + (ACUTE * 3 + between) * 100)
    assert shown.count(ACUTE) <= MAX_MARKS
    assert most_marks(shown) <= MAX_MARKS


def test_a_letter_that_nfc_takes_marks_off_has_no_more_than_eight_either() -> None:
    assert (
        len(normalize("NFC", "\u01d6" + DOT_BELOW + ACUTE * 7)) > 1 + MAX_MARKS
    )  # not a test of ours: that it can happen
    shown = sanitize("\u01d6" + DOT_BELOW + ACUTE * 7)
    assert most_marks(shown) == MAX_MARKS
    assert sanitize(shown) == shown


def test_marks_beyond_the_basic_plane_count_and_letters_there_do_not() -> None:
    assert sanitize("\U0001e900" + "\U0001e944" * 20) == "\U0001e900" + "\U0001e944" * MAX_MARKS
    emoji = "\U0001f600" * 100
    assert sanitize(emoji) == emoji


# Time: no clock is read here. In quadratic time each of these would take minutes.


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" + (ACUTE + DOT_BELOW) * 500_000, id="marks that NFC would sort"),
        pytest.param("a" + "\U0001d165\u302e" * 500_000, id="spacing marks that NFC would sort"),
        pytest.param("a" + ZWJ * 1_000_000, id="joiners"),
        pytest.param(("a" + ZWJ * 9 + ACUTE * 8) * 50_000, id="many letters, just not too many marks"),
        pytest.param("\x1ba" * 500_000, id="controls"),
        pytest.param("\u0903" * 1_000_000, id="spacing marks"),
        pytest.param("\U0001f600" * 1_000_000, id="emoji"),
    ],
)
def test_a_million_characters_of_anything_are_cleaned_in_linear_time(text: str) -> None:
    assert most_marks(sanitize(text)) <= MAX_MARKS


# What the module relies on


def test_unicode_has_its_marks_and_format_characters_where_the_gate_looks_for_them() -> None:
    assert all(ord(c) < 0x20000 or 0xE0000 <= ord(c) < 0xE1000 for c in ATTACHED)
    assert all(c in ATTACHED for c in EVERYTHING if combining(c))


def test_nfc_brings_back_nothing_that_was_removed() -> None:
    assert UNSAFE.isdisjoint(normalize("NFC", " ".join(set(EVERYTHING) - UNSAFE)))


def test_no_letter_composes_with_a_mark_before_it() -> None:
    """So what comes behind a cut leaves the marks before it alone."""
    for character in EVERYTHING:
        parts = decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (chr(int(part, 16)) for part in parts)
            assert first not in ATTACHED or second in ATTACHED, name(character)


# Properties


@given(NASTY)
@example("x" + ACUTE * 8 + "\u0cc6" + ACUTE + "\u0cc2")
@example("x" + ACUTE * 7 + "\u0cc6" + ACUTE + "\u0cc2")
@example("x" + ACUTE * 8 + GRAPHEME_JOINER + "\U0001d165")
@example("\u01d6" + ACUTE * 8 + DOT_BELOW)
@example("e\u200b\u0301")
@example("\u1100\u200b\u1161\x00\u11a8")
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = sanitize(text)
    assert sanitize(once) == once


@given(NASTY)
def test_what_comes_out_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    assert UNSAFE.isdisjoint(sanitize(text))


@given(st.binary(max_size=300))
def test_any_bytes_make_text_that_is_safe_and_can_be_encoded_again(raw: bytes) -> None:
    shown = sanitize(raw.decode("utf-8", "replace"))
    assert UNSAFE.isdisjoint(shown)
    assert shown.encode("utf-8").decode("utf-8") == shown


@given(NASTY)
def test_one_line_in_is_one_line_out(text: str) -> None:
    assert len(sanitize(text).splitlines()) <= 1


@given(NASTY)
def test_no_letter_has_more_than_eight_marks(text: str) -> None:
    assert most_marks(sanitize(text)) <= MAX_MARKS


@given(NASTY)
def test_what_comes_out_is_nfc(text: str) -> None:
    assert is_normalized("NFC", sanitize(text))


@given(NASTY, NASTY)
def test_what_is_cut_out_of_clean_text_is_clean(before: str, after: str) -> None:
    """So arguments of a command need no second cleaning."""
    text = sanitize(f"{before} {after}")
    for part in text.split(" "):
        assert sanitize(part) == part
