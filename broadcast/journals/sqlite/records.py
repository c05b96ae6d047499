"""The records of an SQLite journal: accounts, bans, the audit trail, and private lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from broadcast.core.errors import JournalError
from broadcast.core.interfaces import AuditCallback, PrivateLinesCallback, Records
from broadcast.core.records import AddPrivate, RecordChange, StoredRecords
from broadcast.core.search_query import SearchQuery
from broadcast.core.time_slice import CallSoon
from broadcast.journals.batch_queue import RecordWrite
from broadcast.journals.commit_queue import changes_problem
from broadcast.journals.query_thread import Kind, Query
from broadcast.journals.sqlite.record_tables import (
    PrivateSearch,
    read_audit,
    read_inbox,
    read_private,
    read_records,
    read_waiting,
)

T = TypeVar("T")


class WriteQueue(Protocol):
    """The queue to a journal's commit thread."""

    def schedule_write(self, write: RecordWrite) -> None:
        """Pass *write* to the commit thread at the end of this turn, or earlier."""


class Threads(Protocol):
    """The way to the threads of a journal that read."""

    def submit(self, kind: Kind, query: Query[sqlite3.Connection], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error."""

    def query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of *query*, on this thread. Raises ``JournalError``."""


class SqliteRecords:
    """The records of a journal with *threads* and *queue*."""

    def __init__(self, threads: Threads, queue: WriteQueue, call_soon: CallSoon) -> None:
        self._threads = threads
        self._queue = queue
        self._call_soon = call_soon
        self._next_private = 1
        """Higher than the id of each private line that was reported as durable.

        Queries leave out the others. A line whose commit has failed can be in the file until the next commit.
        """
        self._closed = False

    def close(self) -> None:
        """Stop calling back for writes."""
        self._closed = True

    def load(self) -> StoredRecords:
        """Return the records that the core keeps in memory."""
        stored = self._threads.query(read_records)
        self._next_private = stored.next_private
        return stored

    def write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        """Pass *changes* to the commit thread."""

        def report(error: JournalError | None) -> None:
            self._call_soon(partial(self._report, changes, on_done, error))

        if problem := changes_problem(changes):
            report(JournalError(problem))
        else:
            self._queue.schedule_write(RecordWrite(changes, report))

    def _report(
        self,
        changes: Sequence[RecordChange],
        on_done: Callable[[JournalError | None], None],
        error: JournalError | None,
    ) -> None:
        if self._closed:
            return
        if error is None:
            ids = [change.line.id for change in changes if isinstance(change, AddPrivate)]
            self._next_private = max(self._next_private, max(ids, default=0) + 1)
        on_done(error)

    def read_private(
        self, account: int, other: int | None, before: int | None, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Read the newest *limit* lines to and from *account*."""
        before = self._next_private if before is None else min(before, self._next_private)
        query = partial(read_private, account=account, other=other, before=before, limit=limit)
        self._threads.submit(Kind.READ, query, on_result)

    def read_inbox(self, account: int, limit: int, on_result: PrivateLinesCallback) -> None:
        """Read the newest *limit* lines to *account* that were delivered."""
        query = partial(read_inbox, account=account, before=self._next_private, limit=limit)
        self._threads.submit(Kind.READ, query, on_result)

    def read_waiting(self, account: int, on_result: PrivateLinesCallback) -> None:
        """Read all lines that wait for *account*."""
        query = partial(read_waiting, account=account, before=self._next_private)
        self._threads.submit(Kind.READ, query, on_result)

    def search_private(
        self, account: int, other: int | None, query: SearchQuery, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Search the lines to and from *account*, some at a time. There is no index."""
        self._threads.submit(Kind.SEARCH, PrivateSearch(query, account, other, self._next_private, limit), on_result)

    def read_audit(self, limit: int, on_result: AuditCallback) -> None:
        """Read the newest *limit* entries of the audit trail."""
        self._threads.submit(Kind.READ, partial(read_audit, limit=limit), on_result)


_conforms: type[Records] = SqliteRecords
