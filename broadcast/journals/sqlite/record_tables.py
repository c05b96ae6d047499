"""The tables of the records in an SQLite journal: changes to them, their undoing, and queries."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, fields, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from broadcast.core.errors import JournalDamaged
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
from broadcast.journals.full_text import matching

SEARCH_ROWS = 2048
"""Maximum number of private lines to search in one call, which takes about 10 ms."""

Record: TypeAlias = AccountRecord | Ban | AuditEntry | PrivateLine
R = TypeVar("R")

_TABLES: dict[type[Any], str] = {
    AccountRecord: "accounts",
    Ban: "bans",
    AuditEntry: "audit",
    PrivateLine: "private_lines",
}
"""The table of each kind of record. Its columns are the record's fields; that of an ``AuditEntry`` also has an id."""
_COLUMNS = {kind: ", ".join(f'"{field.name}"' for field in fields(kind)) for kind in _TABLES}
_TYPES: dict[type[Any], list[set[type]]] = {
    AccountRecord: [{int}, {str}, {str}, {str}, {float}, {float}, {str}, {str}, {str}],
    Ban: [{int}, {str}, {str}, {str}, {str}, {str}, {float}, {float, type(None)}],
    AuditEntry: [{float}, {str}, {str}, {str}, {str}],
    PrivateLine: [{int}, {float}, {int}, {str}, {int}, {str}, {str}, {int}, {str}, {str}],
}
"""The types of each column's values. In a row from a damaged file, the values may have other types."""


class Before(NamedTuple):
    """A row as it was before a change; None if there was no row with this id."""

    table: str
    id: int
    row: Sequence[Any] | None


def make_change(db: sqlite3.Connection, change: RecordChange) -> list[Before]:
    """Make *change* within a transaction, and return the rows that it replaces."""
    match change:
        case SaveAccount(record) | SaveBan(record) | AddPrivate(record):
            before = _rows_before(db, _TABLES[type(record)], "id = ?", record.id)
            _insert(db, record)
            return before or [Before(_TABLES[type(record)], record.id, None)]
        case ChangeAccount(number, values):
            before = _rows_before(db, "accounts", "id = ?", number)
            columns = ", ".join(f"{name} = ?" for name in values)
            db.execute(f"UPDATE accounts SET {columns} WHERE id = ?", (*values.values(), number))  # noqa: S608 - fields
            return before
        case AddAudit(entry):
            return [Before("audit", _insert(db, entry), None)]
        case DeleteBan(number):
            before = _rows_before(db, "bans", "id = ?", number)
            db.execute("DELETE FROM bans WHERE id = ?", (number,))
            return before
        case MarkDelivered(account, ids):
            where = f"recipient_account = ? AND delivered = 0 AND id IN ({_marks(ids)})"
            before = _rows_before(db, "private_lines", where, account, *ids)
            db.execute(f"UPDATE private_lines SET delivered = 1 WHERE {where}", (account, *ids))  # noqa: S608 - marks
            return before
        case DeleteAccount(number):
            before = _rows_before(db, "accounts", "id = ?", number)
            before += _rows_before(db, "private_lines", "recipient_account = ? OR sender_account = ?", number, number)
            db.execute("DELETE FROM accounts WHERE id = ?", (number,))
            db.execute("DELETE FROM private_lines WHERE recipient_account = ?", (number,))
            db.execute("UPDATE private_lines SET sender_account = 0 WHERE sender_account = ?", (number,))
            return before


def restore(db: sqlite3.Connection, changed: Sequence[Before]) -> None:
    """Within a transaction, undo the changes that replaced the rows *changed*, in this order."""
    for table, number, row in reversed(changed):
        if row is None:
            db.execute(f"DELETE FROM {table} WHERE id = ?", (number,))  # noqa: S608 - a constant name
        else:
            db.execute(f"REPLACE INTO {table} VALUES ({_marks(row)})", row)  # noqa: S608 - a constant name


def _rows_before(db: sqlite3.Connection, table: str, where: str, *values: int) -> list[Before]:
    rows = db.execute(f"SELECT id, * FROM {table} WHERE {where}", values).fetchall()  # noqa: S608 - constants
    return [Before(table, number, row) for number, *row in rows]


