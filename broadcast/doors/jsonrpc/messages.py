"""The messages of the JSON-RPC door: the types of all parameters and results, and the envelopes.

``notifications.py`` has the notifications. ``docs/openrpc.json`` is generated from both modules, so the descriptions
here are what programmers read.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broadcast.doors.jsonrpc.account_messages import (
    AccountName,
    PasswordSafety,
    RememberedLogin,
    Secret,
    WithSecret,
)
from broadcast.doors.jsonrpc.errors import Error

PROTOCOL_VERSION: Final = 1
"""Version of the protocol, as ``hello`` carries it."""
MAX_REQUEST_BYTES: Final = 16 * 1024
"""Maximum length of a line from a client, in bytes without its end."""
MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Maximum length of a line from the server, in bytes with its end."""
MAX_EVENTS: Final = 1_000
"""Maximum number of events in a result."""
MAX_FOUND: Final = 50
"""Maximum number of events in the result of ``search``."""
MAX_ROOMS: Final = 50
"""Maximum number of rooms that a session can be in."""
SNAPSHOT_MEMBERS: Final = 200
"""Maximum number of members in the result of ``join``."""
MAX_MEMBERS: Final = 1_000
"""Maximum number of members in the result of ``members``."""
MAX_INTEGER: Final = 2**53 - 1
"""Largest number of a line: the largest integer that all programs read exactly from JSON."""
DEFAULT_EVENTS: Final = 100
"""Number of events in the result of ``history`` if the request gives no count."""

# The types

