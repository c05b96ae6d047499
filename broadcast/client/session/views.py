"""The views of a conversation: one for each room, and one for each person in private."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from broadcast.client.protocol.requests import Person
from broadcast.client.session.entries import Entry

ENTRIES: Final = 2_000
"""Maximum number of entries in a view. The oldest ones are dropped."""
NAMED: Final = 20
"""The most people that the line of an arrival names."""


class View:
    """A room, or a private conversation with the person *name*."""

    def __init__(self, name: str, *, is_private: bool = False) -> None:
        self.name = name
        self.is_private = is_private
        self.entries: deque[Entry] = deque(maxlen=ENTRIES)
        self.unread = 0
        self.mentions = 0
        """The number of those that name the user."""
        self.new_entries = 0
        """The number of entries since the user has left the view."""
        self.topic: str | None = None
        self.count = 0
        """The number of people in the room, with the user."""
        self.members: dict[str, str] = {}
        """The nicknames in the room by session, in a large room not all of them."""
        self.last_seq = 0
        """The number of the last line of the room that the view has."""
        self.old_seq = 0
        """The number of the last line that was there when the user came. Older ones are neither unread nor alerts."""
        self.refreshes = 0
        """The number of wanted requests for the members, with the one that is not answered yet."""

    @property
    def title(self) -> str:
        """The name for the line of views: ``lobby``, or ``@bob`` for a private conversation."""
        return f"@{self.name}" if self.is_private else self.name

    @property
    def is_urgent(self) -> bool:
        """Whether an unread line is a mention, or private."""
        return self.unread > 0 and (self.is_private or self.mentions > 0)

    def set_members(self, people: Iterable[Person], count: int) -> None:
        """Set the people in the room: the first ones, and the number of all."""
        self.members = {person.session: person.nick for person in people}
        self.count = max(count, len(self.members))

    def add_member(self, session: str, nick: str) -> None:
        """Add a person. A repetition changes nothing."""
        self.count += session not in self.members
        self.members[session] = nick

    def remove_member(self, session: str) -> None:
        """Remove a person. A repetition changes nothing if all members are known."""
        if self.members.pop(session, None) is not None or self.count > len(self.members):
            self.count -= 1

    def people(self, own_session: str) -> str:
        """Return a sentence about the other people in the room."""
        others = max(0, self.count - 1)
        named = [nick for session, nick in self.members.items() if session != own_session][:NAMED]
        if not others:
            return "Nobody else is here."
        more = f" and {others - len(named)} more" if others > len(named) else ""
        return f"{others} {'other is' if others == 1 else 'others are'} here: {', '.join(named)}{more}."
