"""The database file of the SQLite journal: creation, checks, migrations, and conversion between rows and events."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse, JournalTooNew
from broadcast.core.events import Action, Message, Stored
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, LOBBY, NO_NUMBER, LastNumber, fsync_directory
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS, RoomRecord, key

Row: TypeAlias = tuple[int, float, str, str, str, str]
"""key, at, kind, nick, text, uid (empty if there is none). In a row from a file, the values may have other types."""
COLUMNS = "seq, at, kind, nick, text, coalesce(uid, '')"
"""The columns of a row. The column ``seq`` holds the key; in the room with the id 0, the key is the number."""

APPLICATION_ID = 0x62636A31
"""The application id in the file's header ("bcj1"), which distinguishes a journal from other databases."""

MIGRATIONS: list[Sequence[str]] = [
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        # Not STRICT: SQLite before 3.37 cannot open a file with such a table, and Python 3.11 supports older ones.
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, nick TEXT NOT NULL, text TEXT NOT NULL
        )""",
    ),
    # Each line up to this number is in the full-text index exactly once.
    ("CREATE TABLE indexed (upto INTEGER NOT NULL)", "INSERT INTO indexed VALUES (0)"),
    # Rooms. A key is the room's id and the number, so the keys of earlier lines are already those of the room with the
    # id 0. No statement rewrites a table, so the duration does not depend on the number of lines.
    (
        "ALTER TABLE events ADD COLUMN uid TEXT",
        "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic TEXT NOT NULL)",
        "INSERT INTO rooms VALUES (0, 'lobby', '')",
        # One mark for each room, which is a key of the room.
        "CREATE UNIQUE INDEX marks ON indexed (upto)",
        "CREATE TABLE journal (id TEXT NOT NULL)",
        "INSERT INTO journal VALUES (lower(hex(randomblob(16))))",
        # For people who read the file with other programs.
        f"""CREATE VIEW lines AS SELECT name AS room, seq & {MAX_SEQ} AS seq, at, kind, nick, text
            FROM events JOIN rooms ON rooms.id = events.seq >> {SEQ_BITS}""",  # noqa: S608 - constant numbers
    ),
]
"""Entry n (from 0) holds the statements that migrate schema version n to n + 1, in one transaction."""


REPORTER = "server"
"""The reserved nickname of the line that stands for missing ones. Only before such a line may numbers be missing."""

FTS = "fts5"
"""SQLite's module for full-text search. Some builds lack it."""
TOKENIZER = "unicode61 remove_diacritics 2"
"""The tokenizer, which splits texts into words (SQLite 3.27 or newer)."""

BUSY_SECONDS = 2.0
"""Seconds to wait while another program has locked the file."""

_EXAMINED_EVENTS = 1000  # number of recent events to check when a journal is opened, which takes some milliseconds
_EXAMINED_ROOM_EVENTS = 20  # the same when another room is opened, because many may be opened at once
_NEW_ID = "UPDATE journal SET id = lower(hex(randomblob(16)))"
_LACKING = "lacks some of its lines"
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100  # SQLite file format, section 1.3
_REMEDY = (
    "restore it from a backup, recover it as docs/backup.rst describes, or move its folder away to start with a new one"
)
_UNSOUND = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_KINDS: dict[str, type[Stored]] = {"said": Message, "emoted": Action}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def to_row(event: Stored, base: int = 0) -> Row:
    """Return the row of a numbered event. *base* is the key of number 0 in its room."""
    return base + event.seq, event.at, _NAMES[type(event)], event.nick, event.text, event.uid


def from_row(row: Row) -> Stored:
    """Return the event in *row*, without a session. Raises ``JournalDamaged``."""
    number, at, kind, nick, text, uid = row
    if kind not in _KINDS or [type(value) for value in (at, nick, text, uid)] != [float, str, str, str]:
        msg = f"the journal's line #{number & MAX_SEQ} cannot be read"
        raise JournalDamaged(msg)
    return _KINDS[kind](0, nick, text, at, number & MAX_SEQ, uid=uid)


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


def fetch(db: sqlite3.Connection, room: int, first: int, last: int) -> list[Stored]:
    """Return the events numbered *first* to *last* of the room with the id *room*, in order.

    Raises ``sqlite3.Error`` or ``JournalDamaged``.
    """
    query = f"SELECT {COLUMNS} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608 - constant names
    return [from_row(row) for row in db.execute(query, (key(room, max(first, 1)), key(room, last)))]


def last_seq(db: sqlite3.Connection, room: int) -> int:
    """Return the number of the last event of the room with the id *room*, or 0 if there is none."""
    query = "SELECT max(seq) FROM events WHERE seq BETWEEN ? AND ?"
    last = db.execute(query, (key(room, 0), key(room, MAX_SEQ))).fetchone()[0]
    return (last or 0) & MAX_SEQ