Uid: TypeAlias = Annotated[
    str,
    # The look-ahead is for Python, in which $ also matches before a line feed at the end.
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,64}(?!\n)$",
        description="An identifier that the author's program has chosen, unique in the room.",
    ),
]
Seq: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INTEGER, description="Number of a line in its room.")]
LastSeq: TypeAlias = Annotated[
    int, Meta(ge=0, le=MAX_INTEGER, description="Number of a line in its room, or 0 for none.")
]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Time: TypeAlias = Annotated[float, Meta(description="Seconds since the epoch, with milliseconds.")]
Nick: TypeAlias = Annotated[str, Meta(description="A nickname. Surrounding blanks in a request do not count.")]
Room: TypeAlias = Annotated[
    str,
    Meta(
        description="Name of a room: 1 to 32 of a-z, 0-9, _ and -. "
        "Case and surrounding blanks in a request do not count."
    ),
]
SessionId: TypeAlias = Annotated[
    str,
    Meta(
        description="An opaque identifier of the session, never used again. It is empty if the server does not know "
        "it: in lines that a version without these identifiers has stored, and in lines of the server itself."
    ),
]
Text: TypeAlias = Annotated[str, Meta(description="One line of text.")]
Reason: TypeAlias = Annotated[str | None, Meta(description="The reason that the person gave, or null.")]
AwayReason: TypeAlias = Annotated[
    str | None, Meta(description="Null if the person is here, else why not; empty if the person gave no reason.")
]
Topic: TypeAlias = Annotated[str | None, Meta(description="The topic of the room, or null if it has none.")]
Token: TypeAlias = Annotated[str, Meta(description="A secret that resumes the session.")]
RequestId: TypeAlias = int | Annotated[str, Meta(max_length=64)]
Events: TypeAlias = Annotated[
    # The server encodes the events one by one, because it must know their size.
    list[Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Event"})]],
    Meta(description="Events in ascending order. Each has the members of its notification, and the method."),
]
Replay: TypeAlias = Annotated[
    Annotated[int, Meta(ge=0, le=MAX_EVENTS)] | UnsetType,
    Meta(description="Number of events from before; by default the server's."),
]


With: TypeAlias = Annotated[
    Nick | UnsetType,
    Meta(description="The nickname of a person, in place of a room: the private messages with this person."),
]

# The parameters of the methods


class Empty(Struct, frozen=True):
    """No parameters, or a result without members."""


class Resume(Struct, frozen=True, kw_only=True):
    """Where a session is resumed."""

    token: Annotated[str, Meta(max_length=256, description="The token of the session.")]
    journal: Annotated[str, Meta(max_length=256, description="The id of the journal that the numbers belong to.")]
    rooms: Annotated[dict[str, LastSeq], Meta(description="The last number seen in each room.")] = {}
    told: Annotated[int, Meta(ge=0, description="The last id of a private message seen.")] = 0
    attempt: Annotated[int, Meta(ge=0, description="It rises with every try.")] = 1


class HelloParams(WithSecret, frozen=True, kw_only=True):
    """The parameters of ``hello``."""

    protocol: Annotated[int, Meta(description="The version of the protocol: 1.")]
    client: Annotated[str, Meta(max_length=256, description="The program: name/version.")] = ""
    nick: Annotated[str | UnsetType, Meta(description="The nickname. Not used if the token is valid.")] = UNSET
    password: Annotated[
        Secret | UnsetType, Meta(description="The password of a registered nickname. Not used if the token is valid.")
    ] = UNSET
    login: Annotated[
        RememberedLogin | UnsetType, Meta(description="A remembered or one-time login, in place of the password.")
    ] = UNSET
    remember: Annotated[
        bool, Meta(description="Whether the result has a new remembered login. Without a password, it has none.")
    ] = False
    rooms: Annotated[list[Room] | UnsetType, Meta(description="The rooms to join; by default the first room.")] = UNSET
    replay: Replay = UNSET
    grace: Annotated[
        Annotated[float, Meta(ge=0)] | UnsetType,
        Meta(
            description="Seconds for which the session outlives its connection; at most, and by default, the server's."
        ),
    ] = UNSET
    private: Annotated[
        bool, Meta(description="Whether stored private messages are sent. Otherwise, they wait for another session.")
    ] = True
    resume: Resume | UnsetType = UNSET


class JoinParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``join``: at most one of *replay* and *after*."""

    room: Room
    replay: Replay = UNSET
    after: Annotated[LastSeq | UnsetType, Meta(description="The events after this number.")] = UNSET

    def __post_init__(self) -> None:
        """Check that the request asks for one range."""
        if self.replay is not UNSET and self.after is not UNSET:
            raise ValueError("Expected only one of `replay` and `after`")


class LeaveParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``leave``."""

    room: Room
    reason: Reason = None


class SayParams(Struct, frozen=True, kw_only=True, gc=False):
    """The parameters of ``say`` and ``emote``."""

    room: Room
    text: Text
    uid: Uid | UnsetType = UNSET


class UploadParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``upload``."""

    room: Room
    name: Annotated[str, Meta(max_length=1024, description="The name of the file. A path before it does not count.")]
    size: Annotated[int, Meta(ge=0, le=MAX_INTEGER, description="The size of the file, in bytes.")]
    type: Annotated[str, Meta(max_length=256, description="The media type, such as image/png; empty if unknown.")] = ""
    sha256: Annotated[
        # The look-ahead is as in Uid.
        Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}(?!\n)$")] | UnsetType,
        Meta(description="The SHA-256 of the content, in hexadecimal digits. The server checks it."),
    ] = UNSET
    uid: Uid | UnsetType = UNSET


class TellParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``tell``."""

    to: Nick
    text: Text
    uid: Uid | UnsetType = UNSET


class TopicParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``topic``."""

    room: Room
    text: Annotated[str | None, Meta(description="The new topic, or null to remove it.")]


class NickParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``nick``."""

    nick: Nick


class AwayParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``away``."""

    reason: Annotated[str | None, Meta(description="Why, perhaps empty; or null when back.")]


class HistoryParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``history``: *last*, or *before* or *after* with *count*, or *from* with *to*.

    The private messages with a person have *last* only.
    """

    room: Room | UnsetType = UNSET
    with_: With = msgspec.field(default=UNSET, name="with")
    last: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_EVENTS)] | UnsetType, Meta(description="The last events: so many.")
    ] = UNSET
    before: Annotated[Seq | UnsetType, Meta(description="The *count* events before this number.")] = UNSET
    after: Annotated[LastSeq | UnsetType, Meta(description="The *count* events after this number.")] = UNSET
    count: Annotated[Annotated[int, Meta(ge=1, le=MAX_EVENTS)] | UnsetType, Meta(description="How many.")] = UNSET
    from_: Annotated[Seq | UnsetType, Meta(description="The first number.")] = msgspec.field(default=UNSET, name="from")
    to: Annotated[Seq | UnsetType, Meta(description="The last number.")] = UNSET

    def __post_init__(self) -> None:
        """Check that the request asks for one range."""
        _check_subject(self.room, self.with_)
        ways = [self.last, self.before, self.after, self.from_]
        if sum(way is not UNSET for way in ways) != 1:
            raise ValueError("Expected exactly one of `last`, `before`, `after` and `from`")
        if (self.from_ is UNSET) is not (self.to is UNSET):
            raise ValueError("Expected `from` together with `to`")
        if self.count is not UNSET and self.before is UNSET and self.after is UNSET:
            raise ValueError("Expected `count` only with `before` or `after`")
        if self.with_ is not UNSET and self.last is UNSET:
            raise ValueError("Expected `last` together with `with`")


