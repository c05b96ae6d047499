"""The questions of a password dialogue, and the passwords that are recognized after it."""

from __future__ import annotations

import pytest

from broadcast.core.accounts import Account
from broadcast.core.errors import RejectedError
from broadcast.core.password_dialogue import (
    NEW_PASSWORD,
    OLD_PASSWORD,
    ONCE_MORE,
    PASSWORD,
    PasswordDialogue,
    TypedPasswords,
)
from broadcast.core.passwords import Password
from broadcast.core.records import AccountRecord

FIRST, SECOND = "correct horse", "another horse"


def dialogue(*prompts: str) -> PasswordDialogue:
    return PasswordDialogue(prompts, lambda _passwords, _on_result: None, lambda _account: None)


def test_answers_are_submitted_after_the_last_question_which_begins_again() -> None:
    asked = dialogue(OLD_PASSWORD, NEW_PASSWORD, ONCE_MORE)
    assert [asked.answer(FIRST), asked.prompt, asked.answer(SECOND), asked.prompt] == [
        *(None, NEW_PASSWORD, None, ONCE_MORE),
    ]
    submitted: list[Password] = []
    asked.submit = lambda passwords, _on_result: submitted.extend(passwords)
    submit = asked.answer(SECOND)
    assert submit is not None
    submit(lambda _result: None)
    assert [answer.encoded.decode() for answer in submitted] == [FIRST, SECOND, SECOND]
    assert (asked.prompt, asked.has_begun) == (OLD_PASSWORD, False)


def test_first_answer_counts_once_it_was_checked() -> None:
    asked = dialogue(OLD_PASSWORD, NEW_PASSWORD)
    outcome: Account | RejectedError = RejectedError("wrong password.")
    asked.check = lambda _password, on_result: on_result(outcome)
    results: list[Account | RejectedError] = []
    check = asked.answer(FIRST)
    assert check is not None
    check(results.append)
    assert (asked.prompt, asked.has_begun) == (OLD_PASSWORD, False)
    outcome = Account(AccountRecord(1, "ann"))
    check = asked.answer(FIRST)
    assert check is not None
    assert asked.prompt == OLD_PASSWORD
    check(results.append)
    assert (asked.prompt, asked.has_begun) == (NEW_PASSWORD, True)
    assert results[1] is outcome
    assert asked.answer(SECOND) is not None


@pytest.mark.parametrize("repetition", [FIRST, "short", "control\x01character"])
def test_wrong_repetition_asks_for_the_password_before_it_again(repetition: str) -> None:
    asked = dialogue(OLD_PASSWORD, NEW_PASSWORD, ONCE_MORE)
    asked.answer(FIRST)
    asked.answer(SECOND)
    with pytest.raises(RejectedError):
        asked.answer(repetition)
    assert asked.prompt == NEW_PASSWORD


def test_repetition_in_another_normal_form_is_the_same() -> None:
    asked = dialogue(PASSWORD, ONCE_MORE)
    asked.answer("caf\u00e9 horse")
    assert asked.answer("cafe\u0301 horse") is not None


def test_text_that_is_no_password_asks_the_same_question_again() -> None:
    asked = dialogue(OLD_PASSWORD, NEW_PASSWORD, ONCE_MORE)
    asked.answer(FIRST)
    with pytest.raises(RejectedError):
        asked.answer("quit")
    assert asked.prompt == NEW_PASSWORD


def test_question_that_is_asked_again_stays_unless_it_is_for_a_repetition() -> None:
    asked = dialogue(PASSWORD, ONCE_MORE)
    asked.ask_again()
    assert asked.prompt == PASSWORD
    asked.answer(FIRST)
    asked.ask_again()
    assert asked.prompt == PASSWORD


def test_dialogue_does_not_show_its_answers() -> None:
    asked = dialogue(PASSWORD, ONCE_MORE)
    asked.answer(FIRST)
    assert FIRST not in repr(asked)


def is_kept_back(typed: TypedPasswords, line: str, at: float = 0.0) -> bool:
    try:
        typed.check(line, at)
    except RejectedError:
        return True
    return False


def test_typed_passwords_are_recognized_with_blanks_and_in_each_normal_form() -> None:
    typed = TypedPasswords()
    typed.add("caf\u00e9 horse")
    typed.add(" blanks count ")
    for line in ("caf\u00e9 horse", "cafe\u0301 horse ", "blanks count", " blanks count "):
        assert is_kept_back(typed, line)
    for line in ("", "cafe horse", "caf\u00e9  horse", "Blanks count"):
        assert not is_kept_back(typed, line)
    assert "horse" not in repr(typed._hashes)


def test_passwords_that_are_typed_ahead_are_recognized_for_a_moment() -> None:
    typed = TypedPasswords(until=2.0)
    assert not any(is_kept_back(typed, line, 1.9) for line in ("quit", "hi all", "/names in here", "bad\x01character"))
    assert not is_kept_back(typed, FIRST, 2.0)
    for line in (FIRST, SECOND, FIRST, "third horse", FIRST):
        assert is_kept_back(typed, line, 1.9)
    assert not is_kept_back(typed, "fourth horse", 1.9)
