"""The lines and commands that the user has typed and that are not shown yet, in the order typed.

Each is sent, then answered, then shown. Lines of rooms do not wait for the answers to earlier ones, but are shown only
after everything that was typed before them. After anything else, nothing is sent before it is shown. So a line never
arrives before another that was typed before it, and a command has had its effect on everything behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from broadcast.client.protocol.errors import ChatError
from broadcast.client.protocol.requests import Emote, Request, Say
from broadcast.client.session.entries import Entry, Line
from broadcast.client.session.talk import Talk
from broadcast.client.session.views import View

Execution: TypeAlias = Generator[Request[Any], Any, Sequence[Entry]]
"""The execution of a command: it yields at most one request, takes its result, and returns entries for the end."""


class UsageError(Exception):
    """Something typed that cannot be executed. The text says what to do."""


class Command(NamedTuple):
    """A command of the client. A line to say is a use of the command *say*.

    *run* takes the conversation, the item and the argument. Without a request, it returns the entries. Until it yields
    a request, it may raise ``UsageError``. *help* is empty if the server's ``/help`` explains the command.
    """

    name: str
    usage: str
    run: Callable[[Talk, Item, str], Execution | Sequence[Entry]]
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
    prompts: tuple[str, ...] = ()
    """The questions whose answers are passwords, before it is executed."""

    @property
    def syntax(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.usage}".rstrip()


@dataclass(eq=False, slots=True)
class Item:
    """A use of a command."""

    text: str
    view: View
    """The view in which it was typed, or that to which the move before it has led."""
    command: Command
    argument: str
    uid: str
    at: float
    """The time at which the user has typed it, in seconds since the epoch."""
    selections: int
    """The number of times that the user had chosen a view until then."""
    passwords: Sequence[str] = field(default=(), repr=False)
    destination: View | None = None
    """The view to which a move has led, or None before."""
    request: Request[Any] | None = None
    entries: Sequence[Entry] | None = None
    """The entries that show its end, or None before."""
    error: ChatError | UsageError | None = None
    _execution: Execution | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it was answered, or needs no answer."""
        return self.entries is not None or self.error is not None

    @property
    def is_line(self) -> bool:
        """Whether it was sent as a line of a room. The room's events show it."""
        return isinstance(self.request, Say | Emote)

    @property
    def is_complete(self) -> bool:
        """Whether it can be shown. A stored line waits until the room's events have reached it."""
        line = self.entries[0] if self.entries else None
        return line.seq <= self.view.last_seq if isinstance(line, Line) else self.has_ended

    def start(self, talk: Talk) -> None:
        """Execute it up to its request. Without one, it ends at once."""
        # Only an argument in brackets is optional.
        if self.command.usage[:1].isalpha() and not self.argument.strip():
            self.error = UsageError(f"Usage: {self.command.syntax}")
            return
        try:
            outcome = self.command.run(talk, self, self.argument)
            if isinstance(outcome, Generator):
                self.request, self._execution = next(outcome), outcome
            else:
                self.entries = outcome
        except StopIteration as end:
            self.entries = end.value
        except UsageError as error:
            self.error = error

    def end(self, result: Any, error: ChatError | None) -> None:  # noqa: ANN401 -- any type
        """Take the answer to the request, and execute the command to its end."""
        self.error = error
        if error is None and self._execution is not None:
            try:
                self._execution.send(result)
            except StopIteration as end:
                self.entries = end.value


class Outbox:
    """The queue. *send* sends an item, and *show* shows one that has ended."""

    def __init__(self, send: Callable[[Item], None], show: Callable[[Item], None]) -> None:
        self.items: list[Item] = []
        self.max_unanswered = 1
        self.is_open = False
        """Whether items that need the server are sent."""
        self._send = send
        self._show = show

    def take_line(self, uid: str) -> None:
        """Remove the line with this uid, because an event of the room shows it."""
        self.items = [item for item in self.items if item.uid != uid]

    def work(self) -> None:
        """Show and send everything that can be shown and sent."""
        while self._show_next() or self._send_next():
            pass

    def _show_next(self) -> bool:
        """Show the first item, if it is complete. Return whether it is."""
        if not self.items or not self.items[0].is_complete:
            return False
        item = self.items.pop(0)
        self._show(item)
        if item.command.is_move:
            self._lead(item)
        return True

    def _lead(self, move: Item) -> None:
        """Lead the items after a move to its destination, up to the next move, or a choice of the user."""
        for item in self.items:
            if item.selections != move.selections:
                break
            if move.destination is not None:
                item.view = move.destination
            elif item.command.needs_view:
                item.error = UsageError(f"{move.text} has failed")
            if item.command.is_move:
                break

    def _send_next(self) -> bool:
        """Send the first unsent item, if it may be sent. Return whether it was."""
        unanswered = 0
        for item in self.items:
            if item.request is None and not item.has_ended:
                is_possible = item.command.is_local or (self.is_open and unanswered < self.max_unanswered)
                if is_possible:
                    self._send(item)
                return is_possible
            unanswered += not item.has_ended
            if not item.is_line:
                break
        return False
