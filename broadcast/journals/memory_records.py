"""The records of the journal in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from broadcast.core.errors import JournalError
from broadcast.core.interfaces import AuditCallback, PrivateLinesCallback, Records
from broadcast.core.records import (
    AccountRecord,
    AddAudit,
    AddPrivate,
    AuditEntry,
    Ban,
    ChangeAccount,
    DeleteAccount,
    DeleteBan,
    MarkDelivered,
    PrivateLine,
    RecordChange,
    SaveAccount,
    SaveBan,
    StoredRecords,
)
from broadcast.core.search_query import SearchQuery
from broadcast.core.time_slice import CallSoon
from broadcast.journals.commit_queue import changes_problem
from broadcast.journals.full_text import matching


class MemoryRecords:
    """Records without durability. It holds the *limit* most recent private lines and audit entries.

    *add_step* runs a step of a query in a later turn.
    """

    def __init__(self, call_soon: CallSoon, add_step: Callable[[Callable[[], None]], None], limit: int) -> None:
        self._call_soon = call_soon
        self._add_step = add_step
        self._limit = limit
        self._accounts: dict[int, AccountRecord] = {}
        self._bans: dict[int, Ban] = {}
        self._private: dict[int, PrivateLine] = {}
        """The private lines by their ids, ascending."""
        self._audit: deque[AuditEntry] = deque(maxlen=limit)
        self._last_account = 0
        self._last_ban = 0
        self._last_private = 0
        self._closed = False

    def close(self) -> None:
        """Stop calling back for writes."""
        self._closed = True

    def load(self) -> StoredRecords:
        """Return the records that the core keeps in memory."""
        waiting: dict[int, dict[int, int]] = {}
        for line in self._private.values():
            if not line.delivered:
                waiting.setdefault(line.recipient_account, {})[line.id] = line.sender_account
        return StoredRecords(
            [*self._accounts.values()],
            [*self._bans.values()],
            self._last_account + 1,
            self._last_ban + 1,
            self._last_private + 1,
            waiting,
        )

    def write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        """Make *changes*, and call *on_done* in a later turn."""
        problem = changes_problem(changes)
        if not problem:
            for change in changes:
                self._make(change)
        self._call_soon(partial(self._report, JournalError(problem) if problem else None, on_done))

    def _report(self, error: JournalError | None, on_done: Callable[[JournalError | None], None]) -> None:
        if not self._closed:
            on_done(error)

    def _make(self, change: RecordChange) -> None:
        match change:
            case SaveAccount(account):
                self._accounts[account.id] = account
                self._last_account = max(self._last_account, account.id)
            case ChangeAccount(number, values):
                self._change_account(number, values)
            case DeleteAccount(number):
                self._accounts.pop(number, None)
                self._private = {
                    line.id: replace(line, sender_account=0) if line.sender_account == number else line
                    for line in self._private.values()
                    if line.recipient_account != number
                }
            case SaveBan(ban):
                self._bans[ban.id] = ban
                self._last_ban = max(self._last_ban, ban.id)
            case DeleteBan(number):
                self._bans.pop(number, None)
            case AddAudit(entry):
                self._audit.append(entry)
            case AddPrivate(line):
                self._private[line.id] = line
                self._last_private = line.id
                if len(self._private) > self._limit:
                    del self._private[next(iter(self._private))]
            case MarkDelivered(account, ids):
                self._mark_delivered(account, ids)

    def _change_account(self, number: int, values: Mapping[str, Any]) -> None:
        if number in self._accounts:
            self._accounts[number] = replace(self._accounts[number], **values)

    def _mark_delivered(self, account: int, ids: Sequence[int]) -> None:
        for line in filter(None, map(self._private.get, ids)):
            if line.recipient_account == account:
                self._private[line.id] = replace(line, delivered=True)

    def read_private(
        self, account: int, other: int | None, before: int | None, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Read the newest *limit* lines to and from *account*."""

        def is_wanted(line: PrivateLine) -> bool:
            return _is_among(line, account, other) and (before is None or line.id < before)

        self._add_step(lambda: on_result(self._newest(is_wanted, limit)))

    def read_inbox(self, account: int, limit: int, on_result: PrivateLinesCallback) -> None:
        """Read the newest *limit* lines to *account* that were delivered."""

        def is_wanted(line: PrivateLine) -> bool:
            return line.recipient_account == account and line.delivered

        self._add_step(lambda: on_result(self._newest(is_wanted, limit)))

    def read_waiting(self, account: int, on_result: PrivateLinesCallback) -> None:
        """Read all lines that wait for *account*."""

        def is_wanted(line: PrivateLine) -> bool:
            return line.recipient_account == account and not line.delivered

        self._add_step(lambda: on_result(self._newest(is_wanted, len(self._private))))

    def search_private(
        self, account: int, other: int | None, query: SearchQuery, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Search the lines to and from *account* in one step."""
        self._add_step(lambda: on_result(self._search(account, other, query, limit)))

    def read_audit(self, limit: int, on_result: AuditCallback) -> None:
        """Read the newest *limit* entries of the audit trail."""
        self._add_step(lambda: on_result([*islice(reversed(self._audit), limit)][::-1]))

    def _newest(self, is_wanted: Callable[[PrivateLine], bool], limit: int) -> list[PrivateLine]:
        """Return the newest *limit* lines for which *is_wanted* returns True, in ascending order."""
        return [*islice(filter(is_wanted, reversed(self._private.values())), limit)][::-1]

    def _search(
        self, account: int, other: int | None, query: SearchQuery, limit: int
    ) -> list[PrivateLine] | JournalError:
        own = (line for line in self._private.values() if _is_among(line, account, other))
        try:
            found = matching(query, ((line.id, line.text) for line in own), limit)
        except JournalError as error:
            return error
        return [self._private[number] for number in reversed(found)]


def _is_among(line: PrivateLine, account: int, other: int | None) -> bool:
    """Return whether *line* is to or from *account*; if *other* is given, whether it is between the two."""
    pair = line.sender_account, line.recipient_account
    return account in pair if other is None else pair in ((account, other), (other, account))


_conforms: type[Records] = MemoryRecords
