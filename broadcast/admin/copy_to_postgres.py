"""The copy of a journal into a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from typing import Any

from psycopg.types.json import Jsonb

from broadcast.admin.copy import JournalWriter
from broadcast.admin.postgres import PostgresReader, open_database
from broadcast.admin.reading import JournalReader, RoomSize
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.core.events import Action, FileInfo, Shared, Stored
from broadcast.core.nicknames import casefold_key
from broadcast.core.records import AccountRecord, AuditEntry, Ban, PrivateLine, StoredRecords
from broadcast.journals.postgres.database import Connection, to_text
from broadcast.journals.postgres.schema import COPY_OF, open_schema, read_version


@contextmanager
def open_postgres_copy(url: str, schema: str, journal_id: str) -> Iterator[JournalWriter]:
    """Create the schema, or go on with a copy of the journal with this id. Raises ``AdminError``, ``JournalError``."""
    with open_database(url, schema) as db:
        version, found = read_version(db, schema)
        if not version:
            open_schema(db, schema)
            db.execute("UPDATE journal SET id = %s", (COPY_OF + journal_id,))
        elif found != COPY_OF + journal_id:
            holds = "a part of the copy of another journal" if found.startswith(COPY_OF) else "a journal already"
            text = f"the schema {schema} of the database holds {holds}: give another one with --schema, or drop it"
            raise AdminError(UNUSABLE, text)
        yield PostgresWriter(db, schema)


class PostgresWriter:
    """A journal in the *schema* of *db* that a copy fills."""

    def __init__(self, db: Connection, schema: str) -> None:
        self._db = db
        self._schema = schema
        self._rooms: dict[str, int] = {}
        """The ids of the rooms by their names."""
        db.execute("CREATE TEMPORARY TABLE added (LIKE lines)")
        db.execute("SET enable_seqscan = off")  # the planner does not know how large the tables are

    def last_line(self, room: RoomSize) -> int:
        """Return the number of the last line that the copy of *room* has, and give it the topic."""
        statement = """INSERT INTO rooms (name, topic) VALUES (%s, %s)
            ON CONFLICT (name) DO UPDATE SET topic = excluded.topic RETURNING id, last"""
        row = self._db.execute(statement, (to_text(room.name), to_text(room.topic))).fetchone()
        assert row is not None
        self._rooms[room.name], last = row
        return int(last)

    def add_lines(self, room: RoomSize, lines: Sequence[Stored]) -> None:
        """Add the next *lines* of *room*. A ``uid`` that an earlier line has is left out."""
        number = self._rooms[room.name]
        with self._db.transaction():
            self._insert("added", _LINE_COLUMNS, (_line_row(number, line) for line in lines))
            self._db.execute(_ADD_LINES)
            self._db.execute("TRUNCATE added")
            self._db.execute("UPDATE rooms SET last = %s WHERE id = %s", (lines[-1].seq, number))

    def replace_records(self, records: StoredRecords, audit: Sequence[AuditEntry]) -> None:
        """Store these records, and no others. The copy has no private lines afterwards."""
        last = {
            "accounts": records.next_account - 1,
            "bans": records.next_ban - 1,
            "private_lines": records.next_private - 1,
        }
        with self._db.transaction():
            for table in (*last, "audit", "last_ids"):
                self._db.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - constants
            keys = ((account, casefold_key(account.name)) for account in records.accounts)
            columns = ", ".join(f'"{field.name}"' for field in fields(AccountRecord))
            self._insert("accounts", f"{columns}, key", ((*astuple(account), key) for account, key in keys))
            self._insert_records("bans", Ban, records.bans)
            self._insert_records("audit", AuditEntry, audit)
            self._insert("last_ids", "kind, id", last.items())

    def add_private(self, lines: Sequence[PrivateLine]) -> None:
        """Add the next private *lines*."""
        with self._db.transaction():
            self._insert_records("private_lines", PrivateLine, lines)

    def reader(self) -> JournalReader:
        """Return what the copy has so far."""
        return PostgresReader(self._db, self._schema)

    def finish(self, journal_id: str) -> None:
        """Make the copy a journal with this identifier."""
        self._db.execute("UPDATE journal SET id = %s", (journal_id,))

    def _insert_records(self, table: str, kind: type[Any], records: Iterable[Any]) -> None:
        columns = ", ".join(f'"{field.name}"' for field in fields(kind))
        self._insert(table, columns, map(astuple, records))

    def _insert(self, table: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
        with self._db.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row([to_text(value) if isinstance(value, str) else value for value in row])


_LINE_COLUMNS = "room, seq, at, kind, session, nick, text, uid, file"
_FILE_KEYS = [field.name for field in fields(FileInfo) if field.name != "name"]
_ADD_LINES = f"""
    INSERT INTO lines ({_LINE_COLUMNS}) SELECT room, seq, at, kind, session, nick, text, CASE
        WHEN row_number() OVER (PARTITION BY uid ORDER BY seq) = 1 AND NOT EXISTS (
            SELECT FROM lines WHERE lines.room = added.room AND lines.uid = added.uid
        ) THEN uid END, file
    FROM added
"""  # noqa: S608 - constants


def _line_row(room: int, line: Stored) -> Sequence[object]:
    if isinstance(line, Shared):
        kind, file = "shared", Jsonb({name: getattr(line.file, name) for name in _FILE_KEYS})
    else:
        kind, file = "emoted" if isinstance(line, Action) else "said", None
    return room, line.seq, line.at, kind, line.session, line.nick, line.text, line.uid or None, file
