"""A new password comes from the terminal, hidden and twice, or from one line of the standard input."""

from __future__ import annotations

import io
import sys
from getpass import GetPassWarning
from types import SimpleNamespace

import pytest

from broadcast.admin import passwords
from broadcast.admin.passwords import ask_password
from broadcast.admin.status import REJECTED, STREAM, AdminError
from broadcast.core.passwords import Password


def take(monkeypatch: pytest.MonkeyPatch, data: bytes | None) -> Password:
    """Return the password that the standard input *data* gives."""
    stdin = None if data is None else io.TextIOWrapper(io.BytesIO(data), "ascii")
    monkeypatch.setattr(sys, "stdin", stdin)
    return ask_password()


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"correct horse\n", "correct horse"),
        (b"correct horse", "correct horse"),
        (b"correct horse\r\nand more\n", "correct horse"),
        (b"  blanks count  \n", "  blanks count  "),
        ("zo\u00eb zo\u00eb\n".encode(), "zoe\u0308 zoe\u0308"),
    ],
)
def test_the_first_line_of_the_standard_input_is_the_password(
    monkeypatch: pytest.MonkeyPatch, data: bytes, password: str
) -> None:
    assert take(monkeypatch, data).is_text(password)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the standard input has no line with a password"),
        (None, "the standard input has no line with a password"),
        (b"\n", "a password has 8 to 256 bytes"),
        (b"short\n", "a password has 8 to 256 bytes"),
        (b"x" * 100_000, "a password has 8 to 256 bytes"),
        (b"tab\there and\n", "a password has no control characters"),
        (b"\xff\xfe\xfd correct horse\n", "the password is not valid UTF-8"),
    ],
)
def test_no_password_or_an_invalid_one_is_reported(
    monkeypatch: pytest.MonkeyPatch, data: bytes | None, why: str
) -> None:
    with pytest.raises(AdminError) as raised:
        take(monkeypatch, data)
    assert (str(raised.value), raised.value.status) == (why, REJECTED)
    assert raised.value.__cause__ is None


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str | Exception) -> list[str]:
    """Let a terminal give *answers*. Return the list of the questions."""
    questions: list[str] = []
    rest = iter(answers)

    def getpass(question: str) -> str:
        questions.append(question)
        given = next(rest)
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(passwords, "getpass", getpass)
    return questions


def test_a_terminal_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = answer(monkeypatch, "correct horse", "correct horse")
    assert ask_password().is_text("correct horse")
    assert questions == ["Password: ", "Once more: "]


@pytest.mark.parametrize(
    ("answers", "why", "status"),
    [
        (["correct horse", "battery staple"], "the two passwords differ", REJECTED),
        (["short"], "a password has 8 to 256 bytes", REJECTED),
        ([EOFError()], "no password was given", REJECTED),
        (["correct horse", EOFError()], "no password was given", REJECTED),
        (
            [GetPassWarning()],
            "this terminal would show the password: give it as a line of the standard input",
            STREAM,
        ),
        ([UnicodeDecodeError("utf-8", b"\xff", 0, 1, "")], "the password is not valid UTF-8", REJECTED),
    ],
)
def test_other_answers_of_a_terminal_are_reported(
    monkeypatch: pytest.MonkeyPatch, answers: list[str | Exception], why: str, status: int
) -> None:
    answer(monkeypatch, *answers)
    with pytest.raises(AdminError) as raised:
        ask_password()
    assert (str(raised.value), raised.value.status) == (why, status)
