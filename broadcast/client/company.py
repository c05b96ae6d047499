"""The people in the room, as far as the events tell."""

from __future__ import annotations

from collections.abc import Sequence

from broadcast.client.lines import Crowd, Emoted, Event, Joined, Left, Renamed, Said


class Company:
    """The people in the room. It is empty while the client is in no room."""

    def __init__(self) -> None:
        self.here = 0
        """The number of people, with the user, or 0 if it is unknown."""
        self._names: dict[str, str] = {}

    @property
    def names(self) -> Sequence[str]:
        """The known nicknames of the other people."""
        return tuple(self._names.values())

    def enter(self, names: Sequence[str], others: int) -> None:
        """Enter a room with *others* people, of whom *names* are known."""
        self._names = {name.casefold(): name for name in names}
        self.here = others + 1

    def leave(self) -> None:
        """Leave the room."""
        self._names.clear()
        self.here = 0

    def follow(self, event: Event, own: str) -> bool:
        """Update the people after *event*, and return whether they have changed. *own* is the own nickname."""
        match event:
            case Joined(nick=nick):
                self._names[nick.casefold()] = nick
                self._count(1)
            case Left(nick=nick):
                self._names.pop(nick.casefold(), None)
                self._count(-1)
            case Renamed(nick=nick, new=new):
                self._names.pop(nick.casefold(), None)
                self._names[new.casefold()] = new
            case Crowd(count=count, joined=joined):
                self._count(count if joined else -count)
            case Said(nick=nick, own=False) | Emoted(nick=nick, own=False) if (
                not event.time and nick.casefold() not in self._names and nick != own
            ):
                self._names[nick.casefold()] = nick
            case _:
                return False
        return True

    def _count(self, more: int) -> None:
        if self.here:
            self.here = max(self.here + more, 1)
