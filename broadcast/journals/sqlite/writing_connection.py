"""The connection that writes an SQLite journal, and its handling of faults.

Before each commit, the database file holds exactly the events that were reported as stored. There are three kinds of
faults:

* **A statement fails** (full disk, lock, I/O error). The commit may have taken effect nevertheless. Its authors read
  that it failed, so its changes are *doubtful*: they must not be in the file. The connection is closed. The next one
  first undoes those of these changes that it finds.
* **A file is not in its place** (``OpenFiles.verify`` raises ``JournalError``). No later start would find the rows. The
  connection stays open, because it can be used again when the files are back. If only the write-ahead log was removed,
  the open one still holds events. A checkpoint copies them to the database, then the next connection creates a new log.
  If the index of the log (-shm) was removed, all connections are closed without a checkpoint and opened again: SQLite's
  locks are in the index, so the old ones no longer keep other processes from writing.
* **The file does not hold the expected rows**, because another program has written to it (``JournalDamaged``). Nothing
  is deleted, and nothing more is stored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse
from broadcast.journals.sqlite.changes import COLUMN_COUNT, Changes, foreign_row
from broadcast.journals.sqlite.database import BUSY_SECONDS, connect, last_seq, next_room
from broadcast.journals.sqlite.open_files import LogIndexRemoved, OpenFiles, WriteAheadLogRemoved
from broadcast.journals.sqlite.room_record import MAX_ROOMS, MAX_SEQ, SEQ_BITS, RoomRecord, key

MAX_ROWS = 512
"""Maximum number of rows in one commit."""

RETRY_SECONDS = 0.2
"""Seconds to wait for a lock after a failed commit. It is short because transient events wait for the attempt."""

VERIFY_SECONDS = 0.05
"""Seconds for which the files need not be checked again before a commit. After a commit they always are."""


class WritingConnection:
    """The only connection that writes the file *path*. Only one thread may use it.

    *db* is open and verified, and belongs to this object from now on. *room* was read from it. *without_reader* returns
    a context in which no other connection of this process is open. *now* returns monotonic seconds.
    """

    def __init__(
        self,
        path: Path,
        files: OpenFiles,
        db: sqlite3.Connection,
        room: RoomRecord,
        without_reader: Callable[[], AbstractContextManager[object]],
        now: Callable[[], float],
    ) -> None:
        self.path = path
        self.db: sqlite3.Connection | None = db
        """The open connection; None after a fault."""
        self._rooms: dict[int, RoomRecord] = {} if room.id is None else {room.id: room}
        """The first room, and the open rooms in which lines were stored, by their ids."""
        self._next_room = next_room(db)
        """Id of the next new room."""
        # SQLite before 3.32 allows at most 999 parameters.
        self.max_rows = min(MAX_ROWS, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // COLUMN_COUNT)
        self._files = files
        self._without_reader = without_reader
        self._now = now
        self._verified_until = 0.0
        """Time until which a commit needs no check before it."""
        self._doubtful: Changes | None = None
        """Changes that may be in the file although they were not reported as stored."""

    def add_room(self, room: RoomRecord, changes: Changes) -> int | None:
        """Add the new *room* to *changes*, and return its id. Return None if the journal can hold no more rooms."""
        number = self._next_room + len(changes.new_rooms)
        if number >= MAX_ROOMS:
            return None
        changes.new_rooms[room] = number
        return number

    def is_doubtful(self, name: str) -> bool:
        """Return whether the file may hold failed changes of the room *name*. May be called on any thread."""
        changes = self._doubtful
        return changes is not None and changes.has_room(name)

    def forget(self, room: RoomRecord) -> None:
        """Forget *room*, which was closed."""
        if room.id is not None and self._rooms.get(room.id) is room:
            del self._rooms[room.id]

    def commit(self, changes: Changes) -> float:
        """Commit *changes*, whose rows are numbered from the ``last`` of their rooms, and return the seconds it took.

        If it raises an exception, no change counts as stored. The next commit may use the same numbers.
        """
        db = self.db
        if db is None or self._now() >= self._verified_until:
            db = self.verified()
        duration = self._commit(db, changes)
        for room, number in changes.new_rooms.items():
            room.id = number
        self._next_room += len(changes.new_rooms)
        for room, topic in changes.topics.items():
            room.topic = topic
        for room, last in changes.lasts.items():
            room.last = last
            if room.id is not None:
                self._rooms[room.id] = room
        return duration

    def _commit(self, db: sqlite3.Connection, changes: Changes) -> float:
        rows = changes.rows
        self._doubtful = changes
        began = self._now()
        try:
            changes.execute(db, self.max_rows)
            duration = self._now() - began
            self._files.verify()  # only now it is certain that the path leads to the file that holds the rows
            if rows:
                self._files.last_number.write(rows[-1][0] & MAX_SEQ, changes.last_room)
        except BaseException as error:
            self._verified_until = 0.0
            self.disconnect_after(error)
            # Delete the doubtful rows at once if possible. Otherwise the next use of the connection does it.
            with suppress(sqlite3.Error, OSError):
                self.verified()  # raises JournalError if it knows more about the cause
            raise
        self._doubtful = None
        self._verified_until = began + duration + VERIFY_SECONDS
        return duration

    def verified(self) -> sqlite3.Connection:
        """Return a connection to a file that is in its place, and that holds no doubtful rows.

        Raises ``JournalError`` in the second and third case of the module's description, and ``sqlite3.Error`` or
        ``OSError`` if that cannot be found out.
        """
        db = self.db
        if db is None:
            return self._reopen()
        try:
            self._files.verify()
        except WriteAheadLogRemoved:
            if not self._files.is_used_without_locks() and _checkpoint(db):
                self.disconnect()
            raise
        except JournalInUse:
            if self._files.has_only_index_removed():  # the other server writes, and no lock protects reading
                with self._without_reader():
                    self.disconnect()
            raise
        except LogIndexRemoved:
            return self._reopen()
        if self._doubtful:
            self._reconcile(db)
        return db

    def reconciled(self) -> sqlite3.Connection:
        """Return a connection as ``verified`` does, to a file to which no other program has written.

        Also raises ``JournalDamaged`` if another program has added or deleted rows.
        """
        db = self.verified()
        try:
            self._verify_rows(db)
        except JournalDamaged:
            self.disconnect()  # the next connection does this check again before it stores anything
            raise
        return db

    def disconnect_after(self, error: BaseException) -> None:
        """Close the connection after *error*, unless a file is only not in its place."""
        if not isinstance(error, JournalError):
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection, and roll back an open transaction. ``verified`` opens the next one."""
        db, self.db = self.db, None
        if db is None:
            return
        with suppress(sqlite3.Error, OSError, JournalError):
            if not self._files.is_index_in_place():
                self._close_without_checkpoint(db)
        with suppress(sqlite3.Error):
            db.close()

    def _close_without_checkpoint(self, db: sqlite3.Connection) -> None:
        """Close *db*, whose index of the log is outdated if another process has written.

        The last connection to a database copies the log into it by this index, and removes the log. A connection is
        not the last one while a reading connection is open, and a reading connection does neither.
        """
        self._files.verify_path()  # SQLite itself copies no log to a file that was moved
        with closing(connect(self.path, writing=False)) as reader:
            with suppress(sqlite3.Error):  # an outdated index may lead to a wrong page, but the file is open then
                reader.execute("SELECT max(seq) FROM events").fetchone()
            db.close()

    def _reopen(self) -> sqlite3.Connection:
        """Close all connections of this process, because SQLite shares one index among them, and open a new one."""
        self._files.verify_without_log()
        with self._without_reader():
            self.disconnect()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
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
        """Undo the doubtful changes, and no others. Raises ``JournalDamaged`` if another program has changed rows."""
        if self._doubtful is not None:
            self._doubtful.undo(db)
            self._doubtful = None
        self._verify_rows(db)
        with suppress(sqlite3.Error):  # truncates the log, in which the failed commit may have left data
            _checkpoint(db)

    def _verify_rows(self, db: sqlite3.Connection) -> None:
        for number, room in self._rooms.items():
            self._verify_room(db, number, room.last)
        last = db.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
        if next_room(db) != self._next_room or last >> SEQ_BITS >= self._next_room:
            msg = "another program has written a room to it"
            raise JournalDamaged(msg)

    def _verify_room(self, db: sqlite3.Connection, room: int, expected: int) -> None:
        last = last_seq(db, room)
        if last < expected:
            msg = "the file no longer holds what was kept in it"
            raise JournalDamaged(msg)
        if last > expected:
            query = "SELECT min(seq) FROM events WHERE seq > ?"
            raise foreign_row(db.execute(query, (key(room, expected),)).fetchone()[0])


def _checkpoint(db: sqlite3.Connection) -> bool:
    """Copy the write-ahead log to the database and truncate it. Return whether that was possible at once."""
    return bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
