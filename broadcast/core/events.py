"""What happens in a room and what one person is told, as frozen values; no text for people, no bytes.

Three families:

* *Kept* events have a number ``seq`` (dense, from 1; 0 until a journal has kept them) and a time ``at`` (seconds
  since the epoch).
* *Passing* events have their place in the stream, but no number, and no journal keeps them.
* *Notices* are for one person: answers, prompts, receipts. They are never part of a room's stream, though some
  stand in one reader's stream in the place of an event (a receipt where the reader's own line would be).

``who`` is the id of the session that an event is about, unique in this process; 0 where the session belongs to an
earlier process. A nickname can change hands, an id cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody said a line."""

    who: int
    nick: str
    text: str
    at: float
    seq: int = 0
    receipt: bool = False
    """Whether the author wants to know the number."""

    def numbered(self, seq: int) -> Said:
        """The same event, kept under *seq* (1 or more)."""
        return Said(self.who, self.nick, self.text, self.at, seq, self.receipt)


@dataclass(frozen=True, slots=True)
class Emoted:
    """Somebody does something: ``/me waves``."""

    who: int
    nick: str
    text: str
    at: float
    seq: int = 0
    receipt: bool = False
    """Whether the author wants to know the number."""

    def numbered(self, seq: int) -> Emoted:
        """The same event, kept under *seq* (1 or more)."""
        return Emoted(self.who, self.nick, self.text, self.at, seq, self.receipt)


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody came into the room."""

    who: int
    nick: str


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody left, and what they gave as the reason, if anything."""

    who: int
    nick: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class ManyJoined:
    """So many joins in one burst that they are told as a number (PROTOCOL: more than five)."""

    count: int


@dataclass(frozen=True, slots=True)
class ManyLeft:
    """So many leaves in one burst that they are told as a number."""

    count: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """*nick* is now *new*."""

    who: int
    nick: str
    new: str


@dataclass(frozen=True, slots=True)
class Announced:
    """The server speaks to everybody."""

    text: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A place in the stream: somebody waits until everything before it has been told. It shows to nobody."""


@dataclass(frozen=True, slots=True)
class Whispered:
    """A private line from the session *who* to the session *to*."""

    who: int
    nick: str
    to: int
    text: str


@dataclass(frozen=True, slots=True)
class NotKept:
    """The journal could not keep *event*; only its author is told, and why."""

    event: Said | Emoted
    why: str

    @property
    def who(self) -> int:
        """The author's session."""
        return self.event.who


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The server's name and the lines of its message of the day: what a connection is told first."""

    name: str
    motd: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prompted:
    """A question on which the next line is the answer; the only output without a line end."""

    text: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """You are *nick*; *others* are in the room, of whom *named* (at most twenty) are listed."""

    nick: str
    named: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """A line that was said before the reader came."""

    event: Said | Emoted


@dataclass(frozen=True, slots=True)
class Recalled:
    """A line that the reader asked for, with its number."""

    event: Said | Emoted


@dataclass(frozen=True, slots=True)
class Missed:
    """The reader was not told of the lines *first* to *last*: they did not read for too long."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The reader's own line is kept under *seq*."""

    seq: int


@dataclass(frozen=True, slots=True)
class Running:
    """The server runs since *since* (seconds since the epoch), with so many people and lines in the room."""

    since: float
    people: int
    lines: int


@dataclass(frozen=True, slots=True)
class Answered:
    """One line of the answer to a command."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What was asked for was refused, and why; nothing was changed."""

    why: str


@dataclass(frozen=True, slots=True)
class Noted:
    """The server says something to one person: that it closes, and why."""

    text: str


Kept: TypeAlias = Said | Emoted
Passing: TypeAlias = Joined | Left | ManyJoined | ManyLeft | Renamed | Announced | Marked | Whispered | NotKept
Event: TypeAlias = Kept | Passing
Shown: TypeAlias = Replayed | Recalled | Missed | Receipt
Notice: TypeAlias = Welcomed | Prompted | Arrived | Shown | Running | Answered | Refused | Noted

KEPT: Final = (Said, Emoted)
"""For ``isinstance`` where each event passes: the union would be made anew each time."""
ALONE: Final = (Whispered, NotKept)
"""What shows to one reader only."""
_WRITTEN: Final = (Said, Emoted, Whispered)


def written(event: Event) -> int:
    """How many characters *event* holds that somebody wrote."""
    if isinstance(event, NotKept):
        event = event.event
    return len(event.text) if isinstance(event, _WRITTEN) else 0
