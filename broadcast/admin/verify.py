"""The command ``verify``: a check of a whole journal, or of a backup, that changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from broadcast.admin.database import SqliteReader, read_rooms
from broadcast.admin.output import Progress, show_progress
from broadcast.core.errors import JournalDamaged
from broadcast.core.records import AuditEntry
from broadcast.journals.commit_queue import REPORTER
from broadcast.journals.sqlite.data_dir import LastNumber
from broadcast.journals.sqlite.database import COLUMNS, EVENT_COLUMNS, from_row
from broadcast.journals.sqlite.record_tables import read_records, select_records
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS, key_range
from broadcast.journals.sqlite.schema import FILES_VERSION, MIGRATIONS

MAX_PROBLEMS: Final = 20
"""Maximum number of problems that are reported."""
LINES_VERSION: Final = 4
"""The schema version from which on lines have all their columns."""
AUDIT_ROWS: Final = 10_000


@dataclass(slots=True)
class RoomCheck:
    """A room whose lines are read."""

    name: str
    last: int = 0
    """Number of the last line so far."""


def verify(db: sqlite3.Connection, last_number: LastNumber) -> Iterator[str]:
    """Yield one line for each problem of *db*, whose last line should be *last_number* or a later one."""
    yield from _check_pages(db)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < LINES_VERSION:
        return
    yield from _check_lines(db, last_number)
    if version == len(MIGRATIONS):
        yield from _check_records(db)


def describe_rooms(db: sqlite3.Connection) -> Iterator[str]:
    """Yield one line for each room; none in a journal from before there were rooms."""
    if db.execute("PRAGMA user_version").fetchone()[0] < LINES_VERSION:
        return
    for room in read_rooms(db):
        query = "SELECT count(*), min(seq) FROM events WHERE seq BETWEEN ? AND ?"
        count, first = db.execute(query, key_range(room.id)).fetchone()
        yield f"{room.name}: {count} lines" + (f", #{first & MAX_SEQ}-#{room.last}" if count else "")


def _check_pages(db: sqlite3.Connection) -> Iterator[str]:
    with show_progress(db, lambda: "checking the pages of the file"):
        rows = db.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})").fetchall()
    for (text,) in rows:
        if text != "ok":
            yield " ".join(f"SQLite reports: {text}".split())


def _check_lines(db: sqlite3.Connection, last_number: LastNumber) -> Iterator[str]:
    """Check that each line belongs to a room and can be read, and that no number is missing."""
    rooms = {number: RoomCheck(name) for number, name in db.execute("SELECT id, name FROM rooms")}
    done = 0
    progress = Progress(lambda: f"{done:,} lines checked")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    columns = EVENT_COLUMNS if version >= FILES_VERSION else f"{COLUMNS}, NULL"
    query = f"SELECT {columns} FROM events ORDER BY seq"  # noqa: S608 - constant names
    for done, row in enumerate(db.execute(query)):
        room, seq = rooms.get(row[0] >> SEQ_BITS), row[0] & MAX_SEQ
        if room is None or not seq:
            yield f"the line with the key {row[0]} belongs to no room"
            continue
        try:
            line = from_row(row)
        except JournalDamaged as error:
            yield f"{room.name}: {error}"
        else:
            if seq != room.last + 1 and line.nick != REPORTER:
                yield f"{room.name}: {_numbers(room.last + 1, seq - 1)} missing"
        room.last = seq
        if done % 1000 == 0:
            progress.update()
    progress.end()
    for number, room in rooms.items():
        marks = db.execute("SELECT upto FROM indexed WHERE upto BETWEEN ? AND ?", key_range(number)).fetchall()
        if len(marks) != 1 or marks[0][0] & MAX_SEQ > room.last:
            yield f"{room.name}: the mark of the search index is wrong"
    last = next((room.last for room in rooms.values() if room.name == last_number.room), 0)
    if last < last_number.seq:
        yield f"{last_number.room}: {_numbers(last + 1, last_number.seq)} missing"


def _numbers(first: int, last: int) -> str:
    return f"#{first} is" if first == last else f"#{first}-#{last} are"


def _check_records(db: sqlite3.Connection) -> Iterator[str]:
    """Check that accounts, bans, private lines and the audit trail can be read."""
    try:
        read_records(db)
        for _lines in SqliteReader(db).private_lines():
            pass
        first = 0
        while len(select_records(db, AuditEntry, "ORDER BY id LIMIT ? OFFSET ?", (AUDIT_ROWS, first))) == AUDIT_ROWS:
            first += AUDIT_ROWS
    except JournalDamaged as error:
        yield str(error)
