"""Nicknames that are accepted, and nicknames that are the same or look the same."""

from __future__ import annotations

import string
import sys
from unicodedata import is_normalized

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from broadcast.core.errors import RejectedError
from broadcast.core.nicknames import MAX_NICKNAME_CHARS, RESERVED, casefold_key, skeleton, validate
from broadcast.core.sanitize import sanitize

EMPTY = "a nickname cannot be empty."
TOO_LONG = "a nickname has at most 24 characters."
ASCII_ONLY = "a nickname holds only ASCII letters, digits, _, - and ."
LETTERS_ONLY = "a nickname holds only letters, digits, _, - and ."
TWO_DIRECTIONS = "a nickname reads in one direction."

HEBREW, ARABIC = "\u05d3\u05d5\u05d3", "\u0633\u0644\u0645\u0649"
WORDS = string.ascii_letters + string.digits + "_-."
PLAIN = st.text(st.sampled_from(WORDS), min_size=1, max_size=MAX_NICKNAME_CHARS)
ANY_SCRIPT = st.text(
    st.one_of(
        st.characters(categories=("L", "Nd", "Mn", "Mc")),
        st.sampled_from(WORDS + "\u0430\u0435\u0438\u0432\u039d\u03bd\u03c5\u0130\u0131\xdf\u0345\u0301\u0307\u0323"),
    ),
    max_size=MAX_NICKNAME_CHARS,
)


def outcome(name: str, *, unicode: bool) -> str:
    """Return the nickname that *name* is, or why it is rejected."""
    try:
        return validate(name, unicode=unicode)
    except RejectedError as error:
        return str(error)


def rejection(name: str, *, unicode: bool = False) -> str:
    """Return why *name* is rejected."""
    with pytest.raises(RejectedError) as caught:
        validate(name, unicode=unicode)
    return str(caught.value)


in_both_modes = pytest.mark.parametrize("unicode", [False, True], ids=["ASCII", "any script"])


# Both modes


@in_both_modes
@pytest.mark.parametrize("name", ["a", "ann", "Ann", "x_Y-z.9", "0", "_", "-", ".", "a" * 24, "SSH-2.0-OpenSSH_9.2p1"])
def test_letters_digits_and_three_punctuation_marks_make_a_nickname(name: str, unicode: bool) -> None:
    assert validate(name, unicode=unicode) == name


@in_both_modes
@pytest.mark.parametrize("typed", [" ann", "ann ", "   ann  ", "\xa0ann\u3000"], ids=ascii)
def test_surrounding_blanks_are_removed(typed: str, unicode: bool) -> None:
    assert validate(typed, unicode=unicode) == "ann"


@in_both_modes
@pytest.mark.parametrize(
    ("typed", "reason"),
    [(blank, EMPTY) for blank in ("", " ", "  \u3000")]
    + [(name, TOO_LONG) for name in ("a" * 25, "a" * 65536, "!" * 65536, " ".join("a" * 13))],
    ids=lambda value: ascii(value[:20]),
)
def test_empty_and_long_names_are_rejected_without_repeating_them(typed: str, reason: str, unicode: bool) -> None:
    assert rejection(typed, unicode=unicode) == reason


@in_both_modes
def test_other_ascii_characters_are_rejected_without_repeating_them(unicode: bool) -> None:
    names = [f"an{character}n" for character in set(map(chr, range(128))) - set(WORDS)]
    names += ["* bob left.", "bob: hi", "[bob]", "->", "**", "#12", "bob,carol", "/quit", "a\r\nb"]
    assert {rejection(name, unicode=unicode) for name in names} == {LETTERS_ONLY if unicode else ASCII_ONLY}


@in_both_modes
def test_reserved_words_are_rejected_in_any_case_but_not_similar_ascii(unicode: bool) -> None:
    assert {"server", "system", "admin", "root", "operator", "here", "all", "quit", "exit"} == RESERVED
    for word in RESERVED:
        for typed in (word, word.upper(), word.title(), f" {word} "):
            assert rejection(typed, unicode=unicode) == f"{typed.strip()} is reserved."
    for name in ("Ali", "ALI", "al1", "r00t", "adrnin", "server1", "quit."):
        assert validate(name, unicode=unicode) == name


# One mode


NOT_ASCII = ["andr\xe9", "\uff41nn", "\u0451\u0436", HEBREW, "a\u0301", "\u0664\u0662", "\u0430dmin", "\u212aim"]


