"""The catalogue of the JSON-RPC door: every method and notification by name, with its messages and its errors.

``docs/openrpc.json`` is generated from it, so the summaries here are what programmers read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct

from broadcast.doors.jsonrpc.account_messages import (
    AccountResult,
    LoginCode,
    LoginEnded,
    LoginParams,
    LogoutParams,
    PasswordParams,
    SetPasswordParams,
)
from broadcast.doors.jsonrpc.messages import (
    AwayParams,
    CommandParams,
    CommandResult,
    Empty,
    HelloParams,
    HelloResult,
    HistoryParams,
    HistoryResult,
    JoinParams,
    JoinResult,
    LeaveParams,
    MembersParams,
    MembersResult,
    NickParams,
    NickResult,
    QuitParams,
    RoomInfo,
    SayParams,
    SayResult,
    SearchParams,
    SearchResult,
    TellParams,
    TellResult,
    TopicParams,
    UploadParams,
    UploadResult,
)
from broadcast.doors.jsonrpc.notifications import (
    Announced,
    Away,
    Crowd,
    Emoted,
    Gap,
    Goodbye,
    Joined,
    Left,
    Refused,
    Renamed,
    Said,
    Shared,
    StoredTold,
    Told,
    TopicChange,
)

Params: TypeAlias = (
    Empty
    | HelloParams
    | JoinParams
    | LeaveParams
    | SayParams
    | UploadParams
    | TellParams
    | TopicParams
    | NickParams
    | AwayParams
    | HistoryParams
    | SearchParams
    | MembersParams
    | CommandParams
    | QuitParams
    | PasswordParams
    | LoginParams
    | LogoutParams
    | SetPasswordParams
)


class Method(Struct, frozen=True):
    """One method: its parameters, its result, what it does, and the reasons for which it is refused.

    Any method is also refused with JSON-RPC's own errors, and those in ``COMMON_REASONS``.
    """

    params: type[Params]
    result: Any
    summary: str
    reasons: tuple[str, ...] = ()


METHODS: Final[Mapping[str, Method]] = {
    "hello": Method(
        HelloParams,
        HelloResult,
        "Begin or resume a session. The first request, within 60 s.",
        (
            "nick-refused",
            "no-such-room",
            "room-refused",
            "other-journal",
            "ahead",
            "stale",
            "protocol",
            "too-many-connections",
            "password-needed",
            "wrong-password",
            "too-many-tries",
            "not-permitted",
            "busy",
            "banned",
            "registration-closed",
            "not-kept",
        ),
    ),
    "join": Method(
        JoinParams,
        JoinResult,
        "Join a room, and receive a snapshot and then its notifications.",
        ("no-such-room", "room-refused", "ahead", "busy", "muted"),
    ),
    "leave": Method(LeaveParams, Empty, "Leave a room.", ("not-in-room", "too-long")),
    "say": Method(
        SayParams,
        SayResult,
        "Say a line in a room. The result comes once it is stored.",
        ("not-in-room", "too-long", "empty", "not-kept", "not-known", "uid-reused", "muted"),
    ),
    "emote": Method(
        SayParams,
        SayResult,
        "Say what you do in a room.",
        ("not-in-room", "too-long", "empty", "not-kept", "not-known", "uid-reused", "muted"),
    ),
    "upload": Method(
        UploadParams,
        UploadResult,
        "Announce a file for a room. Once its bytes are uploaded to the address in the result, it is shared.",
        (
            "not-in-room",
            "uid-reused",
            "not-kept",
            "not-known",
            "muted",
            "no-files",
            "file-too-large",
            "too-many-files",
            "too-many-uploads",
            "no-space",
        ),
    ),
    "tell": Method(
        TellParams,
        TellResult,
        "Send a private message. It is stored if both people have accounts, or if the recipient is not here.",
        ("not-here", "not-kept", "does-not-read", "too-long", "empty", "busy", "uid-reused", "muted"),
    ),
    "topic": Method(
        TopicParams,
        Empty,
        "Change or remove the topic of a room.",
        ("not-in-room", "too-long", "empty", "not-kept", "not-permitted", "muted"),
    ),
    "nick": Method(
        NickParams, NickResult, "Change the nickname.", ("nick-refused", "password-needed", "busy", "muted", "banned")
    ),
    "register": Method(
        PasswordParams,
        AccountResult,
        "Register the own nickname, and log in. From then on, it needs the password.",
        ("registration-closed", "too-many-tries", "not-permitted", "busy", "not-kept"),
    ),
    "login": Method(
        LoginParams,
        AccountResult,
        "Log in, and take the registered nickname. Another session that uses it ends.",
        (
            "nick-refused",
            "wrong-password",
            "too-many-tries",
            "not-permitted",
            "busy",
            "banned",
            "registration-closed",
            "not-kept",
        ),
    ),
    "oidc": Method(
        Empty,
        Empty,
        "Begin to log in with the OpenID Connect provider, or to join the own account to it if logged in. The "
        " notifications login_code and login_ended follow.",
        ("too-many-tries", "not-permitted", "busy"),
    ),
    "logout": Method(LogoutParams, AccountResult, "Log out, and get another nickname.", ("not-permitted", "busy")),
    "set_password": Method(
        SetPasswordParams,
        Empty,
        "Change the password. All other sessions of the account end.",
        ("wrong-password", "too-many-tries", "not-permitted", "busy", "not-kept"),
    ),
    "drop": Method(
        PasswordParams,
        AccountResult,
        "Delete the account and its private messages. All other sessions of the account end.",
        ("wrong-password", "too-many-tries", "not-permitted", "busy", "not-kept"),
    ),
    "away": Method(AwayParams, Empty, "Be away, or back.", ("too-long", "muted")),
    "history": Method(
        HistoryParams,
        HistoryResult,
        "Read stored lines of a room, or the newest private messages with a person, 200 at most.",
        ("not-in-room", "not-permitted"),
    ),
    "search": Method(
        SearchParams,
        SearchResult,
        "Find stored lines of a room, or private messages with a person.",
        ("not-in-room", "not-permitted"),
    ),
    "inbox": Method(
        Empty, SearchResult, "Read the newest stored private messages to you, 20 at most.", ("not-permitted",)
    ),
    "rooms": Method(Empty, list[RoomInfo], "List the open rooms, the largest first."),
    "members": Method(MembersParams, MembersResult, "List the members of a room by nickname.", ("not-in-room",)),
    "command": Method(
        CommandParams,
        CommandResult,
        "Run a command of the line protocol that only answers, or one of operators.",
        (
            "not-in-room",
            "not-permitted",
            "muted",
            "not-here",
            "nick-refused",
            "not-kept",
            "busy",
            "no-files",
            "too-many-files",
            "too-many-uploads",
            "no-space",
        ),
    ),
    "ping": Method(Empty, Empty, "Do nothing, and answer."),
    "quit": Method(QuitParams, Empty, "End the session. The connection closes after the answer.", ("too-long",)),
}
COMMON_REASONS: Final = ("hello-first", "going-down")
"""The reasons for which any method is refused, except ``hello-first`` for ``hello``."""

NOTIFICATIONS: Final[Mapping[str, type[Struct]]] = {
    "said": Said,
    "emoted": Emoted,
    "shared": Shared,
    "joined": Joined,
    "left": Left,
    "renamed": Renamed,
    "crowd": Crowd,
    "away": Away,
    "topic": TopicChange,
    "told": Told,
    "announced": Announced,
    "gap": Gap,
    "login_code": LoginCode,
    "login_ended": LoginEnded,
    "refused": Refused,
    "ping": Empty,
    "goodbye": Goodbye,
}
EVENTS: Final[Mapping[str, type[Struct]]] = {
    "said": Said,
    "emoted": Emoted,
    "shared": Shared,
    "gap": Gap,
    "told": StoredTold,
}
"""The kinds of events that can be part of ``events`` in a result."""
