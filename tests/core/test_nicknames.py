"""What nicknames may be, and that nobody can be mistaken for somebody else."""

from __future__ import annotations

import string
import sys
from unicodedata import is_normalized

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from broadcast.core.errors import RefusedError
from broadcast.core.nicknames import MAX_NICKNAME_CHARS, RESERVED, casefold_key, skeleton, validate
from broadcast.core.sanitize import sanitize

EMPTY = "a nickname cannot be empty."
TOO_LONG = "a nickname has at most 24 characters."
OTHER_THAN_ASCII = "a nickname holds only ASCII letters, digits, _, - and ."
OTHER_CHARACTERS = "a nickname holds only letters, digits, _, - and ."
TWO_DIRECTIONS = "a nickname reads in one direction."

CYRILLIC_ADMIN = "\u0430dmin"
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
EVERYTHING = [chr(code) for code in range(sys.maxunicode + 1)]


def refusal(name: str, *, unicode: bool = False) -> str:
    """Why *name* is refused."""
    with pytest.raises(RefusedError) as caught:
        validate(name, unicode=unicode)
    return str(caught.value)


def attempt(name: str, *, unicode: bool) -> str:
    """The nickname that *name* is, or why it is none."""
    try:
        return validate(name, unicode=unicode)
    except RefusedError as refused:
        return str(refused)


in_both_modes = pytest.mark.parametrize("unicode", [False, True], ids=["ASCII", "any script"])


# Both modes


@in_both_modes
@pytest.mark.parametrize("name", ["a", "ann", "Ann", "x_Y-z.9", "0", "_", "-", ".", "a" * 24, "SSH-2.0-OpenSSH_9.2p1"])
def test_letters_digits_and_three_marks_of_punctuation_make_a_nickname(name: str, unicode: bool) -> None:
    assert validate(name, unicode=unicode) == name


@in_both_modes
@pytest.mark.parametrize("typed", [" ann", "ann ", "   ann  ", "\xa0ann\u3000"], ids=ascii)
def test_surrounding_blanks_are_not_part_of_it(typed: str, unicode: bool) -> None:
    assert validate(typed, unicode=unicode) == "ann"


@in_both_modes
def test_a_trailing_dot_is_part_of_it_and_makes_another_nickname(unicode: bool) -> None:
    assert validate("ann.", unicode=unicode) == "ann."
    assert casefold_key("ann.") != casefold_key("ann")
    assert skeleton("ann.") != skeleton("ann")


@in_both_modes
@pytest.mark.parametrize("typed", ["", " ", "  \u3000"], ids=ascii)
def test_nothing_is_no_nickname(typed: str, unicode: bool) -> None:
    assert refusal(typed, unicode=unicode) == EMPTY


@in_both_modes
@pytest.mark.parametrize(
    "typed", ["a" * 25, "a" * 65536, "!" * 65536, " ".join("a" * 13)], ids=["25", "64K", "!", "13+12"]
)
def test_more_than_24_characters_are_refused_without_repeating_them(typed: str, unicode: bool) -> None:
    assert refusal(typed, unicode=unicode) == TOO_LONG


@in_both_modes
@pytest.mark.parametrize("character", sorted(set(map(chr, range(128))) - set(WORDS)), ids=ascii)
def test_every_other_ascii_character_is_refused_and_not_repeated(character: str, unicode: bool) -> None:
    assert refusal(f"an{character}n", unicode=unicode) == (OTHER_CHARACTERS if unicode else OTHER_THAN_ASCII)


@in_both_modes
@pytest.mark.parametrize("name", ["* bob left.", "bob: hi", "[bob]", "->", "**", "#12", "bob,carol", "/quit", "a\r\nb"])
def test_no_nickname_reads_like_something_that_the_server_shows(name: str, unicode: bool) -> None:
    assert refusal(name, unicode=unicode) == (OTHER_CHARACTERS if unicode else OTHER_THAN_ASCII)


@in_both_modes
@pytest.mark.parametrize("word", sorted(RESERVED))
def test_reserved_words_are_refused_however_they_are_capitalized(word: str, unicode: bool) -> None:
    for typed in (word, word.upper(), word.title(), f" {word} "):
        assert refusal(typed, unicode=unicode) == f"{typed.strip()} is reserved."


def test_the_reserved_words_are_those_of_the_protocol() -> None:
    assert {"server", "system", "admin", "root", "operator", "here", "all", "quit", "exit"} == RESERVED


@in_both_modes
@pytest.mark.parametrize("name", ["Ali", "ALI", "al1", "r00t", "adrnin", "server1", "quit."])
def test_ascii_names_that_only_resemble_a_reserved_word_are_nobodys_business(name: str, unicode: bool) -> None:
    assert validate(name, unicode=unicode) == name


# ASCII mode


@pytest.mark.parametrize(
    "name", ["andr\xe9", "\uff41nn", "\u0451\u0436", HEBREW, "a\u0301", "\u0664\u0662", CYRILLIC_ADMIN, "\u212aim"]
)
def test_without_unicode_only_ascii_is_accepted(name: str) -> None:
    assert refusal(name) == OTHER_THAN_ASCII