@pytest.mark.parametrize("name", NOT_ASCII, ids=ascii)
def test_only_ascii_is_accepted_without_unicode(name: str) -> None:
    assert rejection(name) == ASCII_ONLY


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("andr\xe9 \u0412\u0430\u0441\u044f_9 \u039d\u03af\u03ba\u03bf\u03c2", id="European scripts"),
        pytest.param("\u5c71\u7530\u592a\u90ce \u304c\u30fc \uae40\ucca0\uc218", id="Han, kana, Hangul"),
        pytest.param("\u0930\u093e\u092e\u0941 \u0e2a\u0e21\u0e28\u0e23\u0e35", id="Devanagari, Thai, with vowels"),
        pytest.param(f"{HEBREW} \u05d3\u05b8\u05bc\u05d5\u05b4\u05d3 {ARABIC}-_.7\u0664", id="right to left"),
        pytest.param("\U0001e900\U0001e922", id="beyond the basic plane, right to left"),
        pytest.param("x\u0323\u0301 \u0664\u0662", id="marks that compose with nothing, Arabic digits"),
        pytest.param("\u5c71" * 24, id="24 characters, however wide"),
    ],
)
def test_letters_and_digits_of_any_script_make_a_nickname(names: str) -> None:
    assert [outcome(name, unicode=True) for name in names.split()] == names.split()


def test_nicknames_are_nfc() -> None:
    assert validate("andre\u0301", unicode=True) == "andr\xe9"
    assert validate("e\u0301" * 24, unicode=True) == "\xe9" * 24


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        pytest.param("a b|a\xa0b", LETTERS_ONLY, id="blanks"),
        pytest.param("\u0301nn|an_\u0301|an1\u0301|a\u20dd", LETTERS_ONLY, id="marks without a letter, or enclosing"),
        pytest.param("ann\u200d|a\u200cnn|a\xadnn|a\u034fnn", LETTERS_ONLY, id="ZWJ, ZWNJ, soft hyphen, joiner"),
        pytest.param("ann\ufe0f|ann\U000e0100", LETTERS_ONLY, id="variation selectors"),
        pytest.param("ann\u3164|ann\uffa0|\u115f", LETTERS_ONLY, id="Hangul fillers"),
        pytest.param("\U0001f600|\u2460|\ue000|\u0378", LETTERS_ONLY, id="emoji, circled digit, private, unassigned"),
        pytest.param("a\u2024b|a\u2010b|a\uff0eb", LETTERS_ONLY, id="dots and hyphens that are not ASCII"),
        pytest.param(f"{HEBREW}ann|ann{HEBREW}|a.{ARABIC}|{ARABIC}_\u0430", TWO_DIRECTIONS, id="both directions"),
    ],
)
def test_other_characters_and_mixed_directions_are_rejected_in_any_script(names: str, reason: str) -> None:
    assert {name: rejection(name, unicode=True) for name in names.split("|")} == dict.fromkeys(names.split("|"), reason)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("\u0430dmin \u0410DMIN \u0455\u0443\u0455tem", id="Cyrillic letters"),
        pytest.param("r\u03bfot \u0570\u0435r\u0435", id="Greek omicron, Armenian and Cyrillic"),
        pytest.param("\uff53\uff45\uff52\uff56\uff45\uff52", id="fullwidth"),
        pytest.param("\U0001d42b\U0001d428\U0001d428\U0001d42d", id="mathematical bold"),
        pytest.param("adm\u0131n admi\u0307n \u017fystem", id="dotless i, dot on the dotted i, long s"),
    ],
)
def test_names_that_look_like_a_reserved_word_are_rejected_in_any_script(names: str) -> None:
    for name in names.split():
        assert rejection(name, unicode=True) == f"{name} is reserved."


# The same nickname


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann", "aNN"),
        ("stra\xdfe", "STRASSE"),
        ("\u0412\u0430\u0441\u044f", "\u0432\u0430\u0441\u042f"),
        ("\u039d\u0399\u039a\u039f\u03a3", "\u03bd\u03b9\u03ba\u03bf\u03c2"),
        ("ann", "\uff41\uff2e\uff4e"),
        ("kim", "\u212aim"),
        ("andr\xe9", "ANDRE\u0301"),
        ("\u03b1\u0345\u0301", "\u0391\u0301\u0345"),
        ("\ufb01n", "FIN"),
    ],
)
def test_case_and_compatibility_forms_do_not_make_another_nickname(one: str, other: str) -> None:
    assert casefold_key(one) == casefold_key(other)


@pytest.mark.parametrize("other", ["anna", "ann.", "\xe1nn", "\u0430nn", "1nn"])
def test_another_spelling_makes_another_nickname(other: str) -> None:
    assert casefold_key("ann") != casefold_key(other)


