"""The own lines and commands that are not shown yet, in the order in which the user has typed them.

Each is sent, then answered, then shown. Lines of rooms do not wait for the answers to earlier ones, but are shown only
after everything that was typed before them. After anything else, nothing is sent before it is shown. So a line never
arrives before another that was typed before it, and a command has had its effect on everything behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broadcast.client.session.items import UsageError

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
                item.end(error=UsageError(f"{move.text} has failed"))
            if item.command.is_move:
                break

    def _send_next(self) -> bool:
        """Send the first unsent item, if it may be sent. Return whether it was."""
        unanswered = 0
        for item in self.items:
            if not item.has_started:
                is_possible = item.command.is_local or (self.is_open and unanswered < self.max_unanswered)
                if is_possible:
                    self._send(item)
                return is_possible
            unanswered += not item.has_ended
            if not item.is_line:
                break
        return False
