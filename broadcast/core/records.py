"""What a journal stores beside the lines of rooms: accounts, bans, the audit trail, and private lines. No I/O.

A record is a value. The core keeps accounts and bans in memory, and has each of its changes stored with
``Records.write``. The core also gives the ids. An id is never used again, not even after a deletion and a restart.
Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


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
class ChangeAccount:
    """Give the account *id* the *values* of some fields. The other fields keep what another node has stored."""

    id: int
    values: Mapping[str, Any] = field(repr=False)
    expected: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The present values of fields. If another node has stored others, the change fails with ``AccountConflict``."""


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
    """Store *line*, whose id is higher than all before; among several nodes, higher than those that this one knows."""

    line: PrivateLine


@dataclass(frozen=True, slots=True)
class MarkDelivered:
    """Mark the lines *ids* to the account *recipient_account* as delivered."""

    recipient_account: int
    ids: Sequence[int]


RecordChange: TypeAlias = (
    SaveAccount | ChangeAccount | DeleteAccount | SaveBan | DeleteBan | AddAudit | AddPrivate | MarkDelivered
)
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
    waiting: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """The senders' accounts of the lines that wait, by the id of the recipient's account and by that of the line."""
    step: int = 1
    """Distance between the ids that this server gives. The other nodes of a cluster give those in between."""