@given(st.text())
@example("\u0130")
@example("\u0345\u0301")
@example("\ufdfa\u1e9e\u0149")
def test_key_is_nfc_and_the_same_for_its_own_key_and_for_any_case(name: str) -> None:
    key = casefold_key(name)
    assert is_normalized("NFC", key)
    assert casefold_key(key) == key
    assert casefold_key(sanitize(name).casefold()) == casefold_key(sanitize(name))


# Looking alike


@pytest.mark.parametrize(
    ("genuine", "others"),
    [
        pytest.param("ann", "\u0430nn \u0410NN \u03b1nn \u13aaNN", id="Cyrillic a and A, Greek alpha, Cherokee"),
        pytest.param("ann", "\uff41\uff4e\uff4e \U0001d51e\U0001d52b\U0001d52b", id="fullwidth, mathematical Fraktur"),
        pytest.param("bob", "\u0412\u041e\u0412 \u0432ob", id="Cyrillic capitals, a letter whose capital looks so"),
        pytest.param("bob", "b\u0966b b\u0665b", id="Devanagari zero, Arabic five"),
        pytest.param("Nick", "\u039dick", id="Greek capital nu"),
        pytest.param("victor", "\u03bdictor", id="Greek small nu"),
        pytest.param("carl", "\u03f2arl", id="Greek lunate sigma"),
        pytest.param("anna", "a\u0578\u0578a", id="Armenian"),
        pytest.param("dan", "\ua4d3\ua4ee\ua4e0", id="Lisu"),
        pytest.param("fin", "\ufb01n", id="ligature"),
        pytest.param("ian", "\u0456an \u0131an i\u0307an", id="Cyrillic i, dotless i, dot on the dotted i"),
        pytest.param("Ian", "\u0406an \u0130an", id="Cyrillic capital I, dotted capital I"),
        pytest.param("lee", "\u04cfee", id="palochka"),
        pytest.param("\u0432\u0430\u0441\u044f", "\u0412a\u0441\u044f", id="a Latin letter in a Cyrillic name"),
        pytest.param("\u0451\u0436", "\xeb\u0436", id="a Latin letter with its accent in a Cyrillic name"),
        pytest.param("\u0219tefan", "\u015ftefan", id="comma and cedilla"),
        pytest.param("\u01ceb", "\u0103b", id="caron and breve"),
    ],
)
def test_nicknames_that_look_alike_have_one_skeleton(genuine: str, others: str) -> None:
    for name in (genuine, *others.split()):
        assert validate(name, unicode=True)
        assert skeleton(name) == skeleton(genuine), ascii(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("andre", "andr\xe9"),
        ("\u0438\u0432\u0430\u043d", "\u0439\u0432\u0430\u043d"),
        ("\u304b\u304d", "\u304c\u304d"),
        ("\u0930\u093e\u092e\u0941", "\u0930\u093e\u092e\u0942"),
        ("\u05d3\u05d5", "\u05d3\u05df"),
        ("ann", "anne"),
        ("\u5c71", "\u5ddd"),
        *[("Ian", "lan"), ("b0b", "bob"), ("al1", "all"), ("burn", "bum"), ("vv", "w"), ("ann.", "ann")],
    ],
    ids=ascii,
)
def test_accents_vowels_and_other_ascii_characters_distinguish_nicknames(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@given(PLAIN)
def test_ascii_nicknames_look_alike_only_if_they_are_the_same(name: str) -> None:
    assert skeleton(name) == casefold_key(name)


def test_skeleton_of_a_skeleton_is_itself_for_every_character() -> None:
    looks = skeleton("\n".join(map(chr, range(sys.maxunicode + 1))))
    again = skeleton(looks)
    assert [ascii(one) for one, two in zip(looks.split("\n"), again.split("\n"), strict=True) if one != two] == []


# Properties of any input


@given(st.text())
def test_any_input_is_a_nickname_or_rejected_without_repeating_it(typed: str) -> None:
    reasons = {EMPTY, TOO_LONG, LETTERS_ONLY, ASCII_ONLY, TWO_DIRECTIONS}
    for unicode in (False, True):
        result = outcome(sanitize(typed), unicode=unicode)
        assert result in reasons or 1 <= len(result) <= MAX_NICKNAME_CHARS


@given(st.one_of(ANY_SCRIPT, PLAIN))
def test_accepted_nickname_is_accepted_again_and_has_one_skeleton(typed: str) -> None:
    assert skeleton(skeleton(typed)) == skeleton(typed)
    nick = outcome(sanitize(typed), unicode=True)
    assume(" " not in nick)
    assert validate(nick, unicode=True) == sanitize(nick) == nick


@given(PLAIN)
def test_nicknames_accepted_without_unicode_are_accepted_with_it(name: str) -> None:
    assume(casefold_key(name) not in RESERVED)
    assert validate(name) == validate(name, unicode=True) == name
