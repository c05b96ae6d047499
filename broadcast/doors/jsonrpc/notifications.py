"""The notifications of the JSON-RPC door: the types of their parameters.

The descriptions here are what programmers read, as those in ``messages.py``.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from broadcast.doors.jsonrpc.messages import (
    AwayReason,
    Count,
    File,
    Nick,
    Reason,
    Room,
    Seq,
    SessionId,
    Text,
    Time,
    Topic,
    Uid,
)


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line that was said in a room."""

    room: Room
    seq: Seq
    at: Time
    nick: Nick
    session: SessionId
    text: Text
    uid: Uid | UnsetType = UNSET


class Emoted(Said, frozen=True):
    """Something that a member does."""


class Shared(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that was shared in a room."""

    room: Room
    seq: Seq
    at: Time
    nick: Nick
    session: SessionId
    file: File
    uid: Uid | UnsetType = UNSET


class Joined(Struct, frozen=True, kw_only=True):
    """A member joined a room."""

    room: Room
    nick: Nick
    session: SessionId


class Left(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A member left a room."""

    room: Room
    nick: Nick
    session: SessionId
    reason: Reason
    by: Annotated[str | UnsetType, Meta(description="The operator who has removed the member.")] = UNSET


class Renamed(Struct, frozen=True, kw_only=True):
    """A member changed the nickname. It is sent in each common room."""

    room: Room
    old: Nick
    nick: Nick
    session: SessionId


class Crowd(Struct, frozen=True, kw_only=True):
    """Many members joined or left at once, in place of their ``joined`` and ``left``.

    If both numbers are 0, the client has read so slowly that notices about members and the topic were dropped.
    """

    room: Room
    joined: Count
    left: Count


class Away(Struct, frozen=True, kw_only=True):
    """A member is away, or back."""

    room: Room
    nick: Nick
    session: SessionId
    reason: AwayReason


class TopicChange(Struct, frozen=True, kw_only=True):
    """A member changed the topic of a room."""

    room: Room
    nick: Nick
    session: SessionId
    text: Topic


class Told(Struct, frozen=True, kw_only=True):
    """A private message."""

    id: Annotated[int, Meta(ge=1, description="Number of the message. It rises in each session.")]
    nick: Nick
    session: SessionId
    at: Time
    text: Text


class StoredTold(Struct, frozen=True, kw_only=True):
    """A private message in a result."""

    at: Time
    nick: Annotated[str, Meta(description="The nickname of the author at that time.")]
    to: Annotated[str, Meta(description="The registered nickname of the recipient at that time.")]
    text: Text


class Announced(Struct, frozen=True, kw_only=True):
    """A text from the server."""

    room: Room | None
    text: Text


class Gap(Struct, frozen=True, kw_only=True):
    """The lines *first* to *last* were not delivered. ``history`` returns them.

    Notices about members and the topic may be missing, too.
    """

    room: Room
    first: Seq
    last: Seq


class Refused(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notification of the client failed."""

    uid: Uid | UnsetType = UNSET
    method: Annotated[str, Meta(description="The method of the notification.")]
    code: Annotated[int, Meta(description="The code of the error.")]
    message: Annotated[str, Meta(description="What is wrong, for people.")]


class Goodbye(Struct, frozen=True, kw_only=True):
    """The server closes the connection."""

    reason: Annotated[str, Meta(description="Why, for people.")]
    reconnect: Annotated[bool, Meta(description="Whether it makes sense to come back.")]
    after: Annotated[float, Meta(ge=0, description="Seconds to wait before that.")]
