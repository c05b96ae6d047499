"""What the front end on a terminal needs of the terminal, and what the terminal asks of it; no logic."""

from __future__ import annotations

from typing import Protocol

from prompt_toolkit.formatted_text import StyleAndTextTuples

Line = StyleAndTextTuples
"""A line of the screen: pieces of plain text, each with its style."""


class Display(Protocol):
    """A terminal: lines are shown on it, and typed into it."""

    async def run(self) -> None:
        """Show what comes until ``stop``, and leave the terminal as it was.

        Raises ``EOFError`` when the input ends, as when the terminal is gone.
        """

    def stop(self) -> None:
        """End ``run``; once it has ended, nothing happens."""

    def show(self, *lines: Line) -> None:
        """Show *lines*. Characters that could steer a terminal are taken out of them."""

    def echo(self, line: Line) -> None:
        """Show *line*, which was typed, unless the terminal itself has left it standing."""

    def refresh(self) -> None:
        """What the terminal asks for, as below, may have changed."""

    def ring(self) -> None:
        """Ring the terminal's bell."""


class Typist(Protocol):
    """Whom a terminal serves: takes what is typed, and says what stands around it."""

    def asking(self) -> bool:
        """Whether the server waits for an answer to a prompt."""

    def prompt(self) -> Line:
        """What stands before the line that is being typed."""

    def secret(self) -> bool:
        """Whether what is typed is hidden."""

    def waiting(self) -> list[Line]:
        """One's own lines that are on their way."""

    def status(self, columns: int) -> Line:
        """The status line, in at most so many columns."""

    def typed(self, text: str) -> str:
        """Take what was entered, a line or several; returns what could not be sent, and stays in the line."""

    def leave(self) -> None:
        """Somebody wants to leave: Ctrl-D, or Ctrl-C on an empty line, perhaps more than once."""
