"""The copy of a journal into an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from broadcast.admin.copy import JournalWriter
from broadcast.admin.database import SqliteReader
from broadcast.admin.reading import JournalReader, RoomSize
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.core.events import Shared, Stored
from broadcast.core.records import (
    AddAudit,
    AddPrivate,
    AuditEntry,
    PrivateLine,
    RecordChange,
    SaveAccount,
    SaveBan,
    StoredRecords,
)
from broadcast.durability import sync_folder
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, DirectoryLock, LastNumberFile
from broadcast.journals.sqlite.database import (
    add_room,
    connect,
    last_seq,
    next_room,
    to_file_row,
    to_row,
    translate_errors,
)
from broadcast.journals.sqlite.journal import FILE
from broadcast.journals.sqlite.record_tables import make_change
from broadcast.journals.sqlite.room_record import key
from broadcast.journals.sqlite.schema import create_index, migrate

DRAFT = f"{FILE}.copy"
"""File name of a copy that is not complete."""


@contextmanager
def open_sqlite_copy(folder: Path, journal_id: str) -> Iterator[JournalWriter]:
    """Create a file in *folder*, or go on with a copy of the journal with this id.

    At the end, a finished copy gets the name of a journal. Raises ``AdminError`` or ``JournalError``.
    """
    lock = DirectoryLock(folder)
    lock.acquire()
    try:
        for name in (FILE, LAST_NUMBER_FILE):
            if (folder / name).exists():
                raise AdminError(UNUSABLE, f"the folder {folder} holds a journal already ({name}): give another folder")
        draft = folder / DRAFT
        with translate_errors(draft):
            draft.touch(0o600)
            with closing(connect(draft, writing=True)) as db:
                migrate(db, draft)
                writer = SqliteWriter(db)
                writer.begin(draft, journal_id)
                yield writer
            if writer.is_finished:
                draft.replace(folder / FILE)
                if writer.last:
                    LastNumberFile(folder / LAST_NUMBER_FILE, *writer.last).close()
                sync_folder(folder)
    finally:
        lock.release()


class SqliteWriter:
    """A journal in the database of *db* that a copy fills."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.is_finished = False
        self.last: tuple[int, str] | None = None
        """The number of a last line, and the name of its room; None if there is no line."""
        self._db = db
        self._rooms: dict[str, int] = {}
        """The ids of the rooms by their names."""

    def begin(self, draft: Path, journal_id: str) -> None:
        """Mark an empty file as a copy of the journal with this id. Raises ``AdminError`` if it is another copy."""
        if self._db.execute("SELECT seq FROM events LIMIT 1").fetchone() is None:
            self._db.execute("UPDATE journal SET id = ?", (journal_id,))
        elif self.reader().id() != journal_id:
            text = f"{draft} is a part of the copy of another journal: give another folder, or move that file away"
            raise AdminError(UNUSABLE, text)

    def last_line(self, room: RoomSize) -> int:
        """Return the number of the last line that the copy of *room* has, and give it the topic."""
        found = self._db.execute("SELECT id FROM rooms WHERE name = ?", (room.name,)).fetchone()
        number = found[0] if found else next_room(self._db)
        with self._transaction():
            if not found:
                add_room(self._db, number, room.name)
            self._db.execute("UPDATE rooms SET topic = ? WHERE id = ?", (room.topic, number))
        self._rooms[room.name] = number
        if room.last:
            self.last = room.last, room.name
        return last_seq(self._db, number)

    def add_lines(self, room: RoomSize, lines: Sequence[Stored]) -> None:
        """Add the next *lines* of *room*."""
        base = key(self._rooms[room.name], 0)
        with self._transaction():
            self._db.executemany(_ADD_LINE, (to_row(line, base) for line in lines))
            files = (to_file_row(line, base) for line in lines if isinstance(line, Shared))
            self._db.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", files)

    def replace_records(self, records: StoredRecords, audit: Sequence[AuditEntry]) -> None:
        """Store these records, and no others. The copy has no private lines afterwards."""
        last = {
            "accounts": records.next_account - 1,
            "bans": records.next_ban - 1,
            "private_lines": records.next_private - 1,
        }
        with self._transaction():
            for table in (*last, "audit"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            self._change(map(SaveAccount, records.accounts))
            self._change(map(SaveBan, records.bans))
            self._change(map(AddAudit, audit))
            self._db.executemany("DELETE FROM sqlite_sequence WHERE name = ?", zip(last))
            self._db.executemany("INSERT INTO sqlite_sequence VALUES (?, ?)", last.items())

    def add_private(self, lines: Sequence[PrivateLine]) -> None:
        """Add the next private *lines*."""
        with self._transaction():
            self._change(map(AddPrivate, lines))

    def reader(self) -> JournalReader:
        """Return what the copy has so far."""
        return SqliteReader(self._db)

    def finish(self, _journal_id: str) -> None:
        """Make the copy a journal."""
        create_index(self._db)  # the server fills it
        self.is_finished = True

    def _change(self, changes: Iterable[RecordChange]) -> None:
        for change in changes:
            make_change(self._db, change)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        yield
        self._db.execute("COMMIT")  # after an error, closing the connection rolls back


_ADD_LINE = """INSERT INTO events (seq, at, kind, nick, text, uid, session)
    VALUES (?, ?, ?, ?, ?, nullif(?, ''), nullif(?, 0))"""
