"""The commands that the user types, and their uses. A line to say is a use of the command *say*."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from broadcast.client.protocol.requests import Emote, Request, Say, Stored

if TYPE_CHECKING:
    from broadcast.client.protocol.errors import ChatError
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.talk import Talk
    from broadcast.client.session.views import View


class UsageError(Exception):
    """Something typed that cannot be executed. The text says what to do."""


Result: TypeAlias = "Sequence[Entry]"
"""The entries that show the end of a command."""
Execution: TypeAlias = "Generator[Request[Any], Any, Result]"
"""The execution of a command: it yields at most one request, takes its result, and returns the entries."""


class Command(NamedTuple):
    """A command of the client.

    *run* takes the conversation, the item and the argument. Without a request, it returns the entries. Until it yields
    a request, it may raise ``UsageError``. *help* is empty if the server's ``/help`` explains the command.
    """

    name: str
    usage: str
    run: Callable[[Talk, Item, str], Execution | Result]
    aliases: tuple[str, ...] = ()
    is_text: bool = False
    """Whether it says something. Its entries show it, and the command itself is not shown."""
    is_local: bool = False
    """Whether it never needs the server."""
    is_move: bool = False
    """Whether it leads to another view, where the lines after it are meant."""
    needs_view: bool = False
    """Whether it is about the view in which it was typed."""
    help: str = ""

    @property
    def syntax(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.usage}".rstrip()

    def check(self, argument: str) -> None:
        """Raise ``UsageError`` if the usage begins with a word that is not optional, and there is no argument."""
        if self.usage[:1].isalpha() and not argument.strip():
            raise UsageError(f"Usage: {self.syntax}")


@dataclass(eq=False, slots=True)
class Item:
    """A use of a command."""

    text: str
    """The text, as typed."""
    view: View
    """The view in which it was typed, or that to which the move before it has led."""
    command: Command
    argument: str
    uid: str
    at: float
    """The time at which the user has typed it, in seconds since the epoch."""
    selections: int
    """The number of times that the user had chosen a view until then."""
    destination: View | None = None
    """The view to which a move has led."""
    request: Request[Any] | None = None
    has_ended: bool = False
    result: Any = None
    error: ChatError | UsageError | None = None
    _execution: Execution | None = None

    @property
    def has_started(self) -> bool:
        """Whether its request was sent, or it has ended without one."""
        return self.request is not None or self.has_ended

    @property
    def is_line(self) -> bool:
        """Whether it was sent as a line of a room. The room's events show it."""
        return isinstance(self.request, Say | Emote)

    @property
    def is_complete(self) -> bool:
        """Whether it can be shown. A stored line waits until the room's events have reached it."""
        if self.is_line and isinstance(self.result, Stored):
            return self.result.seq <= self.view.last_seq
        return self.has_ended

    def start(self, talk: Talk) -> None:
        """Execute it up to its request. Without one, it ends at once."""
        try:
            self.command.check(self.argument)
            outcome = self.command.run(talk, self, self.argument)
            if isinstance(outcome, Generator):
                self.request = next(outcome)
                self._execution = outcome
            else:
                self.end(outcome)
        except StopIteration as end:
            self.end(end.value)
        except UsageError as error:
            self.end(error=error)

    def end(self, result: Any = None, error: ChatError | UsageError | None = None) -> None:  # noqa: ANN401 -- any type
        """Take the answer to the request, or the entries if there was none."""
        self.has_ended, self.result, self.error = True, result, error

    def finish(self) -> Result:
        """Execute it to its end, and return the entries that show it."""
        if self._execution is None:
            return self.result  # type: ignore[no-any-return]  # of a command without a request
        try:
            self._execution.send(self.result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # of the execution
        raise RuntimeError(f"{self.text} has a second request")
