"""A password follows the rule, and nothing shows it by accident."""

from __future__ import annotations

import copy
import pickle

import pytest

from broadcast.core.errors import RejectedError
from broadcast.core.passwords import Password

LENGTH = "a password has 8 to 256 bytes."


@pytest.mark.parametrize(
    "text", ["12345678", "x" * 256, " " * 8, " blanks count ", "/quit now", "pässwörd", "密码密", "e\u0301" * 4]
)
def test_text_of_8_to_256_bytes_is_a_password_as_it_is(text: str) -> None:
    password = Password.parse(text)
    assert password.is_text(text)
    assert password.encoded == text.replace("e\u0301", "é").encode()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        *((text, LENGTH) for text in ("", "quit", "1234567", "x" * 257, "ä" * 129, "e\u0301" * 3)),
        *((f"secret{control}word", "a password has no control characters.") for control in "\0\t\n\r\x1b\x7f\x85\x9f"),
        ("secret\ud800word", "a password is valid Unicode."),
    ],
)
def test_other_text_is_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(RejectedError) as caught:
        Password.parse(text)
    assert str(caught.value) == rule
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ is (rule == "a password is valid Unicode.")


def test_character_that_stands_for_undecodable_bytes_is_refused() -> None:
    with pytest.raises(RejectedError, match="a password is valid Unicode"):
        Password.parse("secret\ufffdword")


def test_composed_and_decomposed_letters_are_the_same_password() -> None:
    assert Password.parse("cafe\u0301-latte").encoded == Password.parse("caf\u00e9-latte").encoded
    assert Password.parse("cafe\u0301-latte").is_text("caf\u00e9-latte")


def test_password_is_no_other_text() -> None:
    password = Password.parse("12345678")
    assert [password.is_text(text) for text in ("", "1234567", "12345678 ", "1234567\ud800")] == [False] * 4


@pytest.mark.parametrize("text", ["31415926", "2718281828" * 4])
def test_password_is_not_shown_compared_copied_or_pickled(text: str) -> None:
    password = Password.parse(text)
    assert {str(password), repr(password), f"{password}"} == {"Password(***)"}
    with pytest.raises(TypeError):
        assert password == Password.parse(text)
    with pytest.raises(TypeError):
        assert password != text
    for attempt in (hash, pickle.dumps, copy.copy, copy.deepcopy, vars):
        with pytest.raises(TypeError) as caught:
            attempt(password)
        assert text not in str(caught.value)
