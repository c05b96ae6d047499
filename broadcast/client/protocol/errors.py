"""The errors of the library.

::

    ChatError
    ├── Unreachable             the first connection has failed, or its other side does not speak this protocol
    │   └── Untrusted           the certificate of the server is not trusted; nothing was sent on this connection
    ├── Ended                   the session is over, and no attempt to come back follows
    ├── UploadFailed            a file cannot be read, or its bytes did not reach the server
    ├── Unconfirmed             the connection was lost before the answer to a request that must not be sent twice
    └── Rejected                the server has answered with an error; nothing has happened
        └── ...                 a class for each kind of refusal: see ``_CLASSES``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

__all__ = [
    "Banned", "Busy", "ChatError", "Ended", "FileRejected", "Muted", "NickRejected", "NotHere", "NotInRoom",
    "NotPermitted", "NotStored", "PasswordNeeded", "RegistrationClosed", "Rejected", "RoomRejected", "TooLong",
    "TooManyTries", "UidReused", "Unconfirmed", "Unreachable", "Untrusted", "UploadFailed", "WrongPassword",
]  # fmt: skip


class ChatError(Exception):
    """The base of all errors of the library."""


class Unreachable(ChatError):
    """There is no connection to a server of this protocol."""


class Untrusted(Unreachable):
    """The certificate of the server is not trusted. Nothing was sent on this connection, the first one or a later one.

    *problem* is the reason, *fingerprint* that of the server's key, and *known* has those that it should have, if any.
    *place* is the host and the port if it is the port for files.
    """

    def __init__(self, problem: str, fingerprint: str, known: Sequence[str], place: str = "") -> None:
        of = f"of {place or 'the server'}"
        name = f"the key {of} is {fingerprint}, and not {' or '.join(known)}"
        super().__init__(name if known else f"the certificate {of} {problem}; its key is {fingerprint}")
        self.place = place
        self.problem = problem
        self.fingerprint = fingerprint
        self.known = tuple(known)


class Ended(ChatError):
    """The session is over."""


class UploadFailed(ChatError):
    """A file cannot be read, or its bytes did not reach the server. Nobody sees it."""


class Unconfirmed(ChatError):
    """A lost connection hides whether a private message was delivered, or a topic or the account changed.

    The request is not sent again.
    """


class Rejected(ChatError):
    """The server has answered a request with an error. Its text is the server's sentence.

    *code*, *reason* and *data* are those of the program protocol.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = dict(data or {})

    @property
    def reason(self) -> str:
        """The word for programs, such as ``nick-refused``."""
        return str(self.data.get("reason", ""))

    @property
    def retry(self) -> float:
        """The seconds after which to try again, or 0."""
        retry = self.data.get("retry", 0)
        return float(retry) if isinstance(retry, int | float) else 0.0


class NotStored(Rejected):
    """The journal could not store the line, and nobody has seen it. Try again later."""


class NickRejected(Rejected):
    """The nickname cannot be had."""

    @property
    def why(self) -> str:
        """``taken``, ``reserved``, ``too-long``, ``characters`` or ``looks-like``."""
        return str(self.data.get("why", ""))


class RoomRejected(Rejected):
    """There is no such room, or it cannot be entered."""


class NotInRoom(Rejected):
    """The request is about a room that the session has not joined."""


class NotHere(Rejected):
    """There is no person with this nickname."""


class TooLong(Rejected):
    """The text has more bytes than ``data["limit"]``."""


class UidReused(Rejected):
    """The line ``data["seq"]``, or a private message, has this uid, and another text, author or recipient."""


class PasswordNeeded(Rejected):
    """The nickname is registered, and needs its password. The text warns if others may read it on its way."""


class WrongPassword(Rejected):
    """The password is wrong, or there is no such account."""


class TooManyTries(Rejected):
    """There were too many wrong passwords or registrations. Try again after *retry* seconds."""


class RegistrationClosed(Rejected):
    """Nobody can register there. An administrator makes the accounts."""


class NotPermitted(Rejected):
    """The session may not do this."""


class _Sanction(Rejected):
    """A moderator has decided so, until *until*."""

    @property
    def until(self) -> float | None:
        """The end, in seconds since the epoch; None for no end."""
        until = self.data.get("until")
        return float(until) if isinstance(until, int | float) else None


class Muted(_Sanction):
    """Others must not read texts of the session, or the room is in slow mode, until *until*."""


class Banned(_Sanction):
    """The account, the nickname or the address is banned until *until*."""


class FileRejected(Rejected):
    """A file cannot be shared because of a limit, or because the server takes none. It may tell when to *retry*."""


class Busy(Rejected):
    """The server checks too many passwords, or cannot reach its database. Try again after *retry* seconds."""


PASSWORD_ERRORS: Final = (PasswordNeeded, WrongPassword, TooManyTries, Busy)
"""The errors after which another password, or the same one later, may be right."""
NICK_REFUSED: Final = 1003
TOO_LONG: Final = 1008
OTHER_JOURNAL: Final = 1010
GOING_DOWN: Final = 1011
BANNED: Final = 1026
FILE_REJECTED: Final = 1030

_CLASSES: Final[Mapping[int, type[Rejected]]] = {
    1001: NotStored,
    NICK_REFUSED: NickRejected,
    1004: RoomRejected,
    1005: NotInRoom,
    1006: NotHere,
    TOO_LONG: TooLong,
    1012: UidReused,
    1020: PasswordNeeded,
    1021: WrongPassword,
    1022: TooManyTries,
    1023: RegistrationClosed,
    1024: NotPermitted,
    1025: Muted,
    BANNED: Banned,
    1028: Busy,
    FILE_REJECTED: FileRejected,
}


class ErrorObject(msgspec.Struct):
    """The error of a JSON-RPC response."""

    code: int
    message: str = ""
    data: Any = None

    def as_exception(self) -> Rejected:
        """Return the exception for it."""
        data = self.data if isinstance(self.data, dict) else {}
        return _CLASSES.get(self.code, Rejected)(self.code, self.message or f"error {self.code}", data)
