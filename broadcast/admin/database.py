"""The journal's database, opened only to read, whether a server runs or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from broadcast.admin.reading import ROWS, JournalReader, RoomSize
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.core.events import Stored
from broadcast.core.records import AuditEntry, PrivateLine, StoredRecords
from broadcast.journals.sqlite.database import EVENT_COLUMNS, connect, from_row, translate_errors
from broadcast.journals.sqlite.journal import FILE
from broadcast.journals.sqlite.opening import examine
from broadcast.journals.sqlite.record_tables import read_audit, read_records, select_records
from broadcast.journals.sqlite.room_record import MAX_SEQ, key, key_range
from broadcast.journals.sqlite.schema import MIGRATIONS, verify_schema

_State: TypeAlias = tuple[int, int]
"""The time and size of the database."""


def find_journal(folder: Path) -> Path:
    """Return the path of the journal in *folder*. Raises ``AdminError`` if there is none."""
    path = folder / FILE
    try:
        if not folder.is_dir():
            raise AdminError(UNUSABLE, f"there is no folder {folder}: give --data the data folder of the server")
        path.stat()
    except FileNotFoundError:
        why = "start the server once, or give --data its data folder, or --journal if it uses PostgreSQL"
        raise AdminError(UNUSABLE, f"the folder {folder} holds no journal ({FILE}): {why}") from None
    except OSError as error:
        why = f"{error.strerror or error}; run this command as the user of the server, or as root"
        raise AdminError(UNUSABLE, f"cannot use the folder {folder}: {why}") from None
    return path


@contextmanager
def open_to_read(path: Path, *, any_version: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the journal *path*, of an earlier version only if *any_version*. Raises ``JournalError``, also at the end.

    Nothing is written, and no server is delayed. SQLite needs files beside a database that a server uses. It creates
    them unless they exist, so a database that nobody uses is opened as one that cannot change.
    """
    with translate_errors(path):
        examine(path)
        before = _state(path)
        log = path.with_name(path.name + "-wal")
        db = _connect_beside_server(path, log) if log.exists() else None
        is_immutable = db is None
        if db is None:
            db = sqlite3.connect(f"{path.as_uri()}?immutable=1", isolation_level=None, uri=True)
    with closing(db):
        with translate_errors(path):
            verify_schema(db, path)
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version != len(MIGRATIONS) and not any_version:
            why = f"has schema version {version} of an earlier version: start the server once, which converts it"
            raise AdminError(UNUSABLE, f"the journal {path} {why}")
        try:
            yield db
        except (sqlite3.Error, UnicodeDecodeError):  # an OSError is about the output
            with translate_errors(path):
                raise
    if is_immutable and (_state(path) != before or (log.exists() and log.stat().st_size)):
        raise AdminError(UNUSABLE, "a server was started meanwhile, so the result may be wrong: try again")


def _state(path: Path) -> _State:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _connect_beside_server(path: Path, log: Path) -> sqlite3.Connection | None:
    """Return a connection that reads the write-ahead *log*. Return None if that is not possible, and the log is empty.

    It is not possible on a read-only file system or a full disk, because SQLite needs an index of the log.
    """
    db = connect(path, writing=False)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        db.close()
        if log.stat().st_size:
            raise
        return None
    except BaseException:
        db.close()
        raise
    return db


def read_rooms(db: sqlite3.Connection) -> list[RoomSize]:
    """Return all rooms, the oldest first."""
    rooms = db.execute("SELECT id, name, topic FROM rooms ORDER BY id").fetchall()
    last = "SELECT coalesce(max(seq), 0) FROM events WHERE seq BETWEEN ? AND ?"
    return [
        RoomSize(number, name, topic, db.execute(last, key_range(number)).fetchone()[0] & MAX_SEQ)
        for number, name, topic in rooms
    ]


class SqliteReader:
    """The journal in the database *db*."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def id(self) -> str:
        """Return the identifier of the journal."""
        return str(self._db.execute("SELECT id FROM journal").fetchone()[0])

    def records(self) -> StoredRecords:
        """Return the accounts and the bans."""
        return read_records(self._db)

    def audit(self, count: int) -> list[AuditEntry]:
        """Return the newest *count* entries of the audit trail, in order."""
        return read_audit(self._db, count)

    def rooms(self) -> list[RoomSize]:
        """Return all rooms, the oldest first."""
        return read_rooms(self._db)

    def lines(self, room: RoomSize, after: int = 0) -> Iterator[list[Stored]]:
        """Yield the lines of *room* with numbers above *after*, in order, some at a time.

        Each part is read by a statement of its own, so that the server can shorten its write-ahead log meanwhile.
        """
        query = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 - constant names
        first, last = key(room.id, after), key(room.id, room.last)
        while rows := self._db.execute(query, (first, last, ROWS)).fetchall():
            yield [from_row(row) for row in rows]
            first = rows[-1][0]

    def private_lines(self, after: int = 0) -> Iterator[list[PrivateLine]]:
        """Yield the private lines with ids above *after*, in order, some at a time."""
        last = after
        while lines := select_records(self._db, PrivateLine, "WHERE id > ? ORDER BY id LIMIT ?", (last, ROWS)):
            yield [replace(line, delivered=bool(line.delivered)) for line in lines]
            last = lines[-1].id


_conforms: type[JournalReader] = SqliteReader
