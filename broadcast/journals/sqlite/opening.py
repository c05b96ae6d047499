"""The opening of the journal's database: creation, checks, and the line that stands for missing ones."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from broadcast.core.errors import JournalDamaged
from broadcast.core.events import Message, Stored
from broadcast.durability import sync_folder
from broadcast.journals.commit_queue import REPORTER
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, LOBBY, NO_NUMBER, LastNumber
from broadcast.journals.sqlite.database import (
    LACKING_LINES,
    add_room,
    connect,
    damaged,
    last_seq,
    next_room,
    read_room,
    to_row,
    translate_errors,
)
from broadcast.journals.sqlite.room_record import SEQ_BITS, RoomRecord, key
from broadcast.journals.sqlite.schema import create_index, migrate, verify_schema

_EXAMINED_EVENTS = 1000  # number of recent events to check in the first room, which takes some milliseconds
_NEW_ID = "UPDATE journal SET id = lower(hex(randomblob(16)))"
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100  # SQLite file format, section 1.3


class OpenedDatabase(NamedTuple):
    """The database of a journal, and what the opening has read from it."""

    db: sqlite3.Connection
    """The writing connection."""
    id: str
    """The id of the journal."""
    room: RoomRecord
    """The room that was asked for."""
    recent: list[Stored]
    """The last events of the room."""
    last_number: LastNumber
    """The number of the journal's last line, as far as that is known."""


def open_database(
    path: Path,
    tail: int,
    last_number: LastNumber = NO_NUMBER,
    report: Callable[[str], object] = str,
    name: str = LOBBY,
) -> OpenedDatabase:
    """Create or migrate the file *path* and open it. Read the room *name* and its last *tail* events.

    The events are fewer than *tail* if numbers between them are missing. If the journal ends before *last_number*, a
    line of the server takes the place of the missing ones, so that no number is used twice. *report* is called with the
    text of this line. In this case, and without a *last_number*, the journal gets a new id. If the journal has lines, a
    *last_number* of 0 is none.

    Raises ``JournalError``. The duration does not depend on the size of the journal.
    """
    with translate_errors(path):
        if path.exists():
            examine(path)
        elif last_number.seq:
            raise damaged(path, f"is missing, but {LAST_NUMBER_FILE} says that it has held line #{last_number.seq}")
        else:
            _create(path)
        with closing(connect(path, writing=False)) as db:  # read-only: it may belong to another program
            verify_schema(db, path)
        db = connect(path, writing=True)
        try:
            migrate(db, path)
            create_index(db)
            try:
                _check_keys(db)
                room, recent = read_room(db, name, tail, _EXAMINED_EVENTS)
                if last_number == NO_NUMBER or (not last_number.seq and _has_lines(db)):
                    db.execute(_NEW_ID)  # the file may be an older copy from another folder
                if missing := _mark_missing(db, last_number):
                    report(missing)
                    room, recent = read_room(db, name, tail)
                last_name = last_number.room if last_number.seq else name
                last_number = LastNumber(_last_of(db, last_name), last_number.at, last_name)
            except JournalDamaged as error:
                raise damaged(path, str(error)) from error
            (journal_id,) = db.execute("SELECT id FROM journal").fetchone()
        except BaseException:
            db.close()
            raise
    return OpenedDatabase(db, journal_id, room, recent, last_number)


def _create(path: Path) -> None:
    """Create a journal under a temporary name and rename it, so that a crash leaves no incomplete journal."""
    log = path.with_name(path.name + "-wal")
    if log.exists():  # SQLite would apply the old log to the new file
        raise damaged(path, f"is missing, but not its write-ahead log {log.name}")
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, draft.with_name(draft.name + "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(draft, isolation_level=None)) as db:
        migrate(db, path)
    draft.replace(path)
    sync_folder(path.parent)


def examine(path: Path) -> None:
    """Reject a file whose header is not SQLite's, or that is truncated (SQLite file format, section 1.3)."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise damaged(path, "is not an SQLite database")
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return  # after a crash, the missing pages may be in the log
    size, page = path.stat().st_size, int.from_bytes(header[16:18])
    expected = int.from_bytes(header[28:32]) * (65536 if page == 1 else page)
    if size < expected:
        raise damaged(path, f"is truncated ({size} bytes of {expected})")


def _check_keys(db: sqlite3.Connection) -> None:
    """Raise ``JournalDamaged`` if a line belongs to no room."""
    db.execute("DELETE FROM events WHERE FALSE")  # fails now if the file cannot be written
    # These are two queries, because one with both min and max would read the whole table.
    (first,) = db.execute("SELECT min(seq) FROM events").fetchone()
    (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
    if first is not None and (first < 1 or last >> SEQ_BITS >= next_room(db)):
        raise JournalDamaged(LACKING_LINES)


def _mark_missing(db: sqlite3.Connection, last: LastNumber) -> str:
    """If lines up to *last* are missing, store a line of the server with the number *last*, and a new id.

    Return a description of the missing lines. It is empty if none are missing.
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


def _has_lines(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT seq FROM events LIMIT 1").fetchone() is not None


def _last_of(db: sqlite3.Connection, name: str) -> int:
    """Return the number of the last event of the room *name*, or 0 if there is none."""
    found = db.execute("SELECT id FROM rooms WHERE name = ?", (name,)).fetchone()
    return last_seq(db, found[0]) if found else 0
