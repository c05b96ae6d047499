"""The errors of the package, as one shallow tree. Each door turns them into its own words.

::

    BroadcastError
    ├── RejectedError               a request was rejected; the text says why
    │   ├── NameRejected            ... because of the person, the account or the address that the text begins with
    │   ├── NicknameRejected        ... because of the nickname
    │   ├── RoomRejected            ... because of the room's name, or of the number of rooms
    │   ├── NotHere                 ... because the person is not here
    │   │   └── NoAnswer            ... or perhaps is not here: the other server does not answer
    │   ├── RecipientNotReading     ... because the recipient does not read
    │   ├── UidReused               ... because another line has the same uid
    │   ├── PasswordNeeded          ... because the nickname is registered
    │   ├── WrongPassword           ... because the password is not the one of the account
    │   ├── AccountChanged          ... because another server has changed the account at the same time
    │   ├── RegistrationClosed      ... because only an administrator makes accounts
    │   ├── NotStored               ... because the change could not be stored
    │   ├── NotPermitted            ... because the user may not do this
    │   ├── Muted                   ... because others must not read texts of the user
    │   ├── Banned                  ... because the account, the nickname or the address is banned
    │   ├── TooManyConnections      ... because a limit of connections is reached
    │   ├── TooManyTries            ... because of the number of wrong passwords
    │   ├── TooManyRegistrations    ... because of the number of new accounts
    │   ├── TooManyLogins           ... because of the number of logins with OpenID Connect
    │   ├── LoginFailed             ... because the OpenID Connect provider has not confirmed who the user is
    │   ├── FileRejected            ... because of a limit of files, or because the upload has ended
    │   └── Busy                    ... because the server has too much of such work just now
    │       └── DatabaseAway        ... because the server cannot reach the database that it shares with others
    ├── JournalError                the journal cannot be used
    │   ├── JournalInUse            ... because another server has it open
    │   ├── JournalDamaged          ... because its contents cannot be trusted
    │   ├── AccountConflict         ... for this change of an account, because another server has made one
    │   └── JournalTooNew           ... because a newer version of the program wrote it
    └── StartupError                the server cannot start with these settings
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from broadcast.core.stats import Rejection

FileWhy: TypeAlias = Literal[
    "no-files", "file-too-large", "too-many-files", "too-many-uploads", "no-space", "upload-ended", "other-size"
]
"""Why a file cannot be shared: the server takes none, a limit, the end of the upload, or not the announced size."""

ConflictWhy: TypeAlias = Literal["name", "identity", "gone", "changed"]
"""Why a change of an account was not made; see ``AccountConflict``."""


class BroadcastError(Exception):
    """Base class of the errors that this package raises on purpose. The text is one line for people."""


class RejectedError(BroadcastError):
    """A request was rejected and nothing was changed. The text says why."""

    kind = Rejection.COMMAND
    """The counter of such rejections."""


class NameRejected(RejectedError):
    """The request was rejected because of the name with which the text begins, so the text gets no capital letter."""


class NicknameRejected(RejectedError):
    """The nickname is taken or not allowed. *why* is a word for programs."""

    kind = Rejection.NICKNAME

    def __init__(self, text: str, why: Literal["taken", "reserved", "too-long", "characters", "looks-like"]) -> None:
        super().__init__(text)
        self.why = why


class RoomRejected(RejectedError):
    """There can be no such room, or no further one. *why* is a word for programs, *room* the name as it was given."""

    def __init__(self, text: str, why: Literal["no-such-room", "room-refused"], room: str) -> None:
        super().__init__(text)
        self.why = why
        self.room = room


class NotHere(RejectedError):
    """There is no member with this nickname."""


class NoAnswer(NotHere):
    """The node of the member does not answer, so the member may be here or not."""

    def __init__(self) -> None:
        super().__init__("the server of the recipient does not answer.")


class UidReused(RejectedError):
    """The line *seq* has the same uid, but another text or author."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"line #{seq} has the same uid, but another text or author.")
        self.seq = seq


class PasswordNeeded(RejectedError):
    """The nickname is registered, and the session is not logged in to its account."""

    kind = Rejection.NICKNAME

    def __init__(self, nick: str) -> None:
        super().__init__(f"{nick} is registered: it needs its password.")


