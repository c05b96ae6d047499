"""The interfaces of a conversation: the front, which shows it, and the server, which it asks."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

from broadcast.client.protocol.events import Line
from broadcast.client.protocol.requests import OnEnd, Progress, Request
from broadcast.client.session.entries import Entry
from broadcast.client.session.views import View

Choices: TypeAlias = MutableMapping[str, bool]
"""The choices of the user that outlast the client, such as ``times`` and ``quiet``. The front reads them too.

Setting one raises ``ValueError`` with the reason if it cannot be stored. It then holds until the client ends.
"""


class Front(Protocol):
    """A display of the conversation, such as a terminal."""

    async def run(self) -> None:
        """Show the conversation until ``stop``. Raise ``EOFError`` or ``OSError`` if the display is gone."""

    def stop(self) -> None:
        """End ``run``. Later calls do nothing."""

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

    def request(self, request: Request[Any], on_end: OnEnd) -> None:
        """Send a request, over as many connections as it takes."""

    def upload(self, room: str, path: str, on_progress: Progress, on_end: OnEnd) -> Callable[[], object]:
        """Share the file at *path* in a room. Return a function that cancels it: *on_end* is not called then."""

    def is_own(self, event: Line) -> bool:
        """Return whether the user has said a line."""

    def quit(self, reason: str) -> None:
        """Leave the server, after it has answered all requests. *reason* is for the others; it may be empty."""
