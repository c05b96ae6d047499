"""The database of the SQLite journal: connections, their errors, and rows as events and rooms."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse
from broadcast.core.events import Action, FileInfo, Message, Shared, Stored
from broadcast.journals.commit_queue import REPORTER
from broadcast.journals.sqlite.room_record import MAX_SEQ, RoomRecord, key, key_range

Row: TypeAlias = tuple[int, float, str, str, str, str, int]
"""key, at, kind, nick, text, uid (empty if there is none), session (0 if it is not known).

In a row from a file, the values may have other types.
"""

FileRow: TypeAlias = tuple[int, str, int, str, str, int, int]
"""key, id, size, type, sha256, width, height. The name of the file is the text of the event."""

COLUMNS = "seq, at, kind, nick, text, coalesce(uid, ''), coalesce(session, 0)"
"""The columns of a row. The column ``seq`` holds the key; in the room with the id 0, the key is the number."""
FILE_COLUMN = """CASE kind WHEN 'shared' THEN (
    SELECT id || ' ' || size || ' ' || sha256 || ' ' || width || ' ' || height || ' ' || type
    FROM files WHERE files.seq = events.seq) END"""
"""The file of a row, as one text without a name; NULL for all other rows. Only the type may hold a blank."""
EVENT_COLUMNS = f"{COLUMNS}, {FILE_COLUMN}"
"""The columns of an event, for ``from_row``."""

BUSY_SECONDS = 2.0
"""Seconds to wait while another program has locked the file."""

LACKING_LINES = "lacks some of its lines"
"""The description of a journal or a room with missing lines that no line of the server explains."""

_EXAMINED_EVENTS = 20  # number of recent events to check when a room is opened; few, because many rooms open at once
REMEDY = (
    "restore it from a backup, recover it as docs/backup.rst describes, or move its folder away to start with a new one"
)
"""What the operator of a server can do about a damaged journal."""
_UNSOUND = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_KINDS: dict[str, type[Stored]] = {"said": Message, "emoted": Action, "shared": Shared}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of *error*, or 0 if the error did not come from SQLite."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect(path: Path, *, writing: bool, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the existing file *path*; never create one. Raises ``sqlite3.Error`` or ``JournalError``.

    *timeout* is the time to wait for a lock, in seconds. Each statement is a transaction, unless one was begun. A
    connection may be handed over to another thread, but not shared. There may be one writing connection, and only it
    checkpoints the write-ahead log: with two, SQLite up to 3.51.2 can lose commits.
    """
    uri = f"{path.as_uri()}?mode={'rw' if writing else 'ro'}"
    db = sqlite3.connect(uri, timeout=timeout, isolation_level=None, check_same_thread=False, uri=True)
    try:
        if writing:
            _make_durable(db)
    except BaseException:
        db.close()
        raise
    return db


