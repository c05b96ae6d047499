"""The questions of a password dialogue, and the memory of the passwords that were typed. No connection.

A password is never said. Therefore a dialogue takes every line as an answer, and an error asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

from broadcast.core.errors import RejectedError
from broadcast.core.passwords import Password

if TYPE_CHECKING:
    from broadcast.core.accounts import Account, OnAccount

PASSWORD: Final = "Password:"  # noqa: S105 - the text of a prompt
OLD_PASSWORD: Final = "Old password:"  # noqa: S105 - likewise
NEW_PASSWORD: Final = "New password:"  # noqa: S105 - likewise
ONCE_MORE: Final = "Once more:"
"""The prompt whose answer must be the same as the one before."""
MAX_WRONG_PASSWORDS: Final = 3
"""Number of wrong passwords after which a session ends."""

MAX_ANSWERS: Final = 3
"""Maximum number of questions in a dialogue."""
TYPED_AHEAD_SECONDS: Final = 2.0
"""Time after a refused command in which a line that can be a password counts as typed before the refusal was read."""


@dataclass(slots=True, eq=False)
class PasswordDialogue:
    """The questions that come before one request.

    *prompts* are the texts of the questions. *submit* passes the answers to the request, or raises ``RejectedError``.
    Its callback comes in a later turn of the reactor, also if the session has ended meanwhile. *check*, if there is
    one, does the same with the first answer, before the other questions. *finish* continues the session after a
    success of *submit*. It may raise ``RejectedError``.
    """

    prompts: Sequence[str]
    submit: Callable[[Sequence[Password], OnAccount], None]
    finish: Callable[[Account], None]
    check: Callable[[Password, OnAccount], None] | None = None
    _answers: list[Password] = field(default_factory=list, repr=False)

    @property
    def prompt(self) -> str:
        """The text of the present question."""
        return self.prompts[len(self._answers)]

    @property
    def has_begun(self) -> bool:
        """Whether a question has been answered, and another one is to be asked."""
        return bool(self._answers)

    def answer(self, text: str) -> Callable[[OnAccount], None] | None:
        """Take *text* as the next answer. Return the request that comes before the next question, if there is one.

        Raises ``RejectedError``. Then the present question is the one to ask again.
        """
        before = self.ask_again()
        password = Password.parse(text)
        if before is not None:
            if not before.is_text(text):
                raise RejectedError("the two passwords differ.")
            self._answers.append(before)
        if self.check is not None and not self._answers:
            return partial(self._check_first, self.check, password)
        self._answers.append(password)
        if len(self._answers) < len(self.prompts):
            return None
        answers, self._answers = self._answers, []
        return partial(self.submit, answers)

    def _check_first(
        self, check: Callable[[Password, OnAccount], None], password: Password, on_result: OnAccount
    ) -> None:
        def checked(result: Account | RejectedError) -> None:
            if not isinstance(result, RejectedError):
                self._answers.append(password)
            on_result(result)

        check(password, checked)

    def ask_again(self) -> Password | None:
        """Forget the last answer and return it, if the present question is for its repetition."""
        return self._answers.pop() if self.prompt == ONCE_MORE else None


class TypedPasswords:
    """The passwords that a user has just typed, to recognize a line that repeats one, and those that may follow.

    A password that is pasted twice, or typed late, would otherwise be said. So would one that is typed ahead of a
    question that is refused. Therefore up to ``MAX_ANSWERS`` lines before the time *until* are recognized if they can
    be passwords. The object stores no text, but values of ``hash``, which depend on a secret of the interpreter.
    """

    __slots__ = ("_ahead", "_hashes", "_until")

    def __init__(self, until: float = 0.0) -> None:
        self._until = until
        self._ahead = MAX_ANSWERS
        """Number of passwords that may still follow."""
        self._hashes: set[int] = set()

    def add(self, text: str) -> None:
        """Add the password *text*."""
        self._hashes.add(_hash(text))

    def check(self, line: str, at: float) -> None:
        """Raise ``RejectedError`` if *line*, which has arrived at the time *at*, is a password or may be one.

        Surrounding blanks make no difference.
        """
        if _hash(line) in self._hashes:
            raise RejectedError("this is the password that you have just typed. It was not said.")
        if at < self._until and self._ahead and not line.startswith("/") and _can_be_password(line):
            self._ahead -= 1
            self.add(line)
            raise RejectedError("this may be the password that was not asked for. It was not said.")


def _can_be_password(line: str) -> bool:
    try:
        Password.parse(line)
    except RejectedError:
        return False
    return True


def _hash(text: str) -> int:
    return hash(normalize("NFC", text.strip()))
