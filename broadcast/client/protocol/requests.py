"""The requests of the program protocol, and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from broadcast.client.protocol.events import File, Line, decode_list

R = TypeVar("R")

VERSION: Final = 1
"""The version of the program protocol that this client speaks."""


class Nothing(msgspec.Struct, frozen=True):
    """The result of a request that has none."""


class Stored(msgspec.Struct, frozen=True):
    """The number of a stored line, and its time in seconds since the epoch."""

    seq: int
    at: float


class Delivered(msgspec.Struct, frozen=True):
    """A private message was delivered, or is *kept* for a recipient who is not here.

    *away* is the reason why its recipient is away, or None.
    """

    away: str | None = None
    kept: bool = False


class Nickname(msgspec.Struct, frozen=True):
    """The own nickname, in the server's spelling."""

    nick: str


class Person(msgspec.Struct, frozen=True):
    """A person in a room. *away* is a reason or None; *idle* is in seconds."""

    nick: str
    session: str = ""
    away: str | None = None
    idle: float | None = None


class RoomSummary(msgspec.Struct, frozen=True):
    """A room in the list of rooms."""

    room: str
    members: int = 0
    last: int = 0
    topic: str | None = None


class Room(msgspec.Struct, frozen=True):
    """A room at the moment of joining it: the number of the last line, and the first 200 people by nickname.

    The older lines that the server replays are the first events of the room.
    """

    room: str
    last: int = 0
    topic: str | None = None
    count: int = 0
    members: tuple[Person, ...] = ()


class Snapshot(Room, frozen=True):
    """A room together with the events that the server replays."""

    events: tuple[msgspec.Raw, ...] = ()
    more: bool = False

    @property
    def as_room(self) -> Room:
        """The room without the events."""
        return Room(self.room, self.last, self.topic, self.count, self.members)


class Lines(msgspec.Struct, frozen=True):
    """Stored lines, oldest first. *more* is true if lines were left out."""

    events: tuple[msgspec.Raw, ...] = ()
    more: bool = False

    @property
    def lines(self) -> list[Line]:
        """The lines as events."""
        return [event for event in decode_list(self.events) if isinstance(event, Line)]


class Members(msgspec.Struct, frozen=True):
    """A page of the people in a room. *more* is true if others follow."""

    count: int
    members: tuple[Person, ...] = ()
    more: bool = False


class Account(msgspec.Struct, frozen=True):
    """The own nickname, and the registered nickname of the account to which the session is logged in, or None."""

    nick: str
    account: str | None = None


class Output(msgspec.Struct, frozen=True):
    """The answer to a command of the line protocol."""

    lines: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """The server's limits on input."""

    line_bytes: int = 4096
    lines_at_once: float = 0
    lines_per_second: float | None = None
    """None if there is no limit."""


class Welcome(msgspec.Struct, frozen=True):
    """The answer to ``hello``."""

    nick: str
    session: str
    token: str
    journal: str
    account: str | None = None
    """The registered nickname of the account to which the session is logged in, or None."""
    passwords: str = "safe"
    """``safe``; or ``readable`` if others may read a password on its way; or ``refused`` if the server takes none."""
    resumed: bool = False
    server: str = ""
    version: str = ""
    features: tuple[str, ...] = ()
    motd: str | None = None
    now: float = 0.0
    grace: float = 0.0
    limits: Limits = Limits()
    rooms: Mapping[str, Snapshot] = {}


class Resume(msgspec.Struct, frozen=True):
    """The state from which a session continues: its secret token, and the last numbers that the program has got."""

    token: str
    journal: str
    rooms: Mapping[str, int]
    told: int = 0
    attempt: int = 0


class Request(msgspec.Struct, Generic[R], frozen=True, omit_defaults=True):
    """A request whose result is an *R*."""

    method: ClassVar[str]
    result: ClassVar[Any]
    """The type of the server's message, from which the session makes an *R*."""


