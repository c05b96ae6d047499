"""The own lines and commands that are not shown yet, in the order in which the user has typed them.

Each is sent, then answered, then shown. Requests do not wait for the answers to earlier lines, but an answer is shown
only after everything that was typed before it. Nothing that follows a command is sent before the command is shown,
and no line of a room before an earlier private line. So a line never arrives before what was typed before it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING

from broadcast.client.session.items import Kind

if TYPE_CHECKING:
    from broadcast.client.session.items import Item


class Outbox:
    """The queue. *send* sends an item, and *show* shows one that has ended."""

    def __init__(self, send: Callable[[Item], None], show: Callable[[Item], None]) -> None:
        self.items: list[Item] = []
        self.max_unanswered = 1
        """The most items that are sent and not answered."""
        self.is_open = False
        """Whether items that need the server are sent."""
        self._send = send
        self._show = show
        self._is_working = False

    def add(self, item: Item) -> None:
        """Append an item."""
        self.items.append(item)
        self.work()

    @property
    def sent(self) -> list[Item]:
        """The items that are sent and not shown."""
        return list(takewhile(lambda item: item.was_sent, self.items))

    def take_line(self, uid: str) -> Item | None:
        """Remove and return the line with this uid, because it is shown in its place."""
        for item in self.sent:
            if item.kind is Kind.LINE and item.uid == uid:
                self.items.remove(item)
                return item
        return None

    def work(self) -> None:
        """Show and send all that can be shown and sent."""
        if not self._is_working:
            self._is_working = True
            try:
                while self._show_next() or self._send_next():
                    pass
            finally:
                self._is_working = False

    def _show_next(self) -> bool:
        """Show the first item, if it has ended. Return whether it has. A stored line waits for the room's events."""
        if not self.items:
            return False
        item = self.items[0]
        if not item.has_ended or (item.kind is Kind.LINE and item.error is None):
            return False
        del self.items[0]
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
                is_possible = item.command.is_local or (self.is_open and unanswered < self.max_unanswered)
                if is_possible and not is_late:
                    item.was_sent = True
                    self._send(item)
                return item.was_sent
            unanswered += not item.has_ended
            has_private = has_private or item.kind is Kind.PRIVATE
            if item.kind is Kind.COMMAND:
                return False
        return False
