"""The schema of the journal's database: its migrations, and its full-text index."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from broadcast.core.errors import JournalError, JournalTooNew
from broadcast.journals.full_text import full_text
from broadcast.journals.sqlite.database import code_of, damaged
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS

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
    # Rooms. A key consists of the room's id and the number, so the keys of earlier lines belong to the room with the id
    # 0 already. No statement rewrites a table, so the duration does not depend on the number of lines.
    (
        "ALTER TABLE events ADD COLUMN uid TEXT",
        "CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic TEXT NOT NULL)",
        "INSERT INTO rooms VALUES (0, 'lobby', '')",
        # Each room has one mark: the key of its last line that is in the full-text index.
        "CREATE UNIQUE INDEX marks ON indexed (upto)",
        "CREATE TABLE journal (id TEXT NOT NULL)",
        "INSERT INTO journal VALUES (lower(hex(randomblob(16))))",
        # Other programs can read the lines from this view.
        f"""CREATE VIEW lines AS SELECT name AS room, seq & {MAX_SEQ} AS seq, at, kind, nick, text
            FROM events JOIN rooms ON rooms.id = events.seq >> {SEQ_BITS}""",  # noqa: S608 - constant numbers
    ),
    # The session of the author, NULL in earlier lines. This rewrites no table either.
    ("ALTER TABLE events ADD COLUMN session INTEGER",),
    # Accounts, bans, the audit trail, and private lines. AUTOINCREMENT: no id is ever used again.
    (
        """CREATE TABLE accounts (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, password_hash TEXT NOT NULL, role TEXT NOT NULL,
            created REAL NOT NULL, last_used REAL NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL
        )""",
        """CREATE TABLE bans (
            id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, value TEXT NOT NULL, name TEXT NOT NULL,
            reason TEXT NOT NULL, "by" TEXT NOT NULL, at REAL NOT NULL, until REAL
        )""",
        """CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, "by" TEXT NOT NULL, action TEXT NOT NULL,
            target TEXT NOT NULL, detail TEXT NOT NULL
        )""",
        """CREATE TABLE private_lines (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, sender_account INTEGER NOT NULL,
            sender TEXT NOT NULL, recipient_account INTEGER NOT NULL, recipient TEXT NOT NULL, text TEXT NOT NULL,
            delivered INTEGER NOT NULL, kind TEXT NOT NULL, uid TEXT NOT NULL
        )""",
        "CREATE INDEX private_pairs ON private_lines (sender_account, recipient_account)",
        "CREATE INDEX private_recipients ON private_lines (recipient_account)",
        "CREATE INDEX private_waiting ON private_lines (recipient_account, sender_account) WHERE delivered = 0",
    ),
    # Files that people have shared, by the keys of their events. An event's text is the name of its file. The logins
    # of an account are those that clients remember.
    (
        """CREATE TABLE files (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL, size INTEGER NOT NULL, type TEXT NOT NULL,
            sha256 TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL
        )""",
        "ALTER TABLE accounts ADD COLUMN logins TEXT NOT NULL DEFAULT ''",
    ),
]
"""Entry n (from 0) holds the statements that migrate schema version n to n + 1, in one transaction."""

FILES_VERSION = 6
"""The schema version from which on lines can share files."""


def verify_schema(db: sqlite3.Connection, path: Path) -> None:
    """Raise ``JournalDamaged`` or ``JournalTooNew`` unless *db* is a journal that this program can use or migrate."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise damaged(path, "is a database, but not a journal of this program")
    version, newest = _schema_version(db), len(MIGRATIONS)
    if version > newest:
        msg = (
            f"the journal {path} has schema version {version}, this program knows up to {newest}: "
            "install the newer version that wrote it, or give --data another folder"
        )
        raise JournalTooNew(msg)
    if version < 1:
        raise damaged(path, f"has the impossible schema version {version}")


def _schema_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring *db* to the newest schema version. Raises ``sqlite3.Error`` or ``JournalError``.

    If a migration fails, those before it stay in effect.
    """
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


def create_index(db: sqlite3.Connection) -> None:
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
            # An update of the mark indexes the lines that it passes, so no line is ever missing or indexed twice.
            """CREATE TRIGGER indexing AFTER UPDATE OF upto ON indexed BEGIN
                INSERT INTO words(rowid, text) SELECT seq, text FROM events WHERE seq > old.upto AND seq <= new.upto;
            END""",
        )
    except sqlite3.OperationalError as error:
        if code_of(error) != sqlite3.SQLITE_ERROR:
            raise
