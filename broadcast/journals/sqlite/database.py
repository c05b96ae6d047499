"""The database file of the SQLite journal: made, checked, brought up to date, and its rows as events."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse, JournalTooNew
from broadcast.core.events import Action, Message, Stored
from broadcast.journals.sqlite.data_dir import fsync_directory

Row: TypeAlias = tuple[int, float, str, str, str]
"""seq, at, kind, nick, text; what comes from a file may hold anything."""

APPLICATION_ID = 0x62636A31
"""What the file's header calls itself ("bcj1"): somebody else's database is never taken for a journal."""

MIGRATIONS: list[Sequence[str]] = [
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        # Not STRICT: SQLite before 3.37 cannot open a file that holds such a table, and Python 3.11 runs on older ones.
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, nick TEXT NOT NULL, text TEXT NOT NULL
        )""",
    ),
    # The lines up to this number are in the full-text index, each once.
    ("CREATE TABLE indexed (upto INTEGER NOT NULL)", "INSERT INTO indexed VALUES (0)"),
]
"""Entry n (from 0) is the statements that lead from schema version n to n + 1, in one transaction of their own."""

FTS = "fts5"
"""SQLite's module for full-text search; some are built without it."""
TOKENIZER = "unicode61 remove_diacritics 2"
"""What takes texts apart into words (SQLite 3.27 or newer)."""

BUSY_SECONDS = 2.0
"""Seconds to wait for another program that has locked the file."""

_EXAMINED = 1000  # so many of the most recent events are looked at when a journal is opened: some milliseconds
_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes; file format, section 1.3
_REMEDY = (
    "restore it from a backup, save what can be saved (docs/backup.rst says how), or move its folder away to begin anew"
)
_UNSOUND = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_KINDS: dict[str, type[Stored]] = {"said": Message, "emoted": Action}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def to_row(event: Stored) -> Row:
    """A numbered event as its row."""
    return event.seq, event.at, _NAMES[type(event)], event.nick, event.text


def from_row(row: Row) -> Stored:
    """The event that *row* holds, of no session; raises ``JournalDamaged``."""
    seq, at, kind, nick, text = row
    if kind not in _KINDS or [type(value) for value in (at, nick, text)] != [float, str, str]:
        msg = f"the journal's line #{seq} cannot be read"
        raise JournalDamaged(msg)
    return _KINDS[kind](0, nick, text, at, seq)


def code_of(error: sqlite3.Error) -> int:
    """The primary result code of *error*; 0 where it came from Python's side."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect(path: Path, *, writing: bool, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the existing file *path*, never a new one; *timeout* in seconds. Raises ``sqlite3.Error``, ``JournalError``.

    Every statement is a transaction of its own unless one is begun. A connection may be handed to another thread, not
    shared. There may be one that writes, and it alone moves the write-ahead log into the database: SQLite up to 3.51.2
    can lose commits where two do.
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
    db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves the data in the drive's cache


def fetch(db: sqlite3.Connection, first: int, last: int) -> list[Stored]:
    """The events numbered *first* to *last*, in order; raises ``sqlite3.Error``, ``JournalDamaged``."""
    first, last = max(first, 1), min(last, 2**63 - 1)  # what the database can take
    if first > last:
        return []
    query = "SELECT seq, at, kind, nick, text FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"
    return [from_row(row) for row in db.execute(query, (first, last))]


def last_seq(db: sqlite3.Connection) -> int:
    """The number of the last event; 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def prepare(path: Path, tail: int) -> tuple[sqlite3.Connection, list[Stored], int]:
    """Open *path* for writing, made or brought up to date: the connection, the last *tail* events, the last number.

    Raises a ``JournalError``. The time that it takes does not depend on how much the journal holds.
    """
    with _translate_errors(path):
        if path.exists():
            _examine(path)
        else:
            _create(path)
        with closing(connect(path, writing=False)) as db:  # somebody else's database must stay as it is
            _identify(db, path)
        db = connect(path, writing=True)
        try:
            _migrate(db, path)
            _make_index(db)
            recent, last = _recent(db, path, max(tail, _EXAMINED))
        except BaseException:
            db.close()
            raise
    return db, recent[len(recent) - min(tail, len(recent)) :], last