# Any script


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("andr\xe9", id="Latin with accents"),
        pytest.param("\u0412\u0430\u0441\u044f_9", id="Cyrillic"),
        pytest.param("\u039d\u03af\u03ba\u03bf\u03c2", id="Greek"),
        pytest.param("\u5c71\u7530\u592a\u90ce", id="Han"),
        pytest.param("\u304c\u30fc", id="kana"),
        pytest.param("\uae40\ucca0\uc218", id="Hangul"),
        pytest.param("\u0930\u093e\u092e\u0941", id="Devanagari with its vowels"),
        pytest.param("\u0e2a\u0e21\u0e28\u0e23\u0e35", id="Thai with its vowels"),
        pytest.param("x\u0323\u0301", id="marks that compose with nothing"),
        pytest.param("\u0664\u0662", id="Arabic digits"),
        pytest.param("\U0001e900\U0001e922", id="beyond the basic plane, right to left"),
        pytest.param(HEBREW, id="Hebrew"),
        pytest.param("\u05d3\u05b8\u05bc\u05d5\u05b4\u05d3", id="pointed Hebrew"),
        pytest.param(f"{ARABIC}-_.7\u0664", id="Arabic with digits and punctuation"),
        pytest.param("\u5c71" * 24, id="24 characters, however wide"),
    ],
)
def test_letters_and_digits_of_any_script_make_a_nickname(name: str) -> None:
    assert validate(name, unicode=True) == name


def test_a_nickname_is_nfc() -> None:
    assert validate("andre\u0301", unicode=True) == "andr\xe9"
    assert validate("e\u0301" * 24, unicode=True) == "\xe9" * 24


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a b", id="blank"),
        pytest.param("a\xa0b", id="no-break space"),
        pytest.param("\u0301nn", id="mark without a letter"),
        pytest.param("an_\u0301", id="mark on punctuation"),
        pytest.param("an1\u0301", id="mark on a digit"),
        pytest.param("a\u20dd", id="enclosing mark"),
        pytest.param("ann\u200d", id="ZWJ"),
        pytest.param("a\u200cnn", id="ZWNJ"),
        pytest.param("a\xadnn", id="soft hyphen"),
        pytest.param("ann\ufe0f", id="variation selector"),
        pytest.param("ann\U000e0100", id="variation selector beyond the basic plane"),
        pytest.param("a\u034fnn", id="grapheme joiner"),
        pytest.param("ann\u3164", id="Hangul filler"),
        pytest.param("ann\uffa0", id="halfwidth Hangul filler"),
        pytest.param("\u115f", id="Hangul choseong filler alone"),
        pytest.param("\U0001f600", id="emoji"),
        pytest.param("\u2460", id="circled digit"),
        pytest.param("a\u2024b", id="one dot leader"),
        pytest.param("a\u2010b", id="hyphen that is not ASCII"),
        pytest.param("a\uff0eb", id="fullwidth dot"),
        pytest.param("\ue000", id="private use"),
        pytest.param("\u0378", id="unassigned"),
    ],
)
def test_what_is_no_letter_digit_or_shows_nothing_is_refused_in_any_script(name: str) -> None:
    assert refusal(name, unicode=True) == OTHER_CHARACTERS


@pytest.mark.parametrize("name", [f"{HEBREW}ann", f"ann{HEBREW}", f"a.{ARABIC}", f"{ARABIC}_\u0430"])
def test_a_nickname_has_not_both_strong_directions(name: str) -> None:
    assert refusal(name, unicode=True) == TWO_DIRECTIONS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(CYRILLIC_ADMIN, id="one Cyrillic letter"),
        pytest.param("\u0410DMIN", id="one Cyrillic capital"),
        pytest.param("r\u03bfot", id="Greek omicron"),
        pytest.param("\uff53\uff45\uff52\uff56\uff45\uff52", id="fullwidth"),
        pytest.param("\U0001d42b\U0001d428\U0001d428\U0001d42d", id="mathematical bold"),
        pytest.param("\u0455\u0443\u0455tem", id="three Cyrillic letters"),
        pytest.param("\u0570\u0435r\u0435", id="Armenian and Cyrillic"),
        pytest.param("adm\u0131n", id="dotless i"),
        pytest.param("admi\u0307n", id="dot on the dotted i"),
        pytest.param("\u017fystem", id="long s"),
    ],
)
def test_what_looks_like_a_reserved_word_is_refused_in_any_script(name: str) -> None:
    assert refusal(name, unicode=True) == f"{name} is reserved."


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
def test_case_and_compatibility_forms_make_no_other_nickname(one: str, other: str) -> None:
    assert casefold_key(one) == casefold_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ann", "anna"), ("ann", "ann."), ("andre", "andr\xe9"), ("ann", "\u0430nn"), ("lan", "Ian"), ("bob", "b0b")],
)
def test_what_is_spelled_otherwise_is_another_nickname(one: str, other: str) -> None:
    assert casefold_key(one) != casefold_key(other)


