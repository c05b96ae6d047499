"""The own lines and commands that are not shown yet, in the order in which the user has typed them.

Each is sent, then answered, then shown. Requests do not wait for the answers to earlier lines, but an answer is shown
only after everything that was typed before it. Nothing that follows a command is sent before the command is shown,
and no line of a room before an earlier private line. So a line never arrives before what was typed before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from broadcast.client.protocol.errors import ChatError

if TYPE_CHECKING:
    from broadcast.client.protocol.requests import Request
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.views import View


class Kind(Enum):
    """The kinds of what a user types."""

    LINE = "line"
    """A line or an action in a room. The room's events show it."""
    PRIVATE = "private"
    """A line to one person."""
    COMMAND = "command"


class Waiting(NamedTuple):
    """A line or a command that is not shown yet: the text as typed, and its kind."""

    text: str
    kind: Kind


@dataclass(eq=False, slots=True)
class Item:
    """A line or a command of the user."""

    text: str
    """The text, as typed."""
    view: View
    """The view in which it was typed."""
    kind: Kind
    uid: str
    at: float
    """The time at which the user has typed it, in seconds since the epoch."""
    execute: Callable[[Item], Request[Any] | None]
    """Returns the request that executes it, or None if the client itself does. May raise an error for the user."""
    is_local: bool = False
    """Whether it never needs the server."""
    needs_view: bool = False
    """Whether it is about its view, and so nothing if the command before it has not led there."""
    finish: Callable[[Any], Sequence[Entry]] = lambda _result: ()
    """Applies the result, and returns the entries that show it."""
    to: str = ""
    """The recipient of a private line."""
    after: Item | None = None
    """The command before it that leads to another view, where this line is meant."""
    destination: View | None = None
    """The view to which this command has led."""
    selections: int = 0
    """The number of views that the user had chosen until then."""
    request: Request[Any] | None = None
    """The request that was sent."""
    was_sent: bool = False
    has_ended: bool = False
    is_shown: bool = False
    result: Any = None
    error: ChatError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it can be shown. A stored line is not: the room's events show it in its place."""
        return self.has_ended and (self.error is not None or self.kind is not Kind.LINE)


class Outbox:
    """The queue. *send* sends an item, and *show* shows an item that is ready."""

    def __init__(self, send: Callable[[Item], None], show: Callable[[Item], None]) -> None:
        self.items: list[Item] = []
        self.max_unanswered = 1
        """The most items that are sent and not answered."""
        self.is_open = False
        """Whether items with requests are sent."""
        self._send = send
        self._show = show
        self._is_working = False

    def add(self, item: Item) -> None:
        """Append an item."""
        self.items.append(item)
        self.work()

    def end(self, item: Item, result: Any, error: ChatError | None) -> None:  # noqa: ANN401 -- a result of any request
        """Take the answer to an item."""
        item.has_ended = True
        item.result, item.error = result, error
        self.work()

    def take_line(self, uid: str) -> Item | None:
        """Remove and return the line with this uid, because a room's events show it."""
        for item in self.items:
            if item.kind is Kind.LINE and item.uid == uid:
                item.is_shown = True
                self.items.remove(item)
                return item
        return None

    def work(self) -> None:
        """Show and send all that can be shown and sent."""
        if self._is_working:
            return
        self._is_working = True
        try:
            while self._show_next() or self._send_next():
                pass
        finally:
            self._is_working = False

    def _show_next(self) -> bool:
        """Show the first item, if it is ready. Return whether it was."""
        if not self.items or not self.items[0].is_ready:
            return False
        item = self.items.pop(0)
        item.is_shown = True
        self._show(item)
        return True

    def _send_next(self) -> bool:
        """Send the first unsent item, if it may be sent. Return whether it was."""
        unanswered = 0
        has_private = False
        for item in self.items:
            if not item.was_sent:
                is_late = has_private and item.kind is Kind.LINE and not item.view.is_private
                is_possible = item.is_local or (self.is_open and unanswered < self.max_unanswered)
                if is_late or not is_possible:
                    return False
                item.was_sent = True
                self._send(item)
                return True
            unanswered += not item.has_ended
            has_private = has_private or item.kind is Kind.PRIVATE
            if item.kind is Kind.COMMAND:
                return False
        return False
