"""The events of the program protocol: messages that the server sends without a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

__all__ = [
    "Announced", "AwayChanged", "Crowd", "Disconnected", "Emoted", "Event", "File", "Gap", "Goodbye", "Joined",
    "Left", "Line", "Reconnected", "Renamed", "Said", "Shared", "Skipped", "Told", "TopicChanged",
]  # fmt: skip


class Event(msgspec.Struct, frozen=True):
    """A notification of the server, or an event of the library: ``Disconnected``, ``Reconnected`` or ``Skipped``."""


class _Stored(Event, frozen=True):
    """A stored event. *at* is in seconds since the epoch."""

    room: str
    seq: int
    at: float
    nick: str


class Said(_Stored, frozen=True):
    """A stored line. *uid* is the one that its author has chosen.

    *session* is empty if the server does not know it: in lines that an early version has stored.
    """

    text: str
    session: str = ""
    uid: str | None = None


class Emoted(_Stored, frozen=True):
    """A stored action, such as *ann waves*."""

    text: str
    session: str = ""
    uid: str | None = None


class File(msgspec.Struct, frozen=True):
    """A shared file. *size* is in bytes. *url* is None if the server has removed the file."""

    name: str
    size: int
    id: str = ""
    url: str | None = None
    type: str = ""
    sha256: str = ""


class Shared(_Stored, frozen=True):
    """A stored line about a file that a person has shared."""

    file: File
    session: str = ""
    uid: str | None = None

    @property
    def text(self) -> str:
        """The line as people read it behind the nickname: ``shared report.pdf (1.2 MB): http://...``."""
        file = self.file
        return f"shared {file.name} ({show_size(file.size)}): {file.url or 'no longer there'}"


class Joined(Event, frozen=True):
    """A person has joined a room."""

    room: str
    nick: str
    session: str


class Left(Event, frozen=True):
    """A person has left a room. *by* is the operator who has ended the session, or None."""

    room: str
    nick: str
    session: str
    reason: str | None = None
    by: str | None = None


class Renamed(Event, frozen=True):
    """A person has changed the nickname from *old* to *nick*. The event comes once for each common room."""

    room: str
    old: str
    nick: str
    session: str


class Crowd(Event, frozen=True):
    """The numbers of people who have joined and left at once. The event replaces their ``Joined`` and ``Left``.

    Both numbers are 0 if the server has left out events without a number, because the program reads slowly.
    """

    room: str
    joined: int
    left: int


class AwayChanged(Event, frozen=True):
    """A person is away for *reason*, or back if it is None."""

    room: str
    nick: str
    session: str
    reason: str | None = None


class TopicChanged(Event, frozen=True):
    """A person has set the topic of a room, or removed it if *text* is None."""

    room: str
    nick: str
    session: str
    text: str | None = None


class Told(Event, frozen=True):
    """A private message. *id* rises within a session."""

    id: int
    nick: str
    session: str
    at: float
    text: str


class Announced(Event, frozen=True):
    """An announcement of the server, to one room or to everybody if *room* is None."""

    text: str
    room: str | None = None


class Gap(Event, frozen=True):
    """The lines *first* to *last* of a room have not been delivered."""

    room: str
    first: int
    last: int


class LoginCode(Event, frozen=True):
    """The code that the user types into a page of the provider, and the seconds for which it is valid."""

    user_code: str
    verification_uri: str
    expires_in: float = 0.0


class LoginEnded(Event, frozen=True):
    """The login that the request ``Oidc`` began has ended. *error* is the reason of a failure, or None."""

    nick: str
    account: str | None = None
    error: str | None = None


class Goodbye(Event, frozen=True):
    """The server closes the connection. A client that comes back waits *after* seconds."""

    reason: str = ""
    reconnect: bool = False
    after: float = 0.0


class Disconnected(Event, frozen=True):
    """The connection is lost. The next attempt follows in *after* seconds.

    If the server has refused the nickname of the session, *nick_refusal* is ``taken`` or ``looks-like``.
    """

    reason: str
    after: float
    nick_refusal: str = ""


class Reconnected(Event, frozen=True):
    """The session continues, or a new one has begun because the server does not know the old one any more.

    If *same_journal* is false, the numbers of the rooms start anew, and lines may come a second time.
    """

    resumed: bool
    same_journal: bool


class Skipped(Event, frozen=True):
    """The program did not take its events for too long, so *count* events without a number were left out.

    Lines are never among them. Ask for the members of *room* to know who is there; *room* is None for private messages
    and for events about the connection.
    """

    room: str | None
    count: int


Line = Said | Emoted | Shared
"""The stored events. Each has a ``text``."""

_KINDS: Final[Mapping[str, type[Event]]] = {
    "said": Said,
    "emoted": Emoted,
    "shared": Shared,
    "joined": Joined,
    "left": Left,
    "renamed": Renamed,
    "crowd": Crowd,
    "away": AwayChanged,
    "topic": TopicChanged,
    "told": Told,
    "announced": Announced,
    "gap": Gap,
    "login_code": LoginCode,
    "login_ended": LoginEnded,
    "goodbye": Goodbye,
}
_DECODERS: Final = {method: msgspec.json.Decoder(kind) for method, kind in _KINDS.items()}


class _Kind(msgspec.Struct):
    method: str = ""


_KIND_DECODER: Final = msgspec.json.Decoder(_Kind)


def show_size(size: int) -> str:
    """Return a number of bytes for people, as the server does: ``1 byte``, ``340 kB``, ``1.2 MB``."""
    if size < 1000:
        return f"{size} byte{'s' * (size != 1)}"
    value, unit = size / 1000, "kB"
    for larger in ("MB", "GB"):
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def decode(method: str, params: bytes | msgspec.Raw) -> Event | None:
    """Return the event of a notification, or None for an unknown *method*, and for ``ping``."""
    decoder = _DECODERS.get(method)
    return decoder.decode(params) if decoder else None


def decode_list(raw_events: Iterable[msgspec.Raw]) -> list[Event]:
    """Return the events of a list in a result, without unknown ones."""
    decoded = (decode(_KIND_DECODER.decode(raw).method, raw) for raw in raw_events)
    return [event for event in decoded if event is not None]
