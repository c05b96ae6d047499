"""The interfaces of a conversation: the front, which shows it, and the server, which it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from broadcast.client.protocol.errors import ChatError
    from broadcast.client.protocol.requests import Request
    from broadcast.client.session.entries import Entry
    from broadcast.client.session.views import View


class Front(Protocol):
    """A display of the conversation, such as a terminal."""

    def show(self, *entries: Entry) -> None:
        """Show entries that were added to the current view."""

    def switch(self, unread: int) -> None:
        """Show another current view. The last *unread* entries of it are new."""

    def update(self) -> None:
        """Show the status and the waiting lines again, because they may have changed."""

    def alert(self, view: View, entry: Entry) -> None:
        """Tell the user of a mention or a private line, which may be in another view."""


class Server(Protocol):
    """The session on the server."""

    def request(self, request: Request[Any], on_end: Callable[[Any, ChatError | None], None]) -> None:
        """Send a request, over as many connections as it takes. *on_end* is called with its result, or its error."""

    def quit(self) -> None:
        """Leave the server, after it has answered all requests."""
