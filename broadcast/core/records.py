"""What a journal stores beside the lines of rooms: accounts, bans, the audit trail, and private lines. No I/O.

A record is a value. The core keeps accounts and bans in memory, and has each of its changes stored with
``Records.write``. The core also gives the ids. An id is never used again, not even after a deletion and a restart.
Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account as it is stored."""

    id: int
    name: str
    """The nickname that belongs to the account."""
    password_hash: str = field(default="", repr=False)
    """The hash of the password in PHC string format; empty if the account has no password."""
    role: str = ""
    """``operator``, or empty."""
    created: float = 0.0
    last_used: float = 0.0
    issuer: str = ""
    """The OpenID Connect provider that knows the owner; empty if there is none."""
    subject: str = ""
    """The owner's identifier at the *issuer*."""
    logins: str = field(default="", repr=False)
    """The remembered logins; see ``remembered_logins.py``."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban of an account, a nickname or a network."""

    id: int
    target: Literal["account", "nickname", "address"]
    value: str
    """The account's id in decimal, the key of the nickname (``nicknames.py``), or the network."""
    name: str
    """The target as it was typed, for people."""
    reason: str
    by: str
    """Nickname of the operator."""
    at: float
    until: float | None
    """Time at which the ban ends; None if it does not end."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action of an operator or an administrator."""

    at: float
    by: str
    action: str
    target: str
    detail: str


@dataclass(frozen=True, slots=True)
class PrivateLine:
    """A private message of which at least the recipient has an account."""

    id: int
    """The line's number among all private lines of the journal, from 1."""
    at: float
    sender_account: int
    """Id of the sender's account; 0 if the sender has none, or if the account was deleted."""
    sender: str
    """The sender's nickname at that time."""
    recipient_account: int
    recipient: str
    text: str
    delivered: bool
    """False while the line waits for its recipient."""
    kind: str = "message"
    uid: str = ""
    """The identifier that the sender chose; empty if there is none."""


@dataclass(frozen=True, slots=True)
class SaveAccount:
    """Store *account*, in the place of the one with the same id."""

    account: AccountRecord


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete the account *id* and the private lines to it. The lines that it sent stay, but name no account."""

    id: int


@dataclass(frozen=True, slots=True)
class SaveBan:
    """Store *ban*, in the place of the one with the same id."""

    ban: Ban


@dataclass(frozen=True, slots=True)
class DeleteBan:
    """Delete the ban *id*."""

    id: int


@dataclass(frozen=True, slots=True)
class AddAudit:
    """Append *entry* to the audit trail."""

    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class AddPrivate:
    """Store *line*, whose id is higher than all before."""

    line: PrivateLine


@dataclass(frozen=True, slots=True)
class MarkDelivered:
    """Mark the lines to the account *recipient_account*, up to the id *up_to_id*, as delivered."""

    recipient_account: int
    up_to_id: int


RecordChange: TypeAlias = SaveAccount | DeleteAccount | SaveBan | DeleteBan | AddAudit | AddPrivate | MarkDelivered
"""A change of the stored records."""


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """The records that the core keeps in memory, as a journal holds them when it is opened."""

    accounts: Sequence[AccountRecord] = ()
    bans: Sequence[Ban] = ()
    next_account: int = 1
    """Id of the next new account."""
    next_ban: int = 1
    """Id of the next new ban."""
    next_private: int = 1
    """Id of the next private line."""
    waiting: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Number of lines that wait, by the ids of the recipient's and the sender's account."""
    step: int = 1
    """Distance between the ids that this server gives. The other nodes of a cluster give those in between."""
