"""What the user types: commands, and their uses. A line to say is a use of the command *say*."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from broadcast.client.protocol.requests import Request

if TYPE_CHECKING:
    from broadcast.client.protocol.errors import ChatError
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.views import View


class UsageError(Exception):
    """Something typed that cannot be executed. The text says what to do."""


class Kind(Enum):
    """The kinds of what a user types."""

    LINE = "line"
    """A line or an action in a room. The room's events show it."""
    PRIVATE = "private"
    """A line to one person."""
    COMMAND = "command"


Result: TypeAlias = "Sequence[Entry]"
"""The entries that show the end of a command, beside the command itself."""
Execution: TypeAlias = "Generator[Request[Any], Any, Result]"
"""The execution of a command: it yields at most one request, takes its result, and returns the entries."""


class Command(NamedTuple):
    """A command of the client.

    *run* takes the conversation, the item and the argument. Without a request, it returns the entries. For a line of a
    room, it returns the request. Until it yields a request, it may raise ``UsageError``. *help* is empty if the
    server's ``/help`` explains the command.
    """

    name: str
    usage: str
    run: Callable[[Any, Item, str], Execution | Result | Request[Any]]
    aliases: tuple[str, ...] = ()
    kind: Kind = Kind.COMMAND
    is_local: bool = False
    """Whether it never needs the server."""
    is_move: bool = False
    """Whether it may lead to another view, where the lines after it are meant."""
    needs_view: bool = False
    """Whether it is about the view in which it was typed."""
    help: str = ""

    @property
    def syntax(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.usage}".rstrip()


@dataclass(eq=False, slots=True)
class Item:
    """A use of a command."""

    text: str
    """The text, as typed."""
    view: View
    """The view in which it was typed, or that to which *after* has led."""
    command: Command
    argument: str
    uid: str
    at: float
    """The time at which the user has typed it, in seconds since the epoch."""
    selections: int
    """The number of times that the user had chosen a view until then."""
    after: Item | None = None
    """The move before it, if that was not executed yet."""
    to: str = ""
    """The recipient of a private line."""
    destination: View | None = None
    """The view to which a move has led."""
    request: Request[Any] | None = None
    was_sent: bool = False
    has_ended: bool = False
    is_shown: bool = False
    result: Any = None
    error: ChatError | UsageError | None = None
    _execution: Execution | None = None

    @property
    def kind(self) -> Kind:
        """The kind. A line is private if it was typed in a private conversation."""
        return Kind.PRIVATE if self.to else self.command.kind

    def start(self, talk: object) -> None:
        """Execute it up to its request. Without one, it ends at once."""
        try:
            outcome = self.command.run(talk, self, self.argument)
            if isinstance(outcome, Generator):
                self.request = next(outcome)
                self._execution = outcome
            elif isinstance(outcome, Request):
                self.request = outcome
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