def add_room(db: sqlite3.Connection, room: int, name: str) -> None:
    """Add the room *name* with the id *room*, which has no lines yet, and its mark of the index."""
    db.execute("INSERT INTO rooms VALUES (?, ?, '')", (room, name))
    db.execute("INSERT INTO indexed VALUES (?)", (key(room, 0),))


def next_room(db: sqlite3.Connection) -> int:
    """Return the id of the next new room."""
    return int(db.execute("SELECT max(id) + 1 FROM rooms").fetchone()[0])


def read_room(
    db: sqlite3.Connection, name: str, tail: int, examined: int = _EXAMINED_ROOM_EVENTS
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


class Prepared(NamedTuple):
    """A journal that was opened."""

    db: sqlite3.Connection
    """The writing connection."""
    id: str
    """The id of the journal."""
    room: RoomRecord
    recent: list[Stored]
    """The last events of the room."""
    last_number: LastNumber
    """The last line of the journal, as far as that is known."""


def prepare(
    path: Path,
    tail: int,
    last_number: LastNumber = NO_NUMBER,
    report: Callable[[str], object] = str,
    name: str = LOBBY,
) -> Prepared:
    """Create or migrate *path* and open it, with the room *name* and its last *tail* events.

    The events are fewer than *tail* if numbers between them are missing. If the journal ends before *last_number*, a
    line of the server replaces the missing ones, so that no number is used twice, and the journal gets a new id.
    *report* is called with the text of this line. Without a *last_number*, the journal also gets a new id. Raises
    ``JournalError``. The duration does not depend on the size of the journal.
    """
    with translate_errors(path):
        if path.exists():
            _examine(path)
        elif last_number.seq:
            raise _damaged(path, f"is missing, but {LAST_NUMBER_FILE} says that it has held line #{last_number.seq}")
        else:
            _create(path)
        with closing(connect(path, writing=False)) as db:  # read-only: it may belong to another program
            _identify(db, path)
        db = connect(path, writing=True)
        try:
            _migrate(db, path)
            _create_index(db)
            try:
                _check_keys(db)
                room, recent = read_room(db, name, tail, _EXAMINED_EVENTS)
                if not last_number.seq:
                    db.execute(_NEW_ID)  # the file may be an older copy from another folder
                if missing := _mark_missing(db, last_number):
                    report(missing)
                    room, recent = read_room(db, name, tail)
                last_name = last_number.room if last_number.seq else name
                last_number = LastNumber(_last_of(db, last_name), last_number.at, last_name)
            except JournalDamaged as error:
                raise _damaged(path, str(error)) from error
            (journal_id,) = db.execute("SELECT id FROM journal").fetchone()
        except BaseException:
            db.close()
            raise
    return Prepared(db, journal_id, room, recent, last_number)


def full_text(content: str) -> str:
    """Return the declaration of a full-text table. *content* names the table that holds the texts, if any."""
    return f"USING {FTS}(text, content='{content}', content_rowid='seq', columnsize=0, tokenize='{TOKENIZER}')"


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the system, about the file *path*, into ``JournalError``."""
    try:
        yield
    except sqlite3.Error as error:
        if code_of(error) in _UNSOUND:
            raise _damaged(path, f"cannot be trusted ({error})") from error
        if code_of(error) in _LOCKED:
            msg = f"another program has locked {path}: end it, or give --data another folder"
            raise JournalInUse(msg) from error
        msg = f"cannot use {path}: {error}; check its permissions and the free space on its disk"
        raise JournalError(msg) from error
    except UnicodeDecodeError as error:  # SQLite's message quotes a part of the file
        raise _damaged(path, f"cannot be trusted ({error})") from error
    except OSError as error:
        msg = f"cannot use {path}: {error.strerror or error}; check its permissions and the free space on its disk"
        raise JournalError(msg) from error


def _damaged(path: Path, problem: str) -> JournalDamaged:
    return JournalDamaged(f"the journal {path} {problem}: {_REMEDY}")


def _create(path: Path) -> None:
    """Create a journal under a temporary name and rename it, so that a crash leaves no incomplete journal."""
    log = path.with_name(path.name + "-wal")
    if log.exists():  # SQLite would apply the old log to the new file
        raise _damaged(path, f"is missing, but not its write-ahead log {log.name}")
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, draft.with_name(draft.name + "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(draft, isolation_level=None)) as db:
        _migrate(db, path)
    draft.replace(path)
    fsync_directory(path.parent)


def _examine(path: Path) -> None:
    """Reject a file whose header is not SQLite's, or that is truncated (SQLite file format, section 1.3)."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise _damaged(path, "is not an SQLite database")
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return  # after a crash, the missing pages may be in the log
    size, page = path.stat().st_size, int.from_bytes(header[16:18])
    expected = int.from_bytes(header[28:32]) * (65536 if page == 1 else page)
    if size < expected:
        raise _damaged(path, f"is truncated ({size} bytes of {expected})")


def _identify(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _damaged(path, "is a database, but not a journal of this program")
    version, newest = _schema_version(db), len(MIGRATIONS)
    if version > newest:
        msg = (
            f"the journal {path} has schema version {version}, this program knows up to {newest}: "
            "install the newer version that wrote it, or give --data another folder"
        )
        raise JournalTooNew(msg)
    if version < 1:
        raise _damaged(path, f"has the impossible schema version {version}")


def _schema_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    for version, statements in enumerate(MIGRATIONS[_schema_version(db) :], _schema_version(db) + 1):
        try:
            _apply(db, *statements, f"PRAGMA user_version = {version}")
        except sqlite3.Error as error:
            if code_of(error) != sqlite3.SQLITE_ERROR:
                raise
            # The file is valid. Probably this build of SQLite lacks a feature.
            msg = f"cannot bring {path} to schema version {version}: {error} (SQLite {sqlite3.sqlite_version})"
            raise JournalError(msg) from error


def _apply(db: sqlite3.Connection, *statements: str) -> None:
    """Execute *statements* in one transaction. If it raises ``sqlite3.Error``, none has taken effect."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            db.execute(statement)
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _create_index(db: sqlite3.Connection) -> None:
    """Create an empty full-text index unless there is one, or this SQLite has no FTS5.

    This is not a migration, because an SQLite without FTS5 may use the journal before one that has it.
    """
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'words'").fetchone() != (0,):
        return
    try:
        _apply(
            db,
            f"CREATE VIRTUAL TABLE words {full_text(content='events')}",
            # A merge that FTS5 does within an insertion delays the commit by 25 ms now and then. Therefore automerge is
            # off, and search_indexer.py merges in small steps. crisismerge takes over if these steps fall behind.
            "INSERT INTO words(words, rank) VALUES ('automerge', 0)",
            "INSERT INTO words(words, rank) VALUES ('crisismerge', 64)",
            # Moving the mark indexes the lines that it passes, so that no line is ever missing or indexed twice.
            """CREATE TRIGGER indexing AFTER UPDATE OF upto ON indexed BEGIN
                INSERT INTO words(rowid, text) SELECT seq, text FROM events WHERE seq > old.upto AND seq <= new.upto;
            END""",
        )
    except sqlite3.OperationalError as error:
        if code_of(error) != sqlite3.SQLITE_ERROR:
            raise


def _check_keys(db: sqlite3.Connection) -> None:
    """Raise ``JournalDamaged`` if a line belongs to no room."""
    db.execute("DELETE FROM events WHERE FALSE")  # fails now if the file cannot be written
    # In one query without the other, min and max use the index. Together they would read the whole table.
    (first,) = db.execute("SELECT min(seq) FROM events").fetchone()
    (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
    if first is not None and (first < 1 or last >> SEQ_BITS >= next_room(db)):
        raise JournalDamaged(_LACKING)


def _read_recent(db: sqlite3.Connection, room: RoomRecord, count: int) -> list[Stored]:
    """Return the last *count* events of *room*, and set its mark. Raise ``JournalDamaged`` if a number is missing."""
    assert room.id is not None
    bounds = key(room.id, 0), key(room.id, MAX_SEQ)
    query = f"SELECT {COLUMNS} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constant names
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
        raise JournalDamaged(_LACKING)
    room.indexed = marks[0][0] & MAX_SEQ
    return events


def _mark_missing(db: sqlite3.Connection, last: LastNumber) -> str:
    """If the journal ends before *last*, store a line of the server in the place of the missing ones.

    Return a description of what is missing, empty if nothing is.
    """
    first = _last_of(db, last.room) + 1
    if first > last.seq:
        return ""
    one = first == last.seq
    numbers, pronoun = (f"#{first} is", "it") if one else (f"#{first}-#{last.seq} are", "them")
    text = f"{numbers} missing: the journal had lost {pronoun} when the server started."
    db.execute("BEGIN IMMEDIATE")
    try:
        found = db.execute("SELECT id FROM rooms WHERE name = ?", (last.room,)).fetchone()
        room = found[0] if found else next_room(db)
        if not found:
            add_room(db, room, last.room)
        row = to_row(Message(0, REPORTER, text, last.at, last.seq), key(room, 0))
        db.execute("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, ?, ?, ?, ?)", row[:5])
        # Numbers that were given to lines of other rooms may be used again.
        db.execute(_NEW_ID)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return text if last.room == LOBBY else f"{last.room}: {text}"


def _last_of(db: sqlite3.Connection, name: str) -> int:
    """Return the number of the last event of the room *name*, or 0 if there is none."""
    found = db.execute("SELECT id FROM rooms WHERE name = ?", (name,)).fetchone()
    return last_seq(db, found[0]) if found else 0