def _check_subject(room: str | UnsetType, with_: str | UnsetType) -> None:
    if (room is UNSET) is (with_ is UNSET):
        raise ValueError("Expected exactly one of `room` and `with`")


class SearchParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``search``."""

    room: Room | UnsetType = UNSET
    with_: With = msgspec.field(default=UNSET, name="with")
    words: Annotated[str, Meta(description="Words that a line must hold, and phrases in double quotes.")]
    count: Annotated[int, Meta(ge=1, le=MAX_FOUND, description="The most events to return.")] = MAX_FOUND

    def __post_init__(self) -> None:
        """Check that the request is about a room or a person."""
        _check_subject(self.room, self.with_)


class MembersParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``members``."""

    room: Room
    after: Annotated[str, Meta(description="Return the members after this nickname; empty for the first ones.")] = ""
    count: Annotated[int, Meta(ge=1, le=MAX_MEMBERS, description="The most members to return.")] = MAX_MEMBERS


class CommandParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``command``."""

    room: Room
    line: Annotated[str, Meta(description="The command as it is typed: /names.")]


class QuitParams(Struct, frozen=True, kw_only=True):
    """The parameters of ``quit``."""

    reason: Reason = None


# The results of the methods


class ServerLimits(Struct, frozen=True, kw_only=True):
    """The limits of the server."""

    line_bytes: Annotated[int, Meta(description="Maximum length of a text, in bytes of UTF-8.")]
    message_bytes: Annotated[int, Meta(description="Maximum length of a line from the server, in bytes.")] = (
        MAX_MESSAGE_BYTES
    )
    request_bytes: Annotated[int, Meta(description="Maximum length of a line to the server, in bytes.")] = (
        MAX_REQUEST_BYTES
    )
    lines_at_once: Annotated[int, Meta(description="Number of requests that the server reads at once.")]
    lines_per_second: Annotated[
        float | None, Meta(description="Number of requests a second after that; null for no limit.")
    ]
    file_bytes: Annotated[
        int, Meta(description="Maximum size of a file, in bytes; 0 if the server takes no files.")
    ] = 0


class MemberInfo(Struct, frozen=True, kw_only=True):
    """A member of a room."""

    nick: Nick
    session: SessionId
    away: AwayReason
    idle: Annotated[int, Meta(ge=0, description="Seconds since the last input.")]


Members: TypeAlias = list[Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/MemberInfo"})]]


class JoinResult(Struct, frozen=True, kw_only=True):
    """A snapshot of a room. The first new line of the room has the number *last* + 1."""

    room: Room
    last: LastSeq
    topic: Topic
    count: Annotated[int, Meta(ge=0, description="Number of members.")]
    members: Annotated[Members, Meta(description="The first members by nickname, 200 at most.")]
    events: Events
    more: Annotated[bool, Meta(description="Whether older events were left out.")]


class HelloResult(Struct, frozen=True, kw_only=True):
    """The result of ``hello``."""

    server: Annotated[str, Meta(description="Name of the server.")]
    version: Annotated[str, Meta(description="Version of the server.")]
    features: Annotated[list[str], Meta(description="What the server offers besides this protocol.")]
    motd: Annotated[str | None, Meta(description="The message of the day; its lines are separated by LF.")]
    now: Annotated[float, Meta(description="The server's clock, in seconds since the epoch.")]
    resumed: Annotated[bool, Meta(description="Whether the session of the token goes on.")]
    journal: Annotated[str, Meta(description="The id of the journal.")]
    nick: Nick
    session: SessionId
    account: AccountName
    passwords: PasswordSafety
    token: Token
    grace: Annotated[float, Meta(description="Seconds for which the session outlives its connection.")]
    limits: ServerLimits
    rooms: Annotated[dict[str, JoinResult], Meta(description="The rooms that the session is in.")]
    login: RememberedLogin | UnsetType = UNSET


class SayResult(Struct, frozen=True, kw_only=True, gc=False):
    """The number and time of a stored line."""

    seq: Seq
    at: Time


class File(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that somebody has shared."""

    id: Annotated[str, Meta(description="A random identifier of this share.")]
    name: Annotated[str, Meta(description="The name of the file, without a path, 128 bytes at most.")]
    size: Annotated[int, Meta(ge=0, description="Size in bytes.")]
    type: Annotated[str, Meta(description="The media type.")]
    sha256: Annotated[str, Meta(description="The SHA-256 of the content, in hexadecimal digits.")]
    url: Annotated[str | None, Meta(description="Where to download the file; null if it is no longer there.")]
    width: Annotated[Count | UnsetType, Meta(description="The width of an image, in pixels.")] = UNSET
    height: Annotated[Count | UnsetType, Meta(description="The height of an image, in pixels.")] = UNSET


class UploadResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of ``upload``: where to send the bytes, or, if the uid was used before, the share with this uid."""

    url: Annotated[str | UnsetType, Meta(description="The address to which to PUT the bytes.")] = UNSET
    token: Annotated[
        str | UnsetType, Meta(description="The secret for it, as the header `Authorization: Bearer TOKEN`.")
    ] = UNSET
    expires: Annotated[
        float | UnsetType, Meta(description="When the upload must have begun, in seconds since the epoch.")
    ] = UNSET
    seq: Seq | UnsetType = UNSET
    at: Time | UnsetType = UNSET
    file: File | UnsetType = UNSET


class TellResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of ``tell``."""

    away: Annotated[str | UnsetType, Meta(description="Why the recipient is away.")] = UNSET
    kept: Annotated[
        bool, Meta(description="Whether the recipient is not here, and reads the message at the next login.")
    ] = False


class NickResult(Struct, frozen=True, kw_only=True):
    """The result of ``nick``."""

    nick: Nick


class HistoryResult(Struct, frozen=True, kw_only=True):
    """The result of ``history``."""

    events: Events
    more: Annotated[bool, Meta(description="Whether there are more, in the direction of the request.")]


class SearchResult(Struct, frozen=True, kw_only=True):
    """The result of ``search``."""

    events: Events


class RoomInfo(Struct, frozen=True, kw_only=True):
    """A room."""

    room: Room
    members: Count
    last: LastSeq
    topic: Topic


class MembersResult(Struct, frozen=True, kw_only=True):
    """The result of ``members``."""

    count: Annotated[int, Meta(ge=0, description="Number of all members.")]
    members: Members
    more: Annotated[bool, Meta(description="Whether there are members after these.")]


class CommandResult(Struct, frozen=True, kw_only=True):
    """The result of ``command``."""

    lines: list[Text]


# The envelopes of the server


class Response(Struct, frozen=True, kw_only=True):
    """The response to a request that succeeded."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: RequestId
    result: Any


class ErrorResponse(Struct, frozen=True, kw_only=True):
    """The response to a request that was refused. *id* is None if the server could not read it."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: RequestId | None
    error: Error


class Notification(Struct, frozen=True, kw_only=True):
    """A message of the server that is no response."""

    jsonrpc: Literal["2.0"] = "2.0"
    method: str
    params: Struct
