"""The events of a room and the notices for single subscribers, as values. Only encoders make text of them.

There are three families:

* *Stored* events have a number ``seq`` (dense, from 1; 0 until a journal has stored the event) and a time ``at``
  (seconds since the epoch).
* *Transient* events have a place in the stream, but no number, and no journal stores them.
* *Notices* are for one subscriber: replies, prompts, receipts. They are never part of a room's stream. In one
  subscriber's stream a notice can replace an event (a receipt replaces the author's own message).

``session`` is the id of the session that an event is about. It is 0 in lines of the server, and in lines that a version
without session ids has stored. A nickname can pass to another session, an id cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from broadcast.core.decisions import LastingDecision
from broadcast.core.records import PrivateLine


@dataclass(slots=True)
class Message:
    """A line of text from a member.

    It is not frozen, because a frozen event takes 2 µs longer to create, and a copy with the number another one. Only a
    journal may change it, and only ``seq``, from ``Journal.append`` until it returns the event. Nobody reads ``seq``
    before that.
    """

    session: int
    nick: str
    text: str
    at: float
    seq: int = 0
    receipt: bool = False
    """Whether the author receives the number as a ``Receipt``."""
    uid: str = ""
    """The identifier that the author's program has chosen, unique in the room; empty if there is none."""
    on_stored: OnStored | None = field(default=None, compare=False, repr=False)
    """Called when the event is in delivery, or could not be stored."""


@dataclass(slots=True)
class Action:
    """Something that a member does: ``/me waves``. Only a journal may change it, as described in ``Message``."""

    session: int
    nick: str
    text: str
    at: float
    seq: int = 0
    receipt: bool = False
    """Whether the author receives the number as a ``Receipt``."""
    uid: str = ""
    """The identifier that the author's program has chosen, unique in the room; empty if there is none."""
    on_stored: OnStored | None = field(default=None, compare=False, repr=False)
    """Called when the event is in delivery, or could not be stored."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that a member has shared."""

    id: str
    """The random identifier of this share. It is secret: everybody who has it can download the file."""
    name: str
    """The name of the file; see ``file_names.clean_file_name``."""
    size: int
    """Size in bytes."""
    type: str
    """The media type, one of an allow-list; ``application/octet-stream`` for all others."""
    sha256: str
    """The SHA-256 of the content, in hexadecimal digits."""
    width: int = 0
    """Width of the image in pixels; 0 if the file is no image, or its size is not known."""
    height: int = 0
    """Height of the image in pixels, or 0."""


@dataclass(slots=True)
class Shared:
    """A file that a member shares. Only a journal may change it, as described in ``Message``."""

    session: int
    nick: str
    file: FileInfo
    at: float
    seq: int = 0
    uid: str = ""
    """The identifier that the author's program has chosen, unique in the room; empty if there is none."""
    on_stored: OnStored | None = field(default=None, compare=False, repr=False)
    """Called when the event is in delivery, or could not be stored."""

    @property
    def text(self) -> str:
        """The name of the file, which a search finds."""
        return self.file.name


@dataclass(frozen=True, slots=True)
class Joined:
    """A member joined the room."""

    session: int
    nick: str
    generation: int = field(default=0, compare=False)
    """The generation of the session at that time; see ``directory.Person``."""


@dataclass(frozen=True, slots=True)
class Left:
    """A member left the room. *reason* is empty if the member gave none."""

    session: int
    nick: str
    reason: str = ""
    by: str = ""
    """The operator who has removed the member; empty if the member left. Nobody else can choose this text."""
    ends_session: bool = field(default=False, compare=False)
    """Whether the session ends. In a cluster, its nickname is free once it has left all of its rooms."""
    generation: int = field(default=0, compare=False)
    """The generation of the session at that time; see ``directory.Person``."""


@dataclass(frozen=True, slots=True)
class JoinCount:
    """The number of joins in one batch, in place of too many single ones (see ``batching.COALESCE_ABOVE``)."""

    count: int


@dataclass(frozen=True, slots=True)
class LeaveCount:
    """The number of leaves in one batch, in place of too many single ones."""

    count: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """A member changed the nickname from *nick* to *new*."""

    session: int
    nick: str
    new: str
    unasked: bool = False
    """Whether the server has changed it. Then the member itself reads it like all others."""


@dataclass(frozen=True, slots=True)
class TopicChanged:
    """A member changed the topic of the room to *text*, which is empty if there is none any more.

    The journal stores the topic with the room. If that fails, a ``StoreFailed`` returns in the event's place.
    """

    session: int
    nick: str
    text: str
    on_stored: OnStored | None = field(default=None, compare=False, repr=False)
    """Called when the event is in delivery, or could not be stored."""


