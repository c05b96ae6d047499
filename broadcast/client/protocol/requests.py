"""The requests of the program protocol, and their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from broadcast.client.protocol.errors import ChatError
from broadcast.client.protocol.events import File, Line, decode_list

R = TypeVar("R")
T = TypeVar("T", bound="Request[Any]")

VERSION: Final = 1

OnEnd: TypeAlias = Callable[[Any, ChatError | None], None]
"""Is called once at the end of a request, with its result and None, or with None and its error."""
Progress: TypeAlias = Callable[[int, int], None]
"""Is called with the number of bytes of a file that are sent, and the number of all its bytes."""


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


class Welcome(msgspec.Struct, frozen=True):
    """The answer to ``hello``."""

    nick: str
    session: str
    token: str
    journal: str
    account: str | None = None
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
    """The type *R* of the result, as msgspec needs it to decode the server's answer."""


def _request(method: str, result: Any) -> Callable[[type[T]], type[T]]:  # noqa: ANN401 -- any type
    """Set the method of a request, and the type of the server's result."""

    def decorate(request: type[T]) -> type[T]:
        request.method, request.result = method, result
        return request

    return decorate


class _SecretRequest(Request[R], Generic[R], frozen=True, omit_defaults=True):
    """A request that may have a password, which its ``repr`` does not show."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class AccountRequest(_SecretRequest[R], Generic[R], frozen=True, omit_defaults=True):
    """A request that changes the account of the session."""


@_request("hello", Welcome)
class Hello(_SecretRequest[Welcome], frozen=True):
    """Begin or resume a session."""

    nick: str
    rooms: Sequence[str] | UnsetType
    client: str
    protocol: int
    replay: int | UnsetType = UNSET
    resume: Resume | UnsetType = UNSET
    grace: float | UnsetType = UNSET
    password: str = ""
    private: bool = True


@_request("join", Snapshot)
class Join(Request[Room], frozen=True):
    """Join a room. *replay* is the number of older lines to send; *after* asks for the lines after a number."""

    room: str
    replay: int | UnsetType = UNSET
    after: int | UnsetType = UNSET


@_request("leave", Nothing)
class Leave(Request[Nothing], frozen=True):
    """Leave a room."""

    room: str
    reason: str | UnsetType = UNSET


@_request("say", Stored)
class Say(Request[Stored], frozen=True):
    """Say a line in a room. A second request with the same *uid* and text stores nothing and has the same result."""

    room: str
    text: str
    uid: str = ""


@_request("emote", Stored)
class Emote(Request[Stored], frozen=True):
    """Say an action in a room, such as *waves*."""

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


@_request("upload", Slot)
class Upload(Request[Slot], frozen=True):
    """Ask for the place for a file. When its bytes are there, the room gets the event ``Shared`` with the *uid*."""

    room: str
    name: str
    size: int
    type: str | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    uid: str = ""


@_request("tell", Delivered)
class Tell(Request[Delivered], frozen=True):
    """Send a private message."""

    to: str
    text: str
    uid: str = ""


@_request("topic", Nothing)
class Topic(Request[Nothing], frozen=True):
    """Set the topic of a room, or remove it if *text* is None."""

    room: str
    text: str | None


@_request("nick", Account)
class Nick(Request[Account], frozen=True):
    """Change the own nickname."""

    nick: str


@_request("register", Account)
class Register(AccountRequest[Account], frozen=True):
    """Register the own nickname, and log in."""

    password: str


@_request("login", Account)
class Login(AccountRequest[Account], frozen=True):
    """Log in, and take the registered nickname *nick*, by default the own one."""

    password: str
    nick: str | UnsetType = UNSET


@_request("oidc", Nothing)
class Oidc(Request[Nothing], frozen=True):
    """Begin to log in with the server's OpenID Connect provider. ``LoginCode`` and ``LoginEnded`` follow."""


@_request("logout", Account)
class Logout(AccountRequest[Account], frozen=True):
    """Log out, and get another nickname."""


@_request("set_password", Nothing)
class SetPassword(AccountRequest[Nothing], frozen=True):
    """Change the password. All other sessions of the account end."""

    old: str
    new: str


@_request("drop", Account)
class Drop(AccountRequest[Account], frozen=True):
    """Delete the account."""

    password: str


@_request("away", Nothing)
class Away(Request[Nothing], frozen=True):
    """Be away for *reason*, or back if it is None."""

    reason: str | None


@_request("history", Lines)
class History(Request[Lines], frozen=True, rename={"first": "from"}):
    """Read old lines: the *last* ones, *count* lines *before* or *after* a number, or the lines *first* to *to*."""

    room: str
    last: int | UnsetType = UNSET
    before: int | UnsetType = UNSET
    after: int | UnsetType = UNSET
    count: int | UnsetType = UNSET
    first: int | UnsetType = UNSET
    to: int | UnsetType = UNSET


@_request("search", Lines)
class Search(Request[Lines], frozen=True):
    """Find the lines of a room that contain all *words*."""

    room: str
    words: str
    count: int | UnsetType = UNSET


@_request("rooms", tuple[RoomSummary, ...])
class ListRooms(Request[Sequence[RoomSummary]], frozen=True):
    """List the rooms of the server."""


@_request("members", Members)
class ListMembers(Request[Members], frozen=True):
    """List people of a room, by nickname, beginning *after* a nickname."""

    room: str
    after: str | UnsetType = UNSET
    count: int | UnsetType = UNSET


@_request("command", Output)
class Command(Request[Output], frozen=True):
    """Execute a command of the line protocol that only answers, such as ``/names``."""

    room: str
    line: str


@_request("ping", Nothing)
class CheckConnection(Request[Nothing], frozen=True):
    """Check that the server answers."""


@_request("quit", Nothing)
class Quit(Request[Nothing], frozen=True):
    """End the session. The server answers, then closes the connection."""

    reason: str | UnsetType = UNSET