@given(st.text())
@example("\u0130")
@example("\u0345\u0301")
@example("\ufdfa\u1e9e\u0149")
def test_the_key_of_a_key_is_itself_and_nfc(name: str) -> None:
    assert casefold_key(casefold_key(name)) == casefold_key(name)
    assert is_normalized("NFC", casefold_key(name))


@given(st.text())
def test_names_that_differ_in_case_have_one_key(name: str) -> None:
    assert casefold_key(name.casefold()) == casefold_key(name)
    assert casefold_key(sanitize(name).casefold()) == casefold_key(sanitize(name))


# Looking alike


@pytest.mark.parametrize(
    ("genuine", "false"),
    [
        pytest.param("ann", "\u0430nn", id="Cyrillic a"),
        pytest.param("ann", "\u0410NN", id="Cyrillic capital A"),
        pytest.param("bob", "\u0412\u041e\u0412", id="Cyrillic capitals"),
        pytest.param("bob", "\u0432ob", id="a Cyrillic letter whose capital looks so"),
        pytest.param("ann", "\u03b1nn", id="Greek alpha"),
        pytest.param("Nick", "\u039dick", id="Greek capital nu"),
        pytest.param("victor", "\u03bdictor", id="Greek small nu"),
        pytest.param("carl", "\u03f2arl", id="Greek lunate sigma"),
        pytest.param("anna", "a\u0578\u0578a", id="Armenian"),
        pytest.param("ann", "\u13aaNN", id="Cherokee"),
        pytest.param("dan", "\ua4d3\ua4ee\ua4e0", id="Lisu"),
        pytest.param("ann", "\uff41\uff4e\uff4e", id="fullwidth"),
        pytest.param("ann", "\U0001d51e\U0001d52b\U0001d52b", id="mathematical Fraktur"),
        pytest.param("fin", "\ufb01n", id="ligature"),
        pytest.param("ian", "\u0456an", id="Cyrillic i"),
        pytest.param("Ian", "\u0406an", id="Cyrillic capital I"),
        pytest.param("lee", "\u04cfee", id="palochka"),
        pytest.param("ian", "\u0131an", id="dotless i"),
        pytest.param("ian", "i\u0307an", id="dot on the dotted i"),
        pytest.param("Ian", "\u0130an", id="dotted capital I"),
        pytest.param("bob", "b\u0966b", id="Devanagari zero"),
        pytest.param("bob", "b\u0665b", id="Arabic five"),
        pytest.param("\u0432\u0430\u0441\u044f", "\u0412a\u0441\u044f", id="a Latin letter in a Cyrillic name"),
        pytest.param("\u0451\u0436", "\xeb\u0436", id="a Latin letter with its accent in a Cyrillic name"),
        pytest.param("\u0219tefan", "\u015ftefan", id="comma and cedilla"),
        pytest.param("\u01ceb", "\u0103b", id="caron and breve"),
    ],
)
def test_nicknames_that_look_alike_have_one_skeleton(genuine: str, false: str) -> None:
    assert validate(genuine, unicode=True)
    assert validate(false, unicode=True)
    assert skeleton(genuine) == skeleton(false)


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
    ],
)
def test_accents_and_vowels_tell_nicknames_apart(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"), [("Ian", "lan"), ("b0b", "bob"), ("al1", "all"), ("burn", "bum"), ("vv", "w")]
)
def test_nicknames_that_differ_without_unicode_differ_with_it(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@given(PLAIN)
def test_ascii_nicknames_look_alike_only_where_they_are_the_same(name: str) -> None:
    assert skeleton(name) == casefold_key(name)


def test_every_character_has_a_skeleton_that_is_its_own() -> None:
    looks = skeleton("\n".join(EVERYTHING))
    again = skeleton(looks)
    assert [ascii(one) for one, two in zip(looks.split("\n"), again.split("\n"), strict=True) if one != two] == []


@given(ANY_SCRIPT)
def test_the_skeleton_of_a_skeleton_is_itself(name: str) -> None:
    assert skeleton(skeleton(name)) == skeleton(name)


# Properties of everything that is accepted


@given(st.text())
def test_whatever_is_typed_is_a_nickname_or_refused_in_one_line_that_repeats_nothing_else(typed: str) -> None:
    for unicode in (False, True):
        outcome = attempt(sanitize(typed), unicode=unicode)
        assert (
            outcome in {EMPTY, TOO_LONG, OTHER_CHARACTERS, OTHER_THAN_ASCII, TWO_DIRECTIONS}
            or 1 <= len(outcome) <= MAX_NICKNAME_CHARS
        )


@given(st.one_of(ANY_SCRIPT, PLAIN))
def test_an_accepted_nickname_is_accepted_again_and_has_passed_the_gate(typed: str) -> None:
    nick = attempt(sanitize(typed), unicode=True)
    assume(" " not in nick)
    assert validate(nick, unicode=True) == nick
    assert sanitize(nick) == nick


@given(PLAIN)
def test_what_is_accepted_without_unicode_is_accepted_with_it(name: str) -> None:
    assume(casefold_key(name) not in RESERVED)
    assert validate(name) == validate(name, unicode=True) == name
