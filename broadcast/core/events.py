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
class Message:
    """Somebody said a line."""

    session: int
    nick: str
    text: str
    at: float
    seq: int = 0
    receipt: bool = False
    """Whether the author wants to know the number."""

    def with_seq(self, seq: int) -> Message:
        """The same event, kept under *seq* (1 or more)."""
        return Message(self.session, self.nick, self.text, self.at, seq, self.receipt)


@dataclass(frozen=True, slots=True)
class Action:
    """Somebody does something: ``/me waves``."""

    session: int
    nick: str
    text: str
    at: float
    seq: int = 0
    receipt: bool = False
    """Whether the author wants to know the number."""

    def with_seq(self, seq: int) -> Action:
        """The same event, kept under *seq* (1 or more)."""
        return Action(self.session, self.nick, self.text, self.at, seq, self.receipt)


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody came into the room."""

    session: int
    nick: str


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody left, and what they gave as the reason, if anything."""

    session: int
    nick: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JoinCount:
    """So many joins in one burst that they are told as a number (PROTOCOL: more than five)."""

    count: int


@dataclass(frozen=True, slots=True)
class LeaveCount:
    """So many leaves in one burst that they are told as a number."""

    count: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """*nick* is now *new*."""

    session: int
    nick: str
    new: str


@dataclass(frozen=True, slots=True)
class Announced:
    """The server speaks to everybody."""

    text: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """A place in the stream: somebody waits until everything before it has been told. It shows to nobody."""


@dataclass(frozen=True, slots=True)
class PrivateMessage:
    """A private line from the session *who* to the session *to*."""

    session: int
    nick: str
    to: int
    text: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The journal could not keep *event*; only its author is told, and why."""

    event: Message | Action
    reason: str

    @property
    def session(self) -> int:
        """The author's session."""
        return self.event.session


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's name and the lines of its message of the day: what a connection is told first."""

    name: str
    motd: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question on which the next line is the answer; the only output without a line end."""

    text: str


@dataclass(frozen=True, slots=True)
class JoinConfirmed:
    """You are *nick*; *others* are in the room, of whom *named* (at most twenty) are listed."""

    nick: str
    named: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """A line that was said before the reader came."""

    event: Message | Action


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A line that the reader asked for, with its number."""

    event: Message | Action


@dataclass(frozen=True, slots=True)
class Gap:
    """The reader was not told of the lines *first* to *last*: they did not read for too long."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The reader's own line is kept under *seq*."""

    seq: int


@dataclass(frozen=True, slots=True)
class Uptime:
    """The server runs since *since* (seconds since the epoch), with so many people and lines in the room."""

    since: float
    people: int
    lines: int


@dataclass(frozen=True, slots=True)
class CommandReply:
    """One line of the answer to a command."""

    text: str


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What was asked for was refused, and why; nothing was changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """The server says something to one person: that it closes, and why."""

    text: str


Stored: TypeAlias = Message | Action
Transient: TypeAlias = (
    Joined | Left | JoinCount | LeaveCount | Renamed | Announced | Barrier | PrivateMessage | StoreFailed
)
Event: TypeAlias = Stored | Transient
Shown: TypeAlias = ReplayLine | HistoryLine | Gap | Receipt
Notice: TypeAlias = Welcome | Prompt | JoinConfirmed | Shown | Uptime | CommandReply | ErrorReply | ServerNotice

STORED: Final = (Message, Action)
"""For ``isinstance`` where each event passes: the union would be made anew each time."""
PRIVATE_EVENTS: Final = (PrivateMessage, StoreFailed)
"""What shows to one reader only."""
_WITH_TEXT: Final = (Message, Action, PrivateMessage)


def text_length(event: Event) -> int:
    """How many characters *event* holds that somebody wrote."""
    if isinstance(event, StoreFailed):
        event = event.event
    return len(event.text) if isinstance(event, _WITH_TEXT) else 0