@dataclass(frozen=True, slots=True)
class AwayChanged:
    """A member is away, or is back. *reason* is empty if the member gave none. Only programs are notified."""

    session: int
    nick: str
    away: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """A text from the server to everybody, or to everybody on this node of a cluster."""

    text: str
    is_local: bool = False
    """Whether people on other nodes do not receive it."""
    decisions: tuple[LastingDecision, ...] = ()
    """The decisions that it announces. A node carries them out before it delivers the text."""


@dataclass(frozen=True, slots=True)
class Barrier:
    """A place in the stream. Its callback runs when everything before it has been delivered. No encoder shows it."""


@dataclass(frozen=True, slots=True)
class PrivateMessage:
    """A line from the session *session* to the session *to* alone, at the time *at* (seconds since the epoch)."""

    session: int
    nick: str
    to: int
    text: str
    at: float = 0.0
    account: int = 0
    """Id of the sender's account; 0 if the sender has none."""
    line: PrivateLine | None = None
    """The stored line; None if the message is not stored."""
    uid: str = ""
    """The identifier that the sender's program has chosen; empty if none. It is unique among the sender's messages."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The journal has not stored *event* again: the line *seq*, which comes before, has the same ``uid``."""

    event: Stored
    seq: int


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The journal could not store *event*. Only the author receives this, with the reason."""

    event: Message | Action | Shared | TopicChanged
    reason: str

    @property
    def session(self) -> int:
        """The author's session."""
        return self.event.session


@dataclass(frozen=True, slots=True)
class Welcome:
    """The first notice of a connection: the server's name and the lines of the message of the day."""

    name: str
    motd: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question that the next line answers. It is the only output without a line end."""

    text: str


@dataclass(frozen=True, slots=True)
class PasswordPrompt:
    """A question for a password. The terminal should not show the next line, which answers it."""

    text: str


@dataclass(frozen=True, slots=True)
class PasswordTyped:
    """The answer to a ``PasswordPrompt`` has arrived. The terminal can show lines again."""


@dataclass(frozen=True, slots=True)
class JoinConfirmed:
    """The subscriber has joined as *nick*. *others* is the number of other members, *named* the first nicknames."""

    nick: str
    named: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class RoomEntered:
    """The subscriber has moved to the room *name*. *others* and *named* are as in ``JoinConfirmed``."""

    name: str
    named: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """An event from before the subscriber joined."""

    event: Message | Action | Shared


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """An event that the subscriber asked for. It is shown with its number."""

    event: Message | Action | Shared


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """A private message from *nick* that was stored at the time *at*, while its recipient was not here."""

    nick: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class PrivateHistoryLine:
    """A stored private message from *nick* that the subscriber asked for."""

    nick: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Gap:
    """The subscriber missed the events *first* to *last*, both included. They are no longer in memory.

    It may also have missed events without a number. If *last* is before *first*, it missed only such events.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The subscriber's own event is stored under *seq*."""

    seq: int


@dataclass(frozen=True, slots=True)
class Uptime:
    """The start of the server (*since*, seconds since the epoch), and the numbers of members and stored events."""

    since: float
    people: int
    lines: int


@dataclass(frozen=True, slots=True)
class CommandReply:
    """One line of a command's output."""

    text: str


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """The server rejected a request for this reason and changed nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """A text from the server to one subscriber, for example the reason why it closes the connection."""

    text: str


Line: TypeAlias = Message | Action
"""A stored event that a member types."""
Stored: TypeAlias = Line | Shared
Transient: TypeAlias = (
    Joined
    | Left
    | JoinCount
    | LeaveCount
    | Renamed
    | TopicChanged
    | AwayChanged
    | Announced
    | Barrier
    | PrivateMessage
    | Repeated
    | StoreFailed
)
Event: TypeAlias = Stored | Transient
Notice: TypeAlias = (
    Welcome
    | Prompt
    | PasswordPrompt
    | PasswordTyped
    | JoinConfirmed
    | RoomEntered
    | ReplayLine
    | HistoryLine
    | WaitingLine
    | PrivateHistoryLine
    | Gap
    | Receipt
    | Uptime
    | CommandReply
    | ErrorReply
    | ServerNotice
    | PrivateMessage
)

OnStored: TypeAlias = "Callable[[Stored | TopicChanged | StoreFailed], None]"
"""Receives an event when it is in delivery, or the failure to store it."""

STORED: Final = (Message, Action, Shared)
"""``Stored`` for ``isinstance``: a union in that place would be built anew for each event."""
PRIVATE_EVENTS: Final = (PrivateMessage, Repeated, StoreFailed)
"""Events that at most one subscriber sees."""
_WITH_TEXT: Final = (Message, Action, PrivateMessage, TopicChanged, Shared)


def text_length(event: Event) -> int:
    """Return the number of characters in *event* that a member wrote."""
    if isinstance(event, _WITH_TEXT):
        return len(event.text)
    return len(event.event.text) if isinstance(event, (StoreFailed, Repeated)) else 0
