"""The interfaces between the front end and its terminal. No logic."""

from __future__ import annotations

from typing import Protocol

from prompt_toolkit.formatted_text import StyleAndTextTuples

Line = StyleAndTextTuples
"""A line of the screen: pieces of plain text, each with its style."""


class Display(Protocol):
    """A terminal, which shows lines and takes typed ones."""

    async def run(self) -> None:
        """Show what comes until ``stop``, and leave the terminal as it was.

        Raises ``EOFError`` when the input ends, as when the terminal is gone.
        """

    def stop(self) -> None:
        """End ``run``. Later calls do nothing."""

    def show(self, *lines: Line) -> None:
        """Show *lines*, without the characters that could control a terminal."""

    def echo(self, line: Line) -> None:
        """Show the typed *line*, unless it is still on the terminal."""

    def refresh(self) -> None:
        """Show the prompt, the waiting lines and the status line again, because they may have changed."""

    def ring(self) -> None:
        """Ring the terminal's bell."""


class Typist(Protocol):
    """The user of a terminal, as the terminal sees it: it takes typed lines, and returns the texts around them."""

    def asking(self) -> bool:
        """Return whether the server waits for an answer to a prompt."""

    def prompt(self) -> Line:
        """Return the text before the line that is being typed."""

    def secret(self) -> bool:
        """Return whether typing is hidden."""

    def waiting(self) -> list[Line]:
        """Return the own lines that are on their way."""

    def status(self, columns: int) -> Line:
        """Return the status line, in at most *columns* columns."""

    def typed(self, text: str) -> str:
        """Send the entered *text*, one line or several. Return the part that could not be sent, which stays."""

    def leave(self) -> None:
        """Leave. The user has typed Ctrl-D, or Ctrl-C on an empty line, perhaps more than once."""
