"""The questions that the next entered line answers. The answers to those for passwords are not visible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize

PASSWORD: Final = "Password"  # noqa: S105 -- a prompt
OLD: Final = "Old password"
NEW: Final = "New password"
AGAIN: Final = "Once more"
"""The prompts for passwords. The answer to the last one equals the answer before."""
MIN_PASSWORD_BYTES: Final = 8
MAX_PASSWORD_BYTES: Final = 256
"""The limits of a new password, in bytes of UTF-8. All servers have the same ones."""
END_HINT: Final = "An empty line ends this."
NICKNAME_HINT: Final = "An empty line goes back to the nickname."
COMMAND: Final = "No command works here. If this was a password that begins with /, enter it once more."
LEAVE_OUT: Final = "Leave the password out: it is asked for. This line is not sent."
REPEATED: Final = "This line is your password, so it is not sent."
TYPED_EARLY: Final = "A password is asked for again."
NOT_ENCRYPTED: Final = "This connection is not encrypted: others may read the password."
TLS_ONLY: Final = "This server takes passwords only over TLS, or from its own machine."

_may_hold_password: Final = re.compile(r"\s*/(?:register|passwd|drop)\s+\S|\s*/login\s+\S+\s+\S", re.IGNORECASE)


def may_hold_password(line: str) -> bool:
    """Return whether a typed line may hold a password that does not belong there."""
    return _may_hold_password.match(line) is not None


@dataclass(frozen=True, slots=True)
class Question:
    """A question, such as that for the nickname. Enter on an empty line takes *default*, if there is one."""

    default: str = ""
    suggestions: tuple[str, ...] = ()
    """Similar nicknames for a nickname that was refused. One key takes one."""
    prompt: str = "Nickname"
    is_secret: bool = False


class Dialogue:
    """The questions *prompts*, one after another."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self._prompts = prompts
        self.answers: list[str] = []
        self._doubted = ""
        """An answer that looks like a command, or empty. It is taken if the user enters it again."""

    @property
    def question(self) -> Question | None:
        """The next question, or None after the last one."""
        if len(self.answers) == len(self._prompts):
            return None
        return Question(prompt=self._prompts[len(self.answers)], is_secret=True)

    def take(self, answer: str) -> str:
        """Take the answer to the question. An empty one ends the dialogue without answers.

        Return the reason if a question is asked again, or an empty text.
        """
        if not answer:
            self._prompts, self.answers = (), []
        elif answer.startswith("/") and answer not in {self._doubted, *self.answers}:
            self._doubted = answer
            return COMMAND
        elif self._prompts[len(self.answers)] == AGAIN and answer != self.answers[-1]:
            self.answers.pop()
            return "The two passwords differ."
        elif self._is_new and not MIN_PASSWORD_BYTES <= len(normalize("NFC", answer).encode()) <= MAX_PASSWORD_BYTES:
            return f"A password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes."
        else:
            self.answers.append(answer)
        return ""

    @property
    def _is_new(self) -> bool:
        """Whether the question is for a new password."""
        return AGAIN in self._prompts and self._prompts[len(self.answers)] in {PASSWORD, NEW}
