"""Accounts: registered nicknames, and the checks of their passwords. No hashing and no files.

An account belongs to its number, which is never reused. Its nickname can change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from broadcast.core.errors import (
    AccountChanged,
    AccountConflict,
    Busy,
    JournalError,
    NameRejected,
    NotPermitted,
    NotStored,
    RegistrationClosed,
    RejectedError,
    WrongPassword,
)
from broadcast.core.interfaces import Records
from broadcast.core.login_interfaces import Identity, IdentityProvider, PasswordHasher
from broadcast.core.nicknames import casefold_key
from broadcast.core.one_time_logins import OneTimeLogins
from broadcast.core.passwords import Password
from broadcast.core.records import (
    AccountRecord,
    ChangeAccount,
    DeleteAccount,
    RecordChange,
    SaveAccount,
    StoredRecords,
)
from broadcast.core.remembered_logins import add_login, is_login, remove_login
from broadcast.core.source import Source
from broadcast.core.tries import CodeLimiter, RegistrationLimiter, Try, TryLimiter

OPERATOR: Final = "operator"
"""The role that may moderate."""
ACCOUNT_MODES: Final = ("open", "closed", "required")
"""The ways to get an account. *open*: everybody can register. *closed*: only an administrator makes accounts.
*required*: the same, and only people with an account may enter.
"""
PASSWORD_CHANGED: Final = "password changed"  # noqa: S105 - a reason
"""The leave reason of the other sessions of an account whose password was changed."""
DROPPED: Final = "account deleted"
"""The leave reason of the sessions of an account that was deleted."""


class Account:
    """A registered nickname and its owner. Only ``Accounts`` changes it."""

    __slots__ = ("pending", "record")

    def __init__(self, record: AccountRecord) -> None:
        self.record = record
        """The values that are stored."""
        self.pending: list[Mapping[str, Any]] = []
        """The new values of the changes that are being stored."""

    @property
    def queued(self) -> AccountRecord:
        """The values after the last change, which may not be stored yet."""
        record = self.record
        for values in self.pending:
            record = replace(record, **values)
        return record

    @property
    def id(self) -> int:
        """The number of the account."""
        return self.record.id

    @property
    def name(self) -> str:
        """The registered nickname."""
        return self.record.name

    @property
    def is_operator(self) -> bool:
        """Whether the owner may moderate."""
        return self.record.role == OPERATOR


OnAccount: TypeAlias = Callable[[Account | RejectedError], None]
"""Receives an account, or the reason why a request was rejected. Called in a later turn of the reactor."""
OnSecret: TypeAlias = Callable[[str | RejectedError], None]
"""Receives a secret, or the reason why a request was rejected. Called in a later turn of the reactor."""
OnChanged: TypeAlias = Callable[[RejectedError | None], None]
"""Receives None once a change is stored, or the reason why it was not."""


def _ignore(_result: object) -> None:
    """Ignore the result of a change."""


class Accounts:
    """All accounts, by nickname and by number. A change takes effect once *records* has stored it."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._by_id: dict[int, Account] = {}
        self._by_key: dict[str, Account] = {}
        self._by_subject: dict[tuple[str, str], Account | None] = {}
        """The accounts by issuer and subject; None for one that is not stored yet."""
        self._reserved: set[str] = set()
        """The keys of nicknames that become registered once a change is stored."""
        self._next_id = self._step = 1

    def load(self, stored: StoredRecords) -> None:
        """Take over the accounts that are stored. Called once, first."""
        self._next_id, self._step = stored.next_account, stored.step
        for record in stored.accounts:
            self._insert(Account(record))

    def compare(self, stored: StoredRecords) -> Iterator[RecordChange]:
        """Yield the changes of other nodes that lead to the accounts in *stored*, and continue with its ids."""
        self._next_id, self._step = stored.next_account, stored.step
        records = {record.id: record for record in stored.accounts}
        yield from [DeleteAccount(number) for number in self._by_id if number not in records]
        known = {account.id: account.record for account in self}
        yield from [SaveAccount(record) for number, record in records.items() if known.get(number) != record]

    def __iter__(self) -> Iterator[Account]:
        """Iterate over all accounts, the oldest first."""
        return iter(self._by_id.values())

    def __len__(self) -> int:
        """Return the number of accounts."""
        return len(self._by_id)

    def find(self, name: str) -> Account | None:
        """Return the account with the nickname *name*, in any case; None if it is not registered."""
        return self._by_key.get(casefold_key(name.strip()))

    def get(self, number: int) -> Account | None:
        """Return the account with this number, None if there is none."""
        return self._by_id.get(number)

    def find_subject(self, issuer: str, subject: str) -> Account | None:
        """Return the account that belongs to *subject* at the OpenID Connect provider *issuer*; None if none does."""
        return self._by_subject.get((issuer, subject)) if subject else None

    def add(self, record: AccountRecord, on_result: OnAccount) -> None:
        """Store a new account with the values of *record*, except its number. Raises ``RejectedError``."""
        subject = _subject_key(record)
        self._check_subject(subject)
        key = self._reserve(record.name)
        self._by_subject[subject] = None
        account = Account(replace(record, id=self._next_id))
        self._next_id += self._step

        def stored(error: JournalError | None) -> None:
            self._reserved.discard(key)
            self._free_subject(subject)
            if error is None:
                self._insert(account)
            on_result(account if error is None else _rejection(error, record.name))

        self._records.write((SaveAccount(account.record),), stored)

    def change(
        self,
        account: Account,
        on_changed: OnChanged = _ignore,
        expected: Mapping[str, Any] | None = None,
        **values: Any,  # noqa: ANN401 - fields
    ) -> None:
        """Change *values* of *account*: fields of ``AccountRecord``.

        If another node has stored other values than those *expected*, *on_changed* receives ``AccountChanged``.
        Raises ``RejectedError`` if the name or the subject is taken, or the account is deleted.
        """
        self._check_exists(account)
        before = _subject_key(account.queued)
        subject = _subject_key(replace(account.queued, **values))
        if subject != before:
            self._check_subject(subject)
        key = ""
        if "name" in values and casefold_key(values["name"]) != casefold_key(account.queued.name):
            key = self._reserve(values["name"])
        if subject != before:
            self._by_subject[subject] = None
        account.pending.append(values)

        def stored(error: JournalError | None) -> None:
            self._reserved.discard(key)
            self._free_subject(subject)
            account.pending = [each for each in account.pending if each is not values]
            if error is None and account.id in self._by_id:
                self._replace(account, replace(account.record, **values))
            on_changed(None if error is None else _rejection(error, values.get("name", account.name)))

        self._records.write((ChangeAccount(account.id, values, expected or {}),), stored)

    def remove(self, account: Account, on_changed: OnChanged = _ignore) -> None:
        """Delete *account* and its private messages. Raises ``RejectedError`` if it is deleted already.

        From now on, nobody can log in to it. Its nickname can be registered again once the deletion is stored.
        """
        self._check_exists(account)
        del self._by_id[account.id]  # at once, because a change that is stored after the deletion would undo it
        del self._by_key[casefold_key(account.name)]
        subject = _subject_key(account.record)
        self._by_subject[subject] = None
        key = casefold_key(account.queued.name)
        self._reserved.add(key)

        def stored(error: JournalError | None) -> None:
            self._reserved.discard(key)
            self._free_subject(subject)
            if error is not None:
                self._insert(account)
            else:
                account.record = replace(account.record, role="")  # a session may still have the account
            on_changed(None if error is None else NotStored(error))

        self._records.write((DeleteAccount(account.id),), stored)

    def take_over(self, change: SaveAccount | ChangeAccount | DeleteAccount) -> None:
        """Take over *change*, which another node of a cluster has stored.

        The changes of this node that are not stored yet come after it.
        """
        account = self._by_id.get(change.account.id if isinstance(change, SaveAccount) else change.id)
        if isinstance(change, SaveAccount):
            self._replace(account or Account(change.account), change.account)
        elif account is None:
            return
        elif isinstance(change, ChangeAccount):
            self._replace(account, replace(account.record, **change.values))
        else:
            self._forget(account)
            account.record = replace(account.record, role="")  # a session may still have the account

    def _check_subject(self, subject: tuple[str, str]) -> None:
        if subject != _NO_SUBJECT and subject in self._by_subject:
            raise RejectedError(_IDENTITY_TAKEN)

    def _free_subject(self, subject: tuple[str, str]) -> None:
        """End the reservation of *subject*, unless an account of another node has it by now."""
        if self._by_subject.get(subject, subject) is None:
            del self._by_subject[subject]

    def _check_exists(self, account: Account) -> None:
        if account.id not in self._by_id:
            raise NameRejected(f"{account.name} is not registered any more.")

    def _reserve(self, name: str) -> str:
        key = casefold_key(name)
        if key in self._by_key or key in self._reserved:
            raise NameRejected(f"{name} is registered already.")
        self._reserved.add(key)
        return key

    def _replace(self, account: Account, record: AccountRecord) -> None:
        """Give *account* the values *record*, which are stored."""
        self._forget(account)
        account.record = record
        self._insert(account)

    def _forget(self, account: Account) -> None:
        """Remove *account* from the indexes, unless another one has its nickname or its identity by now."""
        self._by_id.pop(account.id, None)
        if self._by_key.get(casefold_key(account.name)) is account:
            del self._by_key[casefold_key(account.name)]
        if self._by_subject.get(_subject_key(account.record)) is account:
            del self._by_subject[_subject_key(account.record)]

    def _insert(self, account: Account) -> None:
        self._by_id[account.id] = account
        self._by_key[casefold_key(account.name)] = account
        if account.record.subject:
            self._by_subject[_subject_key(account.record)] = account


