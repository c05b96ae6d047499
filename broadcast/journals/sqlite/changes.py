"""The changes of one commit to an SQLite journal, and their undoing after a failure."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

from broadcast.core.errors import JournalDamaged
from broadcast.core.records import RecordChange
from broadcast.journals.sqlite.database import COLUMNS, FileRow, Row, add_room
from broadcast.journals.sqlite.record_tables import Before, make_change, restore
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS, RoomRecord, key

COLUMN_COUNT = 7
"""Number of values in a row."""


@dataclass(slots=True)
class Changes:
    """The changes of one commit."""

    rows: list[Row] = field(default_factory=list)
    files: list[FileRow] = field(default_factory=list)
    """The files of those rows that share one."""
    lasts: dict[RoomRecord, int] = field(default_factory=dict)
    """The number of the last row of each room that has rows."""
    topics: dict[RoomRecord, str] = field(default_factory=dict)
    """The new topic of each room whose topic was changed."""
    new_rooms: dict[RoomRecord, int] = field(default_factory=dict)
    """The rooms that are not in the file yet, with their new ids."""
    rejected: int = 0
    """Number of events that cannot be stored. They have no row."""
    last_room: str = ""
    """Name of the room of the last row."""
    records: list[RecordChange] = field(default_factory=list)
    replaced: list[Before] = field(default_factory=list)
    """The rows that ``records`` have replaced, in this order."""

    def has_room(self, name: str) -> bool:
        """Return whether there is a change of the room *name*."""
        return any(room.name == name for room in (*self.lasts, *self.topics, *self.new_rooms))

    def execute(self, db: sqlite3.Connection, max_rows: int) -> None:
        """Make the changes in one transaction. *max_rows* is the maximum number of rows in one statement."""
        if not (self.topics or self.new_rooms or self.records or self.files):
            self._insert(db, max_rows)
            return
        db.execute("BEGIN IMMEDIATE")
        for room, number in self.new_rooms.items():
            add_room(db, number, room.name)
        for room, topic in self.topics.items():
            values = (topic, self.new_rooms.get(room, room.id))
            db.execute("UPDATE rooms SET topic = ? WHERE id = ?", values)
        if self.rows:
            self._insert(db, max_rows)
        for file in self.files:
            db.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", file)
        for change in self.records:
            self.replaced += make_change(db, change)
        db.execute("COMMIT")  # after an error, closing the connection rolls back

    def _insert(self, db: sqlite3.Connection, max_rows: int) -> None:
        # One statement is one transaction and one release of the GIL. With one call per row, this thread waits up to
        # 5 ms per row for a busy reactor to release the GIL. 16 rows took six times as long. Sizes are powers of two,
        # padded with rows of zeros, so that ten prepared statements are enough. Python's sqlite3 binds a None four
        # times as slowly as a zero or an empty text.
        size = min(1 << (len(self.rows) - 1).bit_length(), max_rows)
        values: list[float | str] = list(chain.from_iterable(self.rows))
        values.extend([0] * (size * COLUMN_COUNT - len(values)))
        db.execute(_insert_statement(size), values)

    def undo(self, db: sqlite3.Connection) -> None:
        """Undo those of these changes that the file holds.

        Raises ``JournalDamaged`` if another program has written rows after the first of them.
        """
        db.execute("BEGIN IMMEDIATE")
        try:
            rows: dict[int, dict[int, Row]] = {}
            for row in self.rows:
                rows.setdefault(row[0] >> SEQ_BITS, {})[row[0]] = row
            for number, expected in rows.items():
                _delete_rows(db, number, expected)
            for file in self.files:
                db.execute("DELETE FROM files WHERE seq = ?", file[:1])
            for room, number in self.new_rooms.items():
                if db.execute("DELETE FROM rooms WHERE id = ? AND name = ?", (number, room.name)).rowcount:
                    db.execute("DELETE FROM indexed WHERE upto = ?", (key(number, 0),))
            for room in self.topics:
                db.execute("UPDATE rooms SET topic = ? WHERE id = ?", (room.topic, room.id))
            restore(db, self.replaced)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _delete_rows(db: sqlite3.Connection, room: int, expected: Mapping[int, Row]) -> None:
    """Delete all rows from the first of *expected* on. Raises ``JournalDamaged`` if there are others among them."""
    bounds = min(expected), key(room, MAX_SEQ)
    query = f"SELECT {COLUMNS} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"  # noqa: S608 - constant names
    for row in db.execute(query, (*bounds, len(expected) + 1)).fetchall():
        if expected.get(row[0]) != row:
            raise foreign_row(row[0])
    db.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", bounds)


def foreign_row(number: int) -> JournalDamaged:
    """Return the error for a row with the key *number* that another program has written."""
    return JournalDamaged(f"another program has written #{number & MAX_SEQ} to it")


@cache
def _insert_statement(size: int) -> str:
    """Return the statement that inserts *size* rows and skips rows that begin with 0."""
    row = f"({', '.join('?' * COLUMN_COUNT)})"
    values = ", ".join([row] * size)
    columns = "column1, column2, column3, column4, column5, nullif(column6, ''), column7"
    return f"INSERT INTO events SELECT {columns} FROM (VALUES {values}) WHERE column1"  # noqa: S608 - it holds no values
