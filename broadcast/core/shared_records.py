"""The records that other nodes of a cluster change: accounts, bans and private lines. Sessions of this node follow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from broadcast.core import nicknames
from broadcast.core.accounts import DROPPED, PASSWORD_CHANGED, Account, Accounts
from broadcast.core.errors import RejectedError
from broadcast.core.membership import Member
from broadcast.core.moderation import Moderation, reaches
from broadcast.core.people import People
from broadcast.core.private_lines import PrivateLines
from broadcast.core.records import (
    AddPrivate,
    ChangeAccount,
    DeleteAccount,
    DeleteBan,
    MarkDelivered,
    RecordChange,
    SaveAccount,
    SaveBan,
    StoredRecords,
)


class RecordHub(Protocol):
    """The parts of the hub that a change of records can change."""

    accounts: Accounts
    moderation: Moderation
    people: People
    private_lines: PrivateLines

    def expel(self, member: Member, action: str, operator: str, why: str) -> None:
        """End the session of *member*; see ``Hub.expel``."""

    def rename(self, member: Member, name: str, *, unasked: bool) -> bool:
        """Give *member* another nickname; see ``Hub.rename``."""

    def leave_accounts(self, account: Account, reason: str, notice: str) -> None:
        """End the sessions of *account* on this node; see ``Hub.leave_accounts``."""

    def announce_role(self, account: Account) -> None:
        """Send the sessions of *account* on this node what its new role means to them."""

    def leave_registered_name(self, member: Member, *, unasked: bool) -> bool:
        """Give *member* a free nickname if it must not have its own; see ``Hub.leave_registered_name``."""


class SharedRecords:
    """The way of changes of records from other nodes to *hub*."""

    def __init__(self, hub: RecordHub) -> None:
        self._hub = hub

    def take_over(self, changes: Sequence[RecordChange]) -> None:
        """Take over *changes* that another node has stored."""
        for change in changes:
            match change:
                case SaveAccount(account=record):
                    self._take_over_account(change, record.id)
                case ChangeAccount() | DeleteAccount():
                    self._take_over_account(change, change.id)
                case SaveBan(ban=ban):
                    self._hub.moderation.take_over(change)
                    for member in [member for member in self._hub.people.own_members() if reaches(ban, member)]:
                        self._hub.expel(member, "banned", ban.by, ban.reason)
                case DeleteBan():
                    self._hub.moderation.take_over(change)
                case AddPrivate() | MarkDelivered():
                    self._hub.private_lines.take_over(change)
                case _:  # the audit trail is not in memory
                    pass

    def reload(self, stored: StoredRecords) -> None:
        """Take over *stored*, because changes of other nodes were missed."""
        self.take_over([*self._hub.accounts.compare(stored), *self._hub.moderation.compare(stored)])
        self._hub.private_lines.load(stored)

    def _take_over_account(self, change: SaveAccount | ChangeAccount | DeleteAccount, number: int) -> None:
        """Take over *change* of the account *number*, and let its sessions on this node follow."""
        hub = self._hub
        account = hub.accounts.get(number)
        before = None if account is None else account.record
        hub.accounts.take_over(change)
        after = hub.accounts.get(number)
        if after is not None and (before is None or before.name != after.name):
            self._follow_account_name(after, "" if before is None else before.name)
        if account is None or before is None:
            return
        if after is None:
            hub.leave_accounts(account, DROPPED, f"The account {account.name} was deleted.")
        elif before.role != after.record.role:
            hub.announce_role(after)
        elif isinstance(change, ChangeAccount) and change.values.keys() >= {"password_hash", "logins"}:
            hub.leave_accounts(after, PASSWORD_CHANGED, "Your password was changed: log in again.")

    def _follow_account_name(self, account: Account, before: str) -> None:
        """Let the sessions on this node follow the new name of *account*. *before* is its old name, or empty."""
        owner = self._hub.people.owner_of(account.name)
        if owner is not None:
            self._hub.leave_registered_name(owner, unasked=True)
        for member in [member for member in self._hub.people.own_members() if member.account is account]:
            if nicknames.casefold_key(member.nick) == nicknames.casefold_key(before):
                with suppress(RejectedError):  # somebody who is here has a nickname that looks like it
                    self._hub.rename(member, account.name, unasked=True)