class _SecretRequest(Request[R], Generic[R], frozen=True, omit_defaults=True):
    """A request with a password, which its ``repr`` does not show."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Hello(_SecretRequest[Welcome], frozen=True):
    """Begin or resume a session."""

    method: ClassVar[str] = "hello"
    result: ClassVar[Any] = Welcome

    nick: str
    rooms: Sequence[str] | UnsetType
    client: str
    protocol: int
    replay: int | UnsetType = UNSET
    resume: Resume | UnsetType = UNSET
    grace: float | UnsetType = UNSET
    password: str = ""
    private: bool = True


class Join(Request[Room], frozen=True):
    """Join a room. *replay* is the number of older lines to send; *after* asks for the lines after a number."""

    method: ClassVar[str] = "join"
    result: ClassVar[Any] = Snapshot

    room: str
    replay: int | UnsetType = UNSET
    after: int | UnsetType = UNSET


class Leave(Request[Nothing], frozen=True):
    """Leave a room."""

    method: ClassVar[str] = "leave"
    result: ClassVar[Any] = Nothing

    room: str
    reason: str | UnsetType = UNSET


class Say(Request[Stored], frozen=True):
    """Say a line in a room. A second request with the same *uid* and text stores nothing and has the same result."""

    method: ClassVar[str] = "say"
    result: ClassVar[Any] = Stored

    room: str
    text: str
    uid: str = ""


class Emote(Request[Stored], frozen=True):
    """Say an action in a room, such as *waves*."""

    method: ClassVar[str] = "emote"
    result: ClassVar[Any] = Stored

    room: str
    text: str
    uid: str = ""


class Slot(msgspec.Struct, frozen=True):
    """The place for the bytes of a file: a *url* that takes them with the secret *token*.

    After they are there, the same request is answered with the *file*, and the number of its line, instead.
    """

    url: str = ""
    token: str = ""
    file: File | None = None
    seq: int = 0
    at: float = 0.0

    def __repr__(self) -> str:
        """Return a text without the token."""
        return f"<Slot {self.url}>"


class Upload(Request[Slot], frozen=True):
    """Ask for the place for a file. When its bytes are there, the room gets the event ``Shared`` with the *uid*."""

    method: ClassVar[str] = "upload"
    result: ClassVar[Any] = Slot

    room: str
    name: str
    size: int
    type: str | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    uid: str = ""


class Tell(Request[Delivered], frozen=True):
    """Send a private message."""

    method: ClassVar[str] = "tell"
    result: ClassVar[Any] = Delivered

    to: str
    text: str
    uid: str = ""


class Topic(Request[Nothing], frozen=True):
    """Set the topic of a room, or remove it if *text* is None."""

    method: ClassVar[str] = "topic"
    result: ClassVar[Any] = Nothing

    room: str
    text: str | None


class Nick(Request[Nickname], frozen=True):
    """Change the own nickname."""

    method: ClassVar[str] = "nick"
    result: ClassVar[Any] = Nickname

    nick: str


class Register(_SecretRequest[Account], frozen=True):
    """Register the own nickname, and log in."""

    method: ClassVar[str] = "register"
    result: ClassVar[Any] = Account

    password: str


class Login(_SecretRequest[Account], frozen=True):
    """Log in, and take the registered nickname *nick*, by default the own one."""

    method: ClassVar[str] = "login"
    result: ClassVar[Any] = Account

    password: str
    nick: str | UnsetType = UNSET


class Oidc(Request[Nothing], frozen=True):
    """Begin to log in with the server's OpenID Connect provider. ``LoginCode`` and ``LoginEnded`` follow."""

    method: ClassVar[str] = "oidc"
    result: ClassVar[Any] = Nothing


class Logout(Request[Account], frozen=True):
    """Log out, and get another nickname."""

    method: ClassVar[str] = "logout"
    result: ClassVar[Any] = Account


class SetPassword(_SecretRequest[Nothing], frozen=True):
    """Change the password. All other sessions of the account end."""

    method: ClassVar[str] = "set_password"
    result: ClassVar[Any] = Nothing

    old: str
    new: str


class Drop(_SecretRequest[Account], frozen=True):
    """Delete the account."""

    method: ClassVar[str] = "drop"
    result: ClassVar[Any] = Account

    password: str


class Away(Request[Nothing], frozen=True):
    """Be away for *reason*, or back if it is None."""

    method: ClassVar[str] = "away"
    result: ClassVar[Any] = Nothing

    reason: str | None


class History(Request[Lines], frozen=True, rename={"first": "from"}):
    """Read old lines: the *last* ones, *count* lines *before* or *after* a number, or the lines *first* to *to*."""

    method: ClassVar[str] = "history"
    result: ClassVar[Any] = Lines

    room: str
    last: int | UnsetType = UNSET
    before: int | UnsetType = UNSET
    after: int | UnsetType = UNSET
    count: int | UnsetType = UNSET
    first: int | UnsetType = UNSET
    to: int | UnsetType = UNSET


class Search(Request[Lines], frozen=True):
    """Find the lines of a room that contain all *words*."""

    method: ClassVar[str] = "search"
    result: ClassVar[Any] = Lines

    room: str
    words: str
    count: int | UnsetType = UNSET


class ListRooms(Request[Sequence[RoomSummary]], frozen=True):
    """List the rooms of the server."""

    method: ClassVar[str] = "rooms"
    result: ClassVar[Any] = tuple[RoomSummary, ...]


class ListMembers(Request[Members], frozen=True):
    """List people of a room, by nickname, beginning *after* a nickname."""

    method: ClassVar[str] = "members"
    result: ClassVar[Any] = Members

    room: str
    after: str | UnsetType = UNSET
    count: int | UnsetType = UNSET


class Command(Request[Output], frozen=True):
    """Execute a command of the line protocol that only answers, such as ``/names``."""

    method: ClassVar[str] = "command"
    result: ClassVar[Any] = Output

    room: str
    line: str


class CheckConnection(Request[Nothing], frozen=True):
    """Check that the server answers."""

    method: ClassVar[str] = "ping"
    result: ClassVar[Any] = Nothing


class Quit(Request[Nothing], frozen=True):
    """End the session. The server answers, then closes the connection."""

    method: ClassVar[str] = "quit"
    result: ClassVar[Any] = Nothing

    reason: str | UnsetType = UNSET
