"""The records of a journal in PostgreSQL: accounts, bans, the audit trail, and private lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import psycopg

from broadcast.core.errors import JournalError
from broadcast.core.interfaces import AuditCallback, PrivateLinesCallback, Records
from broadcast.core.nicknames import casefold_key
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
from broadcast.journals.batch_queue import RecordWrite
from broadcast.journals.commit_queue import changes_problem
from broadcast.journals.full_text import matching
from broadcast.journals.postgres.database import Connection, from_text, to_text
from broadcast.journals.query_thread import Kind, Query

CHANGE_RECORDS = "SELECT change_records(%s, %s, %s, %s::jsonb)"
"""The call that makes changes. Its parameters: node, epoch, batch, and the result of ``encode_writes``."""
ID_STEP = 256
"""Distance between the ids that one node gives, and so one more than the maximum number of nodes."""
SEARCH_ROWS = 2048
"""Maximum number of private lines to search in one call, which takes about 10 ms."""
MAX_ID = 2**63 - 1

T = TypeVar("T")
R = TypeVar("R")

_TABLES: dict[type[Any], str] = {
    AccountRecord: "accounts",
    Ban: "bans",
    AuditEntry: "audit",
    PrivateLine: "private_lines",
}
"""The table of each kind of record. Its columns are the record's fields; that of an ``AuditEntry`` also has an id."""
_COLUMNS = {kind: ", ".join(f'"{field.name}"' for field in fields(kind)) for kind in _TABLES}


def encode_writes(writes: Iterable[Sequence[RecordChange]]) -> str:
    """Return *writes* as JSON for the function ``change_records``."""
    return msgspec.json.encode([[_encode(change) for change in changes] for changes in writes]).decode()


def _encode(change: RecordChange) -> tuple[str, dict[str, object]]:
    match change:
        case SaveAccount(record):
            return "accounts", _with_key(_values_of(record))
        case SaveBan(record) | AddAudit(record) | AddPrivate(record):
            return _TABLES[type(record)], _values_of(record)
        case ChangeAccount(number, values, expected):
            return "change_account", {"id": number, "values": _with_key(_texts(values)), "expected": _texts(expected)}
        case DeleteBan():
            return "delete_ban", _values_of(change)
        case MarkDelivered():
            return "mark_delivered", _values_of(change)
        case DeleteAccount():
            return "delete_account", _values_of(change)


def _values_of(item: Any) -> dict[str, object]:  # noqa: ANN401 - any dataclass
    """Return the fields of *item*, with texts as the database stores them."""
    return _texts({field.name: getattr(item, field.name) for field in fields(item)})


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_text(value) if isinstance(value, str) else value for name, value in values.items()}


def _with_key(account: dict[str, Any]) -> dict[str, Any]:
    """Add the folded nickname to the values of an account, if they have a name."""
    return {**account, "key": to_text(casefold_key(from_text(account["name"])))} if "name" in account else account


def decode_changes(changes: Iterable[tuple[str, dict[str, Any]]]) -> list[RecordChange]:
    """Return the changes that the database has stored as *changes*."""
    return [_decode(kind, item) for kind, item in changes]


def _decode(kind: str, item: dict[str, Any]) -> RecordChange:
    match kind:
        case "accounts":
            change: RecordChange = SaveAccount(AccountRecord(**_from_texts(item)))
        case "change_account":
            change = ChangeAccount(item["id"], _from_texts(item["values"]))
        case "bans":
            change = SaveBan(Ban(**_from_texts(item)))
        case "private_lines":
            change = AddPrivate(PrivateLine(**_from_texts(item)))
        case "mark_delivered":
            change = MarkDelivered(**item)
        case "delete_ban":
            change = DeleteBan(**item)
        case _:
            change = DeleteAccount(**item)
    return change


def _from_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    items = ((name, value) for name, value in values.items() if name != "key")
    return {name: from_text(value) if isinstance(value, str) else value for name, value in items}


