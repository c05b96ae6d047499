"""The errors of the JSON-RPC door: their codes, and the data on which a program can act."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from broadcast.core.errors import (
    Banned,
    BroadcastError,
    Busy,
    FileRejected,
    JournalError,
    Muted,
    NameRejected,
    NicknameRejected,
    NotHere,
    NotPermitted,
    NotStored,
    PasswordNeeded,
    RecipientNotReading,
    RegistrationClosed,
    RejectedError,
    RoomRejected,
    TooManyConnections,
    TooManyLogins,
    TooManyRegistrations,
    TooManyTries,
    UidReused,
    WrongPassword,
)


class Code(IntEnum):
    """The codes of the errors: those of JSON-RPC, and those of this protocol."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    NOT_KEPT = 1001
    HELLO_FIRST = 1002
    NICK_REFUSED = 1003
    ROOM_REFUSED = 1004
    NOT_IN_ROOM = 1005
    NOT_HERE = 1006
    DOES_NOT_READ = 1007
    TOO_LONG = 1008
    EMPTY = 1009
    WRONG_NUMBERS = 1010
    GOING_DOWN = 1011
    UID_REUSED = 1012
    STALE = 1013
    NOT_KNOWN = 1014
    PASSWORD_NEEDED = 1020
    WRONG_PASSWORD = 1021
    TOO_MANY_TRIES = 1022
    REGISTRATION_CLOSED = 1023
    NOT_PERMITTED = 1024
    MUTED = 1025
    BANNED = 1026
    BUSY = 1028
    FILE_REFUSED = 1030


REASONS: Final[Mapping[str, tuple[Code, str]]] = {
    "too-many-connections": (
        Code.INVALID_REQUEST,
        "The server or the address has too many connections. Sessions that wait for their next one count.",
    ),
    "not-kept": (Code.NOT_KEPT, "The journal has not stored it and nobody has seen it. Try again later."),
    "hello-first": (Code.HELLO_FIRST, "The first request is hello."),
    "nick-refused": (Code.NICK_REFUSED, "The nickname is taken or not allowed; data.why says which."),
    "no-such-room": (Code.ROOM_REFUSED, "There is no such room."),
    "room-refused": (Code.ROOM_REFUSED, "The room cannot be joined."),
    "not-in-room": (Code.NOT_IN_ROOM, "The session is not in this room."),
    "not-here": (Code.NOT_HERE, "The person is not here."),
    "does-not-read": (Code.DOES_NOT_READ, "The person does not read what is sent to them."),
    "too-long": (Code.TOO_LONG, "The text or the line is longer than data.limit bytes."),
    "empty": (Code.EMPTY, "Nothing is left of the text after control characters were removed."),
    "other-journal": (Code.WRONG_NUMBERS, "The numbers are of another journal. Start without resume."),
    "ahead": (Code.WRONG_NUMBERS, "A number is above the last one of its room."),
    "going-down": (Code.GOING_DOWN, "The server is going down."),
    "uid-reused": (Code.UID_REUSED, "Another line or private message has this uid; data.seq is the line's number."),
    "stale": (Code.STALE, "A later attempt to resume the session came before."),
    "protocol": (Code.STALE, "The server does not speak this version; data.supported lists those that it speaks."),
    "not-known": (
        Code.NOT_KNOWN,
        "The journal cannot be read, so it is not known whether the line is stored. Send it again with the same uid.",
    ),
    "password-needed": (Code.PASSWORD_NEEDED, "The nickname is registered, and needs its password."),
    "wrong-password": (Code.WRONG_PASSWORD, "The password is wrong, or there is no such account."),
    "too-many-tries": (
        Code.TOO_MANY_TRIES,
        "There were too many wrong passwords, logins or registrations. Try again after data.retry seconds.",
    ),
    "registration-closed": (Code.REGISTRATION_CLOSED, "Nobody can register here."),
    "not-permitted": (Code.NOT_PERMITTED, "The session may not do this."),
    "busy": (
        Code.BUSY,
        "The server checks too many passwords, or cannot reach its database. Try again after data.retry seconds.",
    ),
    "muted": (Code.MUTED, "Others must not read texts of the session until data.until; null for no end."),
    "no-files": (Code.FILE_REFUSED, "The server takes no files."),
    "file-too-large": (Code.FILE_REFUSED, "The file has more than data.limit bytes."),
    "too-many-files": (
        Code.FILE_REFUSED,
        "The person has shared data.limit files in the last hour. Try again after data.retry seconds.",
    ),
    "too-many-uploads": (
        Code.FILE_REFUSED,
        "There are data.limit uploads of this person, from this address, or in all. Try again when one has ended.",
    ),
    "no-space": (Code.FILE_REFUSED, "The files of the server take data.limit bytes. Try again later."),
    "banned": (Code.BANNED, "The account, the nickname or the address is banned until data.until; null for no end."),
}
"""The values of ``data.reason``, each with its code and its meaning."""

