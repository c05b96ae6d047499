"""The views of a conversation: one for each room, and one for each person in private."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broadcast.client.session.entries import Entry

ENTRIES: Final = 2_000
"""The number of newest entries that a view keeps."""


class View:
    """A room, or a private conversation with the person *name*."""

    def __init__(self, name: str, *, is_private: bool = False) -> None:
        self.name = name
        self.is_private = is_private
        self.entries: deque[Entry] = deque(maxlen=ENTRIES)
        self.unread = 0
        """The number of lines that the user has not seen."""
        self.mentions = 0
        """The number of those that name the user."""
        self.topic: str | None = None
        self.count = 0
        """The number of people in the room, with the user."""

    @property
    def title(self) -> str:
        """The name for the line of views: ``lobby``, or ``@bob`` for a private conversation."""
        return f"@{self.name}" if self.is_private else self.name
