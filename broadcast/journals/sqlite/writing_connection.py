"""The connection that writes an SQLite journal, and its handling of faults.

Before each commit, the database file holds exactly the events that were reported as stored. There are three kinds of
faults:

* **A statement fails** (full disk, lock, I/O error). The commit may have taken effect nevertheless. Its authors read
  that it failed, so its rows are *doubtful*: they must not be in the file. The connection is closed. The next one first
  deletes those of these rows that it finds.
* **A file is not in its place** (``OpenFiles.verify`` raises ``JournalError``). No later start would find the rows. The
  connection stays open, because it can be used again when the files are back. If only the write-ahead log was removed,
  the open one still holds events. A checkpoint copies them to the database, then the next connection creates a new log.
* **The file does not hold the expected rows**, because another program has written to it (``JournalDamaged``). Nothing
  is deleted, and nothing more is stored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.journals.sqlite.database import BUSY_SECONDS, Row, connect, last_seq
from broadcast.journals.sqlite.open_files import OpenFiles, WriteAheadLogRemoved

MAX_ROWS = 512
"""Maximum number of rows in one commit."""

RETRY_SECONDS = 0.2
"""Seconds to wait for a lock after a failed commit. It is short because transient events wait for the attempt."""

VERIFY_SECONDS = 0.05
"""Seconds for which the files need not be checked again before a commit. After a commit they always are."""

_COLUMNS = 5


class WritingConnection:
    """The only connection that writes the file *path*. Only one thread may use it.

    *db* is open and verified, and belongs to this object from now on. *last* is the number of the last event in it.
    *now* returns monotonic seconds.
    """

    def __init__(
        self, path: Path, files: OpenFiles, db: sqlite3.Connection, last: int, now: Callable[[], float]
    ) -> None:
        self.path = path
        self.db: sqlite3.Connection | None = db
        """The open connection; None after a fault."""
        self.last = last
        """Number of the last event that was reported as stored."""
        # SQLite before 3.32 allows at most 999 parameters.
        self.max_rows = min(MAX_ROWS, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _COLUMNS)
        self._files = files
        self._now = now
        self._verified_until = 0.0
        """Time until which a commit needs no check before it."""
        self._doubtful: Sequence[Row] = ()
        """Rows that may be in the file although they were not reported as stored."""

    def commit(self, rows: Sequence[Row]) -> float:
        """Commit all of *rows*, numbered from ``last`` + 1, and return the duration in seconds.

        If it raises an exception, no row counts as stored. The next commit may use the same numbers.
        """
        db = self.db
        if db is None or self._now() >= self._verified_until:
            db = self.verified()
        # One statement is one transaction and one release of the GIL. With one call per row, this thread waits up to
        # 5 ms per row for a busy reactor to release the GIL; 16 rows took six times as long. Sizes are powers of two,
        # padded with NULL rows, so that ten prepared statements are enough.
        size = min(1 << (len(rows) - 1).bit_length(), self.max_rows)
        values: list[float | str | None] = list(chain.from_iterable(rows))
        values.extend([None] * (size * _COLUMNS - len(values)))
        self._doubtful = rows
        began = self._now()
        try:
            db.execute(_insert_statement(size), values)
            duration = self._now() - began
            self._files.verify()  # only now it is certain that the path leads to the file that holds the rows
            self._files.last_number.write(rows[-1][0])
        except BaseException as error:
            self._verified_until = 0.0
            self.disconnect_after(error)
            # Delete the doubtful rows at once if possible. Otherwise the next use of the connection does it.
            with suppress(sqlite3.Error, OSError):
                self.verified()  # raises JournalError if it knows more about the cause
            raise
        self._doubtful = ()
        self._verified_until = began + duration + VERIFY_SECONDS
        self.last += len(rows)
        return duration

    def verified(self) -> sqlite3.Connection:
        """Return a connection to a file that is in its place and holds exactly the events up to ``last``.

        Raises ``JournalError`` in the second and third case of the module's description, and ``sqlite3.Error`` or
        ``OSError`` if that cannot be found out.
        """
        db = self.db
        if db is None:
            return self._reconnect()
        try:
            self._files.verify()
        except WriteAheadLogRemoved:
            if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                self.disconnect()
            raise
        if self._doubtful:
            self._reconcile(db)
        return db

    def disconnect_after(self, error: BaseException) -> None:
        """Close the connection after *error*, unless a file is only not in its place."""
        if not isinstance(error, JournalError):
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection, and roll back an open transaction. ``verified`` opens the next one."""
        db, self.db = self.db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _reconnect(self) -> sqlite3.Connection:
        self._files.verify_without_log()
        db = connect(self.path, writing=True, timeout=RETRY_SECONDS)
        try:
            self._reconcile(db)
            db.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
            self._files.reopened()
        except BaseException:
            db.close()
            raise
        self.db = db
        return db

    def _reconcile(self, db: sqlite3.Connection) -> None:
        """Delete the doubtful rows, and no others. Raises ``JournalDamaged`` if another program has changed rows."""
        if last_seq(db) < self.last:
            msg = "the file no longer holds what was kept in it"
            raise JournalDamaged(msg)
        if self._doubtful:
            self._delete_doubtful(db, {row[0]: row for row in self._doubtful})
        elif (seq := db.execute("SELECT min(seq) FROM events WHERE seq > ?", (self.last,)).fetchone()[0]) is not None:
            raise _foreign_row(seq)
        with suppress(sqlite3.Error):  # truncates the log, in which the failed commit may have left data
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _delete_doubtful(self, db: sqlite3.Connection, doubtful: Mapping[int, Row]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            query = "SELECT seq, at, kind, nick, text FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
            for row in db.execute(query, (self.last, len(doubtful) + 1)).fetchall():
                if doubtful.get(row[0]) != row:
                    raise _foreign_row(row[0])
            db.execute("DELETE FROM events WHERE seq > ?", (self.last,))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        self._doubtful = ()


def _foreign_row(seq: int) -> JournalDamaged:
    return JournalDamaged(f"another program has written #{seq} to it")


@cache
def _insert_statement(size: int) -> str:
    """Return the statement that inserts *size* rows and skips rows that begin with NULL."""
    row = f"({', '.join('?' * _COLUMNS)})"
    values = ", ".join([row] * size)
    return f"INSERT INTO events SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL"  # noqa: S608 - it holds no values