NickWhy: TypeAlias = Literal["taken", "reserved", "too-long", "characters", "looks-like"]


class ErrorData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a program can act on."""

    reason: Annotated[str, Meta(description="The kind of the error, as a word.")]
    why: NickWhy | UnsetType = UNSET
    limit: Annotated[
        int | UnsetType, Meta(description="The limit, in bytes; for the number of files and uploads, how many.")
    ] = UNSET
    seq: Annotated[int | UnsetType, Meta(description="Number of the line that has this uid.")] = UNSET
    room: Annotated[str | UnsetType, Meta(description="The room that is refused.")] = UNSET
    supported: Annotated[list[int] | UnsetType, Meta(description="The versions that the server speaks.")] = UNSET
    retry: Annotated[int | UnsetType, Meta(description="Seconds after which to try again.")] = UNSET
    until: Annotated[
        float | UnsetType | None, Meta(description="The end, in seconds since the epoch; null for no end.")
    ] = UNSET


class Error(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The error of a response."""

    code: int
    message: Annotated[str, Meta(description="What is wrong, for people.")]
    data: ErrorData | UnsetType = UNSET


class RpcError(BroadcastError):
    """A request that is refused. Most of JSON-RPC's own errors have no *data*."""

    def __init__(self, code: Code, message: str, data: ErrorData | UnsetType = UNSET) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


def refusal(  # noqa: PLR0913 - one for each member of the data
    reason: str,
    message: str,
    *,
    why: NickWhy | UnsetType = UNSET,
    limit: int | UnsetType = UNSET,
    seq: int | UnsetType = UNSET,
    room: str | UnsetType = UNSET,
    supported: list[int] | UnsetType = UNSET,
    retry: int | UnsetType = UNSET,
    until: float | UnsetType | None = UNSET,
) -> RpcError:
    """Return the error with the *reason*, one of ``REASONS``, and the other members of its data."""
    data = ErrorData(
        reason=reason, why=why, limit=limit, seq=seq, room=room, supported=supported, retry=retry, until=until
    )
    return RpcError(REASONS[reason][0], message, data)


def session_gone() -> RpcError:
    """Return the error for a request whose session has ended, or continues on another connection."""
    return RpcError(Code.INTERNAL_ERROR, "The session is not here any more.")


def uid_unknown(error: JournalError) -> RpcError:
    """Return the error for a line that may have been stored before. ``not-kept`` would deny that."""
    return refusal("not-known", f"The journal cannot say whether it has this uid: {error}. Try again later.")


def explain_rejection(error: RejectedError) -> RpcError:  # noqa: C901, PLR0911, PLR0912 - one case for each error
    """Return *error*, one of the core, as programs see it.

    Its text becomes a sentence with a capital letter, unless it begins with a nickname.
    """
    text = str(error)
    sentence = text[:1].upper() + text[1:]
    match error:
        case NicknameRejected(why="taken" | "reserved" | "looks-like" as why):
            return refusal("nick-refused", text, why=why)
        case NicknameRejected(why=why):
            return refusal("nick-refused", sentence, why=why)
        case NotHere():
            return refusal("not-here", text)
        case RecipientNotReading():
            return refusal("does-not-read", text)
        case RoomRejected(why=why, room=room):
            return refusal(why, sentence, room=room)
        case UidReused(seq=seq):
            return refusal("uid-reused", sentence, seq=seq)
        case TooManyConnections():
            return refusal("too-many-connections", sentence)
        case PasswordNeeded():
            return refusal("password-needed", text)
        case WrongPassword():
            return refusal("wrong-password", sentence)
        case TooManyTries(retry=retry) | TooManyRegistrations(retry=retry) | TooManyLogins(retry=retry):
            return refusal("too-many-tries", sentence, retry=retry)
        case RegistrationClosed():
            return refusal("registration-closed", sentence)
        case NotPermitted():
            return refusal("not-permitted", sentence)
        case Busy(retry=retry):
            return refusal("busy", sentence, retry=retry)
        case FileRejected(why=word, limit=limit, retry=retry_after):
            return refusal(
                word,
                sentence,
                limit=UNSET if limit is None else limit,
                retry=UNSET if retry_after is None else retry_after,
            )
        case NotStored():
            return refusal("not-kept", f"{sentence}.")
        case Muted(until=until):
            return refusal("muted", sentence, until=until)
        case Banned(until=until):
            return refusal("banned", sentence, until=until)
        case NameRejected():
            return RpcError(Code.INVALID_PARAMS, text)
        case _:
            return RpcError(Code.INVALID_PARAMS, sentence)