class WrongPassword(RejectedError):
    """The password is not the one of the account, or there is no such account."""

    def __init__(self) -> None:
        super().__init__("wrong password.")


class RegistrationClosed(RejectedError):
    """People cannot register."""

    def __init__(self) -> None:
        super().__init__("nobody can register here: ask the administrator for an account.")


class NotStored(RejectedError):
    """The change could not be stored, because of *error*."""

    def __init__(self, error: JournalError) -> None:
        super().__init__(f"it cannot be stored: {error}")


class AccountChanged(RejectedError):
    """Another server has changed the account at the same time."""

    def __init__(self) -> None:
        super().__init__("the account was changed at the same time: try again.")


class NotPermitted(RejectedError):
    """The user may not do this."""


class Muted(RejectedError):
    """Others must not read texts of the user *until* this time, in seconds since the epoch; None for no end."""

    def __init__(self, text: str, until: float | None) -> None:
        super().__init__(text)
        self.until = until


class Banned(RejectedError):
    """The account, the nickname or the address is banned *until* this time; None for no end."""

    kind = Rejection.BANNED

    def __init__(self, text: str, until: float | None) -> None:
        super().__init__(text)
        self.until = until


class RecipientNotReading(RejectedError):
    """The recipient of a private message does not read."""

    kind = Rejection.RECIPIENT_NOT_READING


class TooManyConnections(RejectedError):
    """The number of connections, in total or from one address, is at its limit."""

    kind = Rejection.FULL


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} min"


class TooManyTries(RejectedError):
    """There were too many wrong passwords. After *retry* seconds, one more password is checked."""

    def __init__(self, retry: int) -> None:
        super().__init__(f"too many wrong passwords: try again in {_duration(retry)}.")
        self.retry = retry


class TooManyRegistrations(RejectedError):
    """There were too many registrations. After *retry* seconds, one more is possible."""

    def __init__(self, retry: int) -> None:
        super().__init__(f"too many registrations: try again in {_duration(retry)}.")
        self.retry = retry


class TooManyLogins(RejectedError):
    """There were too many logins with OpenID Connect. After *retry* seconds, one more is possible."""

    def __init__(self, retry: int) -> None:
        super().__init__(f"too many logins: try again in {_duration(retry)}.")
        self.retry = retry


class LoginFailed(RejectedError):
    """The OpenID Connect provider has not confirmed who the user is."""


class FileRejected(RejectedError):
    """A file cannot be shared, or not now. *why* is a word for programs.

    *limit* is the limit that was reached, in bytes or files. After *retry* seconds, another try makes sense.
    """

    def __init__(self, text: str, why: FileWhy, limit: int | None = None, retry: int | None = None) -> None:
        super().__init__(text)
        self.why = why
        self.limit = limit
        self.retry = retry


class Busy(RejectedError):
    """The server has too much of this kind of work just now."""

    retry = 1
    """Seconds after which another try makes sense."""

    def __init__(self) -> None:
        super().__init__("busy, try again.")


class DatabaseAway(Busy):
    """The server cannot reach the database that it shares with others, so they cannot be asked."""

    retry = 2

    def __init__(self) -> None:
        RejectedError.__init__(self, "the server cannot reach its database: try again in a moment.")


class JournalError(BroadcastError):
    """The journal cannot be used. The text says what is wrong and, on opening, what to do."""


class JournalInUse(JournalError):
    """Another server has the journal open."""


class JournalDamaged(JournalError):
    """The journal's contents cannot be trusted."""


class AccountConflict(JournalError):
    """A change of an account was not made, because another server has made one that this one did not know.

    *why* says what this change was: another account has the *name* or the *identity*, or the account is *gone*, or its
    values have *changed*.
    """

    def __init__(self, why: ConflictWhy) -> None:
        super().__init__("another server has changed the account")
        self.why = why


class JournalTooNew(JournalError):
    """A newer version of the program wrote the journal."""


class StartupError(BroadcastError):
    """The server cannot start with these settings. The text is one line that says why and what to do."""
