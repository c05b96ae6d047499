"""Which answer is to which command: those that matter are known by their words, in the order of the commands."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from broadcast.client.lines import Answer, Error, Event

AWAITED: Final = 100
"""So many answers are awaited at most: a server may answer in other words."""

Told = Callable[[re.Match[str]], None]
"""Is told what an answer says, or why it was refused."""


class Expected(NamedTuple):
    """The answer to a command: a line, and where it ends with ``more`` others behind it, up to one that does not."""

    form: re.Pattern[str]
    """Fits its whole text."""
    told: Told
    refusal: re.Pattern[str]
    """Fits the whole text of the error in its place."""
    refused: Told
    more: str | None = None


def expected(
    form: str, told: Told, refusal: str = r"(?!)", refused: Told | None = None, more: str | None = None
) -> Expected:
    """The answer to a command by two regular expressions, in whatever case; nobody is told unless it is said whom."""
    flags = re.IGNORECASE | re.DOTALL
    return Expected(re.compile(form, flags), told, re.compile(refusal, flags), refused or nobody, more)


def nobody(_found: re.Match[str]) -> None:
    """It makes no difference what the answer is."""


class Answers:
    """The answers that are awaited.

    A server answers the commands in their order. So an answer that fits one which is awaited says also that those of
    before have been given, in words that nobody knew.
    """

    def __init__(self) -> None:
        self._awaited: deque[tuple[Expected, bool]] = deque(maxlen=AWAITED)

    def expect(self, answer: Expected, *, quiet: bool) -> None:
        """The command for *answer* is sent; *quiet*: by the client itself, and nobody is to see what comes of it."""
        self._awaited.append((answer, quiet))

    def take(self, event: Event) -> bool:
        """Tell whoever awaits *event*, if it is an answer; whether nobody is to see it."""
        if not isinstance(event, Answer | Error):
            return False
        refused = isinstance(event, Error)
        for at, (answer, quiet) in enumerate(self._awaited):
            if found := (answer.refusal if refused else answer.form).fullmatch(event.text):
                for _ in range(at + 1):
                    self._awaited.popleft()
                (answer.refused if refused else answer.told)(found)
                if answer.more and event.text.endswith(answer.more):
                    self._awaited.appendleft((expected(r".*", nobody, more=answer.more), quiet))
                return quiet
        return False

    def forget(self) -> None:
        """Nothing is awaited any more: the connection is gone."""
        self._awaited.clear()