def _insert(db: sqlite3.Connection, record: Record) -> int:
    """Insert *record* in the place of the one with its id, if any, and return the id."""
    kind, values = type(record), astuple(record)
    statement = f"REPLACE INTO {_TABLES[kind]} ({_COLUMNS[kind]}) VALUES ({_marks(values)})"  # noqa: S608 - constants
    return int(db.execute(statement, values).lastrowid or 0)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def read_records(db: sqlite3.Connection) -> StoredRecords:
    """Return the records that the core keeps in memory. Raises ``sqlite3.Error`` or ``JournalDamaged``."""
    last: dict[str, int] = dict(db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    waiting: dict[int, dict[int, int]] = {}
    lines = "SELECT recipient_account, id, sender_account FROM private_lines WHERE delivered = 0 ORDER BY id"
    for recipient, number, sender in db.execute(lines):
        waiting.setdefault(recipient, {})[number] = sender
    return StoredRecords(
        select_records(db, AccountRecord, "ORDER BY id"),
        select_records(db, Ban, "ORDER BY id"),
        last.get("accounts", 0) + 1,
        last.get("bans", 0) + 1,
        last.get("private_lines", 0) + 1,
        waiting,
    )


def select_records(db: sqlite3.Connection, kind: type[R], rest: str, values: Sequence[int] = ()) -> list[R]:
    """Return the records of *kind* that a SELECT with the clauses *rest* finds. Raises ``JournalDamaged``."""
    rows = db.execute(f"SELECT {_COLUMNS[kind]} FROM {_TABLES[kind]} {rest}", values).fetchall()  # noqa: S608 - constants
    for row in rows:
        if any(type(value) not in types for value, types in zip(row, _TYPES[kind], strict=True)):
            msg = f"the journal's table {_TABLES[kind]} cannot be read: its row {row[0]!r} has a value of another type"
            raise JournalDamaged(msg)
    return [kind(*row) for row in rows]


def _select_private(db: sqlite3.Connection, rest: str, values: Sequence[int]) -> list[PrivateLine]:
    return [replace(line, delivered=bool(line.delivered)) for line in select_records(db, PrivateLine, rest, values)]


def read_private(db: sqlite3.Connection, account: int, other: int | None, before: int, limit: int) -> list[PrivateLine]:
    """Return the newest *limit* lines with ids below *before* to and from *account*, in ascending order.

    If *other* is given, the lines are those between these two accounts.
    """
    if other is None:
        parts = [("sender_account = ?", [account]), ("recipient_account = ?", [account])]
    else:
        pair = "sender_account = ? AND recipient_account = ?"
        parts = [(pair, [account, other]), (pair, [other, account])]
    found: dict[int, PrivateLine] = {}
    for where, values in parts:  # one SELECT with OR would sort all lines of the account
        rest = f"WHERE {where} AND id < ? ORDER BY id DESC LIMIT ?"
        found |= {line.id: line for line in _select_private(db, rest, (*values, before, limit))}
    return [found[number] for number in sorted(found)[-limit:]]


def read_inbox(db: sqlite3.Connection, account: int, before: int, limit: int) -> list[PrivateLine]:
    """Return the newest *limit* delivered lines with ids below *before* to *account*, in ascending order."""
    rest = "WHERE recipient_account = ? AND delivered = 1 AND id < ? ORDER BY id DESC LIMIT ?"
    return _select_private(db, rest, (account, before, limit))[::-1]


def read_waiting(db: sqlite3.Connection, account: int, before: int) -> list[PrivateLine]:
    """Return the lines with ids below *before* that wait for *account*, in ascending order."""
    rest = "WHERE recipient_account = ? AND delivered = 0 AND id < ? ORDER BY id"
    return _select_private(db, rest, (account, before))


def read_audit(db: sqlite3.Connection, limit: int) -> list[AuditEntry]:
    """Return the newest *limit* entries, in ascending order."""
    return select_records(db, AuditEntry, "ORDER BY id DESC LIMIT ?", (limit,))[::-1]


class PrivateSearch:
    """A search for the newest *limit* lines with ids below *before*, to and from *account*, that match *query*.

    If *other* is given, the lines are those between these two accounts.
    """

    def __init__(self, query: SearchQuery, account: int, other: int | None, before: int, limit: int) -> None:
        self._query = query
        self._account = account
        self._other = other
        self._before = before
        self._limit = limit
        self._found: list[PrivateLine] = []

    def __call__(self, db: sqlite3.Connection) -> list[PrivateLine] | None:
        """Search some more lines. Return all matches in ascending order, or None if lines are left to search."""
        lines = {line.id: line for line in read_private(db, self._account, self._other, self._before, SEARCH_ROWS)}
        texts = ((line.id, line.text) for line in lines.values())
        hits = matching(self._query, texts, self._limit - len(self._found))
        self._found[:0] = [lines[number] for number in reversed(hits)]
        if len(lines) < SEARCH_ROWS or len(self._found) == self._limit:
            return self._found
        self._before = min(lines)
        return None