def full_text(content: str) -> str:
    """How a table for full-text search is declared; *content* says where the texts themselves are, if anywhere."""
    return f"USING {FTS}(text, content='{content}', content_rowid='seq', columnsize=0, tokenize='{TOKENIZER}')"


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if code_of(error) in _UNSOUND:
            raise _damaged(path, f"cannot be trusted ({error})") from error
        if code_of(error) in _LOCKED:
            msg = f"another program has locked {path}: end it, or give --data another folder"
            raise JournalInUse(msg) from error
        msg = f"cannot use {path}: {error}; look at its rights and at the space on its disk"
        raise JournalError(msg) from error
    except OSError as error:
        msg = f"cannot use {path}: {error.strerror or error}; look at its rights and at the space on its disk"
        raise JournalError(msg) from error


def _damaged(path: Path, what: str) -> JournalDamaged:
    return JournalDamaged(f"the journal {path} {what}: {_REMEDY}")


def _create(path: Path) -> None:
    """Make a journal that appears under its name only when it is complete: a crash on the way leaves no half of one."""
    log = path.with_name(path.name + "-wal")
    if log.exists():  # SQLite would play it into the new file
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
    """Refuse a file that is no SQLite database or was cut short, by its header (file format, section 1.3)."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise _damaged(path, "is no SQLite database")
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return  # after a crash the missing end may stand there
    size, page = path.stat().st_size, int.from_bytes(header[16:18])
    expected = int.from_bytes(header[28:32]) * (65536 if page == 1 else page)
    if size < expected:
        raise _damaged(path, f"was cut short ({size} bytes of {expected})")


def _identify(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _damaged(path, "is a database, but no journal of this program")
    version, newest = _version(db), len(MIGRATIONS)
    if version > newest:
        msg = (
            f"the journal {path} has schema version {version}, this program knows up to {newest}: "
            "install the newer version that wrote it, or give --data another folder"
        )
        raise JournalTooNew(msg)
    if version < 1:
        raise _damaged(path, f"has the impossible schema version {version}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    for version, statements in enumerate(MIGRATIONS[_version(db) :], _version(db) + 1):
        try:
            _apply(db, *statements, f"PRAGMA user_version = {version}")
        except sqlite3.Error as error:
            if code_of(error) != sqlite3.SQLITE_ERROR:
                raise
            # The file is sound; more likely this SQLite was built without something.
            msg = f"cannot bring {path} to schema version {version}: {error} (SQLite {sqlite3.sqlite_version})"
            raise JournalError(msg) from error


def _apply(db: sqlite3.Connection, *statements: str) -> None:
    """Execute all of *statements* or, raising ``sqlite3.Error``, none."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            db.execute(statement)
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _make_index(db: sqlite3.Connection) -> None:
    """Make the full-text index, with nothing in it, unless there is one, or this SQLite cannot.

    It is no part of a migration: a journal may be used with an SQLite without it, and then again with one that has it.
    """
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'words'").fetchone() != (0,):
        return
    try:
        _apply(
            db,
            f"CREATE VIRTUAL TABLE words {full_text(content='events')}",
            # What FTS5 merges within an insertion holds up whoever waits for it: 25 ms now and then. It is done in
            # pieces instead (index.py), and this is for the case that they fall behind.
            "INSERT INTO words(words, rank) VALUES ('automerge', 0)",
            "INSERT INTO words(words, rank) VALUES ('crisismerge', 64)",
            # So no line is ever missing or there twice: whoever moves the mark indexes what it passes.
            """CREATE TRIGGER indexing AFTER UPDATE OF upto ON indexed BEGIN
                INSERT INTO words(rowid, text) SELECT seq, text FROM events WHERE seq > old.upto AND seq <= new.upto;
            END""",
        )
    except sqlite3.OperationalError as error:
        if code_of(error) != sqlite3.SQLITE_ERROR:
            raise


def _check_index(db: sqlite3.Connection, last: int) -> bool:
    """Whether there is a mark of how far the index goes, and the journal goes as far: *last* is its last number."""
    marks = db.execute("SELECT count(*) FROM indexed WHERE upto BETWEEN 0 AND ?", (last,)).fetchone()
    return bool(marks == (1,))


def _recent(db: sqlite3.Connection, path: Path, count: int) -> tuple[list[Stored], int]:
    """The last *count* events and the last number, having looked whether the numbers are dense."""
    db.execute("DELETE FROM events WHERE FALSE")  # find out now whether it can be written
    last = last_seq(db)
    first = db.execute("SELECT coalesce(min(seq), 1) FROM events").fetchone()[0]
    try:
        events = fetch(db, last - count + 1, last)
    except JournalDamaged as error:
        raise _damaged(path, f"cannot be trusted ({error})") from error
    gaps = any(later.seq != earlier.seq + 1 for earlier, later in pairwise(events))
    if not _check_index(db, last) or first != 1 or gaps or len(events) != min(count, last):
        raise _damaged(path, "lacks some of its lines")
    return events, last
