"""The journal's database, opened only to read, whether a server runs or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.core.events import Stored
from broadcast.core.records import PrivateLine
from broadcast.journals.sqlite.database import EVENT_COLUMNS, connect, from_row, translate_errors
from broadcast.journals.sqlite.journal import FILE
from broadcast.journals.sqlite.opening import examine
from broadcast.journals.sqlite.record_tables import select_records
from broadcast.journals.sqlite.room_record import MAX_SEQ, key, key_range
from broadcast.journals.sqlite.schema import MIGRATIONS, verify_schema

ROWS: Final = 1000
"""Number of rows that are read at once."""

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
        why = "start the server once, or give --data its data folder"
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


class RoomSize(NamedTuple):
    """A room in the journal."""

    id: int
    name: str
    topic: str
    last: int
    """Number of the last line."""


def read_rooms(db: sqlite3.Connection) -> list[RoomSize]:
    """Return all rooms, the oldest first."""
    rooms = db.execute("SELECT id, name, topic FROM rooms ORDER BY id").fetchall()
    last = "SELECT coalesce(max(seq), 0) FROM events WHERE seq BETWEEN ? AND ?"
    return [
        RoomSize(number, name, topic, db.execute(last, key_range(number)).fetchone()[0] & MAX_SEQ)
        for number, name, topic in rooms
    ]


def read_lines(db: sqlite3.Connection, room: RoomSize, since: float, until: float) -> Iterator[list[Stored]]:
    """Yield the lines of *room* from *since* on and before *until*, in order, some at a time.

    Each part is read by a statement of its own, so that the server can shorten its write-ahead log meanwhile.
    """
    query = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 - constant names
    first, last = key(room.id, 0), key(room.id, room.last)
    while rows := db.execute(query, (first, last, ROWS)).fetchall():
        yield [from_row(row) for row in rows if _is_within(row[1], since, until)]
        first = rows[-1][0]


def _is_within(at: object, since: float, until: float) -> bool:
    return not isinstance(at, float) or since <= at < until  # ``from_row`` reports a value of another type


def read_private_lines(db: sqlite3.Connection) -> Iterator[list[PrivateLine]]:
    """Yield all private lines in order, some at a time."""
    last = 0
    while lines := select_records(db, PrivateLine, "WHERE id > ? ORDER BY id LIMIT ?", (last, ROWS)):
        yield lines
        last = lines[-1].id