def _make_durable(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        msg = "the journal's file system allows no write-ahead log: give --data a folder on a local disk"
        raise JournalError(msg)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone leaves the data in the cache of the drive


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the system, about the file *path*, into ``JournalError``."""
    try:
        yield
    except sqlite3.Error as error:
        if code_of(error) in _UNSOUND:
            raise damaged(path, f"cannot be trusted ({error})") from error
        if code_of(error) in _LOCKED:
            msg = f"another program has locked {path}: end it, or give --data another folder"
            raise JournalInUse(msg) from error
        msg = f"cannot use {path}: {error}; check its permissions and the free space on its disk"
        raise JournalError(msg) from error
    except UnicodeDecodeError as error:  # SQLite's message quotes a part of the file
        raise damaged(path, f"cannot be trusted ({error})") from error
    except OSError as error:
        msg = f"cannot use {path}: {error.strerror or error}; check its permissions and the free space on its disk"
        raise JournalError(msg) from error


def damaged(path: Path, problem: str) -> JournalDamaged:
    """Return the error for the file *path*, with the *problem* and its remedy."""
    return JournalDamaged(f"the journal {path} {problem}: {REMEDY}")


def to_row(event: Stored, base: int = 0) -> Row:
    """Return the row of a numbered event. *base* is the key of number 0 in its room."""
    return base + event.seq, event.at, _NAMES[type(event)], event.nick, event.text, event.uid, event.session


def to_file_row(event: Shared, base: int) -> FileRow:
    """Return the row of the file of *event*, which is numbered as in ``to_row``."""
    file = event.file
    return base + event.seq, file.id, file.size, file.type, file.sha256, file.width, file.height


def from_row(row: tuple[*Row, str | None]) -> Stored:
    """Return the event in *row*, with ``EVENT_COLUMNS``. Raises ``JournalDamaged``."""
    number, at, kind, nick, text, uid, session, file = row
    if kind not in _KINDS or [*map(type, (at, nick, text, uid, session))] != [float, str, str, str, int]:
        raise _unreadable(number)
    if kind == "shared":
        return Shared(session, nick, _parse_file(number, text, file), at, number & MAX_SEQ, uid)
    return (Message if kind == "said" else Action)(session, nick, text, at, number & MAX_SEQ, uid=uid)


def _parse_file(number: int, name: str, text: object) -> FileInfo:
    """Return the file *name* of the row with the key *number* from the *text* of ``FILE_COLUMN``."""
    try:
        id, size, sha256, width, height, type = str(text).split(" ", 5)  # noqa: A001 - as in FileInfo
        return FileInfo(id, name, int(size), type, sha256, int(width), int(height))
    except ValueError:
        raise _unreadable(number) from None


def _unreadable(number: int) -> JournalDamaged:
    return JournalDamaged(f"the journal's line #{number & MAX_SEQ} cannot be read")


def fetch(db: sqlite3.Connection, room: int, first: int, last: int) -> list[Stored]:
    """Return the events numbered *first* to *last* of the room with the id *room*, in order.

    Raises ``sqlite3.Error`` or ``JournalDamaged``.
    """
    query = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608 - constant names
    return [from_row(row) for row in db.execute(query, (key(room, max(first, 1)), key(room, last)))]


def fetch_files(db: sqlite3.Connection, room: int, last: int, limit: int) -> list[Stored]:
    """Return the newest *limit* events up to number *last* that share a file, as ``fetch`` does."""
    query = f"""SELECT {EVENT_COLUMNS} FROM events WHERE seq IN (
        SELECT seq FROM files WHERE seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?) ORDER BY seq"""  # noqa: S608 - constant names
    return [from_row(row) for row in db.execute(query, (key(room, 1), key(room, last), limit))]


def last_seq(db: sqlite3.Connection, room: int) -> int:
    """Return the number of the last event of the room with the id *room*, or 0 if there is none."""
    query = "SELECT max(seq) FROM events WHERE seq BETWEEN ? AND ?"
    last = db.execute(query, key_range(room)).fetchone()[0]
    return (last or 0) & MAX_SEQ


def add_room(db: sqlite3.Connection, room: int, name: str) -> None:
    """Add the room *name* with the id *room*, which has no lines yet, and its mark of the index."""
    db.execute("INSERT INTO rooms VALUES (?, ?, '')", (room, name))
    db.execute("INSERT INTO indexed VALUES (?)", (key(room, 0),))


def next_room(db: sqlite3.Connection) -> int:
    """Return the id of the next new room."""
    return int(db.execute("SELECT max(id) + 1 FROM rooms").fetchone()[0])


def read_room(
    db: sqlite3.Connection, name: str, tail: int, examined: int = _EXAMINED_EVENTS
) -> tuple[RoomRecord, list[Stored]]:
    """Return the room *name*, which may be a new one, and its last *tail* events.

    They are fewer than *tail* if numbers between them are missing. The last *examined* events are checked. Raises
    ``JournalDamaged`` if a number is missing, and ``sqlite3.Error``.
    """
    found = db.execute("SELECT id, topic FROM rooms WHERE name = ?", (name,)).fetchone()
    if found is None:
        return RoomRecord(name), []
    room = RoomRecord(name, *found)
    room.last = last_seq(db, found[0])
    recent = _read_recent(db, room, max(tail, examined))
    dense = [event for index, event in enumerate(recent, room.last - len(recent) + 1) if event.seq == index]
    return room, dense[max(len(dense) - tail, 0) :]


def _read_recent(db: sqlite3.Connection, room: RoomRecord, count: int) -> list[Stored]:
    """Return the last *count* events of *room*, and set its mark. Raise ``JournalDamaged`` if a number is missing."""
    assert room.id is not None
    bounds = key_range(room.id)
    query = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constant names
    try:
        events = [from_row(row) for row in db.execute(query, (*bounds, count))][::-1]
    except JournalDamaged as error:
        msg = f"cannot be trusted ({error})"
        raise JournalDamaged(msg) from error
    query = "SELECT seq, nick FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT 1"
    oldest = db.execute(query, bounds).fetchone()
    begins = oldest is None or oldest[0] == bounds[0] + 1 or (oldest[0] > bounds[0] and oldest[1] == REPORTER)
    gaps = any(later.seq != earlier.seq + 1 and later.nick != REPORTER for earlier, later in pairwise(events))
    marks = db.execute("SELECT upto FROM indexed WHERE upto BETWEEN ? AND ?", bounds).fetchall()
    if len(marks) != 1 or marks[0][0] & MAX_SEQ > room.last or not begins or gaps:
        raise JournalDamaged(LACKING_LINES)
    room.indexed = marks[0][0] & MAX_SEQ
    return events