_NO_SUBJECT: Final = ("", "")
"""The key of the accounts without an identity. The index may hold it, but it means nothing."""


def _subject_key(record: AccountRecord) -> tuple[str, str]:
    return record.issuer, record.subject


_IDENTITY_TAKEN: Final = "this identity belongs to another account."


def _rejection(error: JournalError, name: str) -> RejectedError:
    """Return the reason why a change of the account that has, or gets, the nickname *name* was not stored."""
    if not isinstance(error, AccountConflict):
        return NotStored(error)
    match error.why:
        case "name":
            return NameRejected(f"{name} is registered already.")
        case "identity":
            return RejectedError(_IDENTITY_TAKEN)
        case "gone":
            return NameRejected(f"{name} is not registered any more.")
        case _:
            return AccountChanged()


class Authenticator:
    """The checks of passwords, and the requests that need one. The seconds of *now* are monotonic.

    *wall_clock* returns the time of day in seconds since the epoch. *make_secret* returns 256 random bits as text, and
    other ones each time. *mode* is one of ``ACCOUNT_MODES``. Each request raises ``RejectedError`` if it is rejected at
    once. Otherwise it calls back later.
    """

    def __init__(
        self,
        accounts: Accounts,
        hasher: PasswordHasher,
        now: Callable[[], float],
        wall_clock: Callable[[], float],
        make_secret: Callable[[], str],
        mode: str = "open",
    ) -> None:
        self.accounts = accounts
        self._hasher = hasher
        self._now = now
        self._wall_clock = wall_clock
        self._make_secret = make_secret
        self._mode = mode
        self._tries = TryLimiter()
        self._registrations = RegistrationLimiter()
        self._codes = CodeLimiter()
        self.provider: IdentityProvider | None = None
        """The OpenID Connect provider, if there is one."""
        self.one_time = OneTimeLogins(now, make_secret)
        """The logins of pages whose users have come back from the provider."""

    @property
    def time_of_day(self) -> float:
        """The time of day, in seconds since the epoch."""
        return self._wall_clock()

    @property
    def is_open(self) -> bool:
        """Whether people can register."""
        return self._mode == "open"

    @property
    def is_required(self) -> bool:
        """Whether only people with an account may enter."""
        return self._mode == "required"

    def reject_if_busy(self) -> None:
        """Raise ``Busy`` if many passwords wait.

        A door for programs calls this before a request, because a program can send its password again. People would
        have to type theirs again, so they wait. They read *busy* only if no more passwords can wait.
        """
        if self._hasher.is_busy:
            raise Busy

    def login(self, name: str, password: Password, source: Source, on_result: OnAccount) -> None:
        """Find the account with the nickname *name* and this *password*."""
        account = self.accounts.find(name)
        stored = None if account is None else account.record.password_hash
        attempt = self._tries.begin(None if account is None else account.id, source.address, self._now())
        try:
            self._hasher.verify(stored, password, partial(self._verified, attempt, account, stored, on_result))
        except RejectedError:
            attempt.cancel()
            raise

    def _verified(
        self,
        attempt: Try,
        account: Account | None,
        stored: str | None,
        on_result: OnAccount,
        is_right: bool | None,
        new_hash: str | None,
    ) -> None:
        if is_right is None:
            attempt.cancel()
            on_result(Busy())
        elif account is None or not is_right or not self._is_current(account, stored):
            attempt.fail(self._now())
            on_result(WrongPassword())
        else:
            attempt.succeed()
            self.accounts.change(account, last_used=self._wall_clock())
            if new_hash:
                self.accounts.change(account, expected={"password_hash": stored}, password_hash=new_hash)
            on_result(account)

    def remember(self, account: Account, on_secret: OnSecret) -> None:
        """Make a secret with which its owner can log in to *account* for ``LOGIN_SECONDS``. A new password voids it."""
        secret = self._make_secret()

        def stored(error: RejectedError | None) -> None:
            on_secret(secret if error is None else error)

        self._change_logins(account, partial(add_login, secret=secret, now=self._wall_clock()), stored)

    def login_remembered(self, name: str, secret: str) -> Account:
        """Return the account with the nickname *name* and this *secret* of ``remember``. Raises ``WrongPassword``."""
        account = self.accounts.find(name)
        if account is None or not is_login(account.queued.logins, secret, self._wall_clock()):
            raise WrongPassword
        self.accounts.change(account, last_used=self._wall_clock())
        return account

    def forget(self, name: str, secret: str, on_done: OnChanged = _ignore) -> None:
        """Void the *secret* of ``remember`` for the account with the nickname *name*, unless it is void already."""
        account = self.accounts.find(name)
        if account is None or not is_login(account.queued.logins, secret, self._wall_clock()):
            on_done(None)
        else:
            self._change_logins(account, partial(remove_login, secret=secret), on_done)

    def _change_logins(
        self, account: Account, change: Callable[[str], str], on_changed: OnChanged = _ignore, tries: int = 5
    ) -> None:
        """Give *account* the logins that *change* makes of the present ones.

        If another node has changed them at the same time, try again: it may have added a login, or voided all of them.
        """
        before = account.queued.logins

        def stored(error: RejectedError | None) -> None:
            if isinstance(error, AccountChanged) and tries > 1:
                try:
                    self._change_logins(account, change, on_changed, tries - 1)
                except RejectedError as rejection:
                    on_changed(rejection)
            else:
                on_changed(error)

        self.accounts.change(account, stored, {"logins": before}, logins=change(before))

    def _is_current(self, account: Account, stored: str | None) -> bool:
        """Return whether *account* still exists and has the password hash *stored*, also in changes under way."""
        return self.accounts.get(account.id) is account and account.queued.password_hash == stored

    def register(self, name: str, password: Password, source: Source, on_result: OnAccount) -> None:
        """Make an account with the nickname *name*, which the caller has validated."""
        if not self.is_open:
            raise RegistrationClosed
        if self.accounts.find(name) is not None:
            raise NameRejected(f"{name} is registered already.")
        counted = self._now()
        self._registrations.count(source.address, counted)

        def finish(result: Account | RejectedError) -> None:
            if isinstance(result, RejectedError):
                self._registrations.uncount(source.address, counted)
            on_result(result)

        try:
            self._hasher.hash(password, partial(self._add, name, finish))
        except RejectedError:
            self._registrations.uncount(source.address, counted)
            raise

    def create(self, name: str, password: Password, on_result: OnAccount) -> None:
        """Make an account as ``register`` does, whatever the mode and the limits. Only an administrator may do this."""
        if self.accounts.find(name) is not None:
            raise NameRejected(f"{name} is registered already.")
        self._hasher.hash(password, partial(self._add, name, on_result))

    def _add(self, name: str, on_result: OnAccount, password_hash: str | None) -> None:
        if password_hash is None:
            on_result(Busy())
            return
        at = self._wall_clock()
        try:
            self.accounts.add(AccountRecord(0, name, password_hash, created=at, last_used=at), on_result)
        except RejectedError as error:
            on_result(error)

    def check_code(self, source: Source) -> IdentityProvider:
        """Count a login from *source*, and return the OpenID Connect provider. Raises ``RejectedError``."""
        if self.provider is None:
            raise NotPermitted("this server knows no OpenID Connect provider.")
        self._codes.count(source.address, self._now())
        return self.provider

    def add_identity(self, name: str, identity: Identity, on_result: OnAccount) -> None:
        """Make an account with the nickname *name*, which the caller has validated, for a person with *identity*.

        It counts toward the new accounts of the day, but not toward those of an address, because the provider vouches
        for the person. Raises ``RejectedError``.
        """
        counted = self._now()
        self._registrations.count(None, counted)

        def finish(result: Account | RejectedError) -> None:
            if isinstance(result, RejectedError):
                self._registrations.uncount(None, counted)
            on_result(result)

        at = self._wall_clock()
        record = AccountRecord(0, name, created=at, last_used=at, issuer=identity.issuer, subject=identity.subject)
        try:
            self.accounts.add(record, finish)
        except RejectedError:
            self._registrations.uncount(None, counted)
            raise

    def set_password(
        self, account: Account, old: Password, new: Password, source: Source, on_result: OnAccount
    ) -> None:
        """Give *account*, whose password is *old*, the password *new*."""

        def checked(result: Account | RejectedError) -> None:
            if isinstance(result, RejectedError):
                on_result(result)
            else:
                self.replace_password(result, new, on_result)

        self.login(account.name, old, source, checked)

    def replace_password(self, account: Account, new: Password, on_result: OnAccount) -> None:
        """Give *account* the password *new*, whatever it had before. Only an administrator may do this."""

        def hashed(password_hash: str | None) -> None:
            if password_hash is None:
                on_result(Busy())
                return

            def stored(error: RejectedError | None) -> None:
                on_result(account if error is None else error)

            self.accounts.change(account, stored, password_hash=password_hash, logins="")

        try:
            self._hasher.hash(new, hashed)
        except RejectedError as error:
            on_result(error)

    def drop(self, account: Account, password: Password, source: Source, on_result: OnAccount) -> None:
        """Delete *account*, whose password is *password*."""

        def checked(result: Account | RejectedError) -> None:
            if isinstance(result, RejectedError):
                on_result(result)
            else:
                self.accounts.remove(account, lambda error: on_result(account if error is None else error))

        self.login(account.name, password, source, checked)