def select_records(
    db: psycopg.Connection[Any], kind: type[R], rest: str, values: Sequence[int] | dict[str, int] = ()
) -> list[R]:
    """Return the records of *kind* that a SELECT with the clauses *rest* finds."""
    query = f"SELECT {_COLUMNS[kind]} FROM {_TABLES[kind]} {rest}"  # noqa: S608 - constants
    rows = db.execute(query.encode(), values).fetchall()
    return [kind(*(from_text(value) if isinstance(value, str) else value for value in row)) for row in rows]


def read_records_of_server(db: psycopg.Connection[Any], node: str) -> tuple[StoredRecords, int]:
    """Return the records with ids that only the node *node* gives, and the number of the last changes in them.

    A program without a lease gives ids that no node gives. Raises ``JournalError`` if there are too many nodes.
    """
    query = "SELECT CASE WHEN EXISTS (SELECT FROM leases WHERE node = %s) THEN take_number(%s) ELSE 0 END"
    row = db.execute(query, (to_text(node), to_text(node))).fetchone()
    assert row is not None
    if row[0] is None:
        msg = f"{ID_STEP - 1} servers use the database already: stop one of them"
        raise JournalError(msg)
    stored, changes = _read_records(db)
    account, ban, private = (
        number + (row[0] - number) % ID_STEP for number in (stored.next_account, stored.next_ban, stored.next_private)
    )
    return replace(stored, next_account=account, next_ban=ban, next_private=private, step=ID_STEP), changes


def read_records(db: psycopg.Connection[Any]) -> StoredRecords:
    """Return the records that the core keeps in memory, as they are at one moment."""
    return _read_records(db)[0]


def _read_records(db: psycopg.Connection[Any]) -> tuple[StoredRecords, int]:
    """Return the records, and the number of the last changes in them."""
    db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    last: dict[str, int] = dict(db.execute("SELECT kind, id FROM last_ids").fetchall())
    waiting: dict[int, dict[int, int]] = {}
    lines = "SELECT recipient_account, id, sender_account FROM private_lines WHERE NOT delivered ORDER BY id"
    for recipient, number, sender in db.execute(lines):
        waiting.setdefault(recipient, {})[number] = sender
    stored = StoredRecords(
        select_records(db, AccountRecord, "ORDER BY id"),
        select_records(db, Ban, "ORDER BY id"),
        last.get("accounts", 0) + 1,
        last.get("bans", 0) + 1,
        last.get("private_lines", 0) + 1,
        waiting,
    )
    db.execute("COMMIT")  # after an error, closing the connection ends the transaction
    return stored, last.get("changes", 0)


def read_private(
    db: psycopg.Connection[Any], account: int, other: int | None, before: int, limit: int
) -> list[PrivateLine]:
    """Return the newest *limit* lines with ids below *before* to and from *account*, in ascending order.

    If *other* is given, the lines are those between these two accounts.
    """
    values = {"account": account, "before": min(before, MAX_ID), "limit": limit}
    if other is None:
        parts = ["sender_account = %(account)s", "recipient_account = %(account)s"]
    else:
        values["other"] = other
        parts = [
            "sender_account = %(account)s AND recipient_account = %(other)s",
            "sender_account = %(other)s AND recipient_account = %(account)s",
        ]
    found: dict[int, PrivateLine] = {}
    for where in parts:  # one SELECT with OR would sort all lines of the account
        rest = f"WHERE {where} AND id < %(before)s ORDER BY id DESC LIMIT %(limit)s"
        found |= {line.id: line for line in select_records(db, PrivateLine, rest, values)}
    return [found[number] for number in sorted(found)[-limit:]] if limit else []


def read_inbox(db: psycopg.Connection[Any], account: int, limit: int) -> list[PrivateLine]:
    """Return the newest *limit* delivered lines to *account*, in ascending order."""
    rest = "WHERE recipient_account = %s AND delivered ORDER BY id DESC LIMIT %s"
    return select_records(db, PrivateLine, rest, (account, limit))[::-1]


def read_waiting(db: psycopg.Connection[Any], account: int) -> list[PrivateLine]:
    """Return the lines that wait for *account*, in ascending order."""
    return select_records(db, PrivateLine, "WHERE recipient_account = %s AND NOT delivered ORDER BY id", (account,))


def read_audit(db: psycopg.Connection[Any], limit: int) -> list[AuditEntry]:
    """Return the newest *limit* entries, in ascending order."""
    return select_records(db, AuditEntry, "ORDER BY id DESC LIMIT %s", (limit,))[::-1]


class PrivateSearch:
    """A search for the newest *limit* lines to and from *account* that match *query*.

    If *other* is given, the lines are those between these two accounts.
    """

    def __init__(self, query: SearchQuery, account: int, other: int | None, limit: int) -> None:
        self._query = query
        self._account = account
        self._other = other
        self._before = MAX_ID
        self._limit = limit
        self._found: list[PrivateLine] = []

    def __call__(self, db: psycopg.Connection[Any]) -> list[PrivateLine] | None:
        """Search some more lines. Return all matches in ascending order, or None if lines are left to search."""
        lines = {line.id: line for line in read_private(db, self._account, self._other, self._before, SEARCH_ROWS)}
        texts = ((line.id, line.text) for line in lines.values())
        hits = matching(self._query, texts, self._limit - len(self._found))
        self._found[:0] = [lines[number] for number in reversed(hits)]
        if len(lines) < SEARCH_ROWS or len(self._found) == self._limit:
            return self._found
        self._before = min(lines)
        return None


class Queue(Protocol):
    """The way to the thread that writes."""

    def schedule_write(self, write: RecordWrite) -> None:
        """Pass *write* to the thread at the end of this turn, or earlier."""


class Queries(Protocol):
    """The way to the thread that reads."""

    def submit(self, kind: Kind, query: Query[Connection], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error."""

    def query(self, query: Callable[[Connection], T]) -> T:
        """Return the result of *query*, on this thread. Raises ``JournalError``."""


class PostgresRecords:
    """The records of a journal with *queries* and a *queue*, for the node *node*.

    *on_loaded* is called with the number of the last changes in the records that were loaded.
    """

    def __init__(
        self, queries: Queries, queue: Queue, call_soon: CallSoon, node: str, on_loaded: Callable[[int], None]
    ) -> None:
        self._queries = queries
        self._queue = queue
        self._call_soon = call_soon
        self._node = node
        self._on_loaded = on_loaded
        self._closed = False

    def close(self) -> None:
        """Stop calling back for writes."""
        self._closed = True

    def load(self) -> StoredRecords:
        """Return the records that the core keeps in memory."""
        stored, number = self._queries.query(partial(read_records_of_server, node=self._node))
        self._on_loaded(number)
        return stored

    def write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        """Pass *changes* to the commit thread."""

        def report(error: JournalError | None) -> None:
            self._call_soon(partial(self._report, on_done, error))

        if problem := changes_problem(changes):
            report(JournalError(problem))
        else:
            self._queue.schedule_write(RecordWrite(changes, report))

    def _report(self, on_done: Callable[[JournalError | None], None], error: JournalError | None) -> None:
        if not self._closed:
            on_done(error)

    def read_private(
        self, account: int, other: int | None, before: int | None, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Read the newest *limit* lines to and from *account*."""
        before = MAX_ID if before is None else before
        query = partial(read_private, account=account, other=other, before=before, limit=limit)
        self._queries.submit(Kind.READ, query, on_result)

    def read_inbox(self, account: int, limit: int, on_result: PrivateLinesCallback) -> None:
        """Read the newest *limit* lines to *account* that were delivered."""
        self._queries.submit(Kind.READ, partial(read_inbox, account=account, limit=limit), on_result)

    def read_waiting(self, account: int, on_result: PrivateLinesCallback) -> None:
        """Read all lines that wait for *account*."""
        self._queries.submit(Kind.READ, partial(read_waiting, account=account), on_result)

    def search_private(
        self, account: int, other: int | None, query: SearchQuery, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Search the lines to and from *account*, some at a time. There is no index."""
        self._queries.submit(Kind.SEARCH, PrivateSearch(query, account, other, limit), on_result)

    def read_audit(self, limit: int, on_result: AuditCallback) -> None:
        """Read the newest *limit* entries of the audit trail."""
        self._queries.submit(Kind.READ, partial(read_audit, limit=limit), on_result)


_conforms: type[Records] = PostgresRecords
