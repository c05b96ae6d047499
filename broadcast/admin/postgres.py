"""The journal in a PostgreSQL database: its connection, reading it, and checking it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from broadcast.admin.output import Progress
from broadcast.admin.reading import ROWS, JournalReader, RoomSize
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.core.errors import JournalDamaged, JournalTooNew
from broadcast.core.events import Stored
from broadcast.core.records import AuditEntry, PrivateLine, StoredRecords
from broadcast.journals.commit_queue import REPORTER
from broadcast.journals.postgres.database import Connection, Database, from_text
from broadcast.journals.postgres.files import PostgresContents
from broadcast.journals.postgres.queries import fetch_after
from broadcast.journals.postgres.records import read_audit, read_records, select_records
from broadcast.journals.postgres.schema import COPY_OF, INCOMPLETE, MIGRATIONS, SERVER_LOCK, read_version

NODE = "broadcast-admin"
"""The name of the command in the database."""


def make_database(url: str, schema: str) -> Database:
    """Return the database at *url*. Raises ``AdminError``."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text may hold a part of the password
        raise AdminError(UNUSABLE, "the URL of the journal is not one that PostgreSQL understands") from None
    return Database(url, schema, NODE)


@contextmanager
def open_database(url: str, schema: str) -> Iterator[Connection]:
    """Connect to the database at *url*. Raises ``AdminError`` or ``JournalError``, also during the block."""
    database = make_database(url, schema)
    with database.translate_errors(), closing(database.connect()) as db:
        yield db


@contextmanager
def open_to_read(url: str, schema: str) -> Iterator[PostgresReader]:
    """Open the journal at *url*. Raises ``AdminError`` or ``JournalError``, also during the block."""
    with open_database(url, schema) as db:
        _check_version(db, schema)
        yield PostgresReader(db, schema)


@contextmanager
def open_contents(url: str, schema: str) -> Iterator[PostgresContents]:
    """Open the shared files at *url*. Raises ``AdminError`` or ``JournalError``, also during the block."""
    contents = PostgresContents(make_database(url, schema))
    with closing(contents):
        yield contents


def find_id(database: Database) -> str:
    """Return the id of the journal in *database*. Raises as ``open_to_read`` does."""
    with open_to_read(database.url, database.schema) as journal:
        return journal.id()


def _check_version(db: Connection, schema: str) -> None:
    version, found = read_version(db, schema)
    if found.startswith(COPY_OF):
        raise AdminError(UNUSABLE, INCOMPLETE.format(schema))
    if version > len(MIGRATIONS):
        msg = f"the schema {schema} of the journal has version {version}: use the newer broadcast-admin of its server"
        raise JournalTooNew(msg)
    if version < len(MIGRATIONS):
        has = f"has version {version} of an earlier version" if version else "holds no journal"
        raise AdminError(UNUSABLE, f"the schema {schema} of the database {has}: start the server once")


class PostgresReader:
    """The journal in the *schema* of *db*."""

    def __init__(self, db: Connection, schema: str) -> None:
        self.db = db
        self._schema = schema

    def is_used(self) -> bool:
        """Return whether a server has the journal open."""
        row = self.db.execute("SELECT pg_try_advisory_lock(%s + hashtext(%s))", (SERVER_LOCK, self._schema)).fetchone()
        self.db.execute("SELECT pg_advisory_unlock_all()")
        return row != (True,)

    def id(self) -> str:
        """Return the identifier of the journal."""
        row = self.db.execute("SELECT id FROM journal").fetchone()
        assert row is not None
        return str(row[0])

    def records(self) -> StoredRecords:
        """Return the accounts and the bans."""
        return read_records(self.db)

    def audit(self, count: int) -> list[AuditEntry]:
        """Return the newest *count* entries of the audit trail, in order."""
        return read_audit(self.db, count)

    def rooms(self) -> list[RoomSize]:
        """Return all rooms, the oldest first."""
        rows = self.db.execute("SELECT id, name, topic, last FROM rooms ORDER BY id").fetchall()
        return [RoomSize(number, from_text(name), from_text(topic), last) for number, name, topic, last in rows]

    def lines(self, room: RoomSize, after: int = 0) -> Iterator[Sequence[Stored]]:
        """Yield the lines of *room* with numbers above *after*, in order, some at a time."""
        while lines := fetch_after(self.db, room.name, after, room.last, ROWS):
            yield lines
            after = lines[-1].seq

    def private_lines(self, after: int = 0) -> Iterator[Sequence[PrivateLine]]:
        """Yield the private lines with ids above *after*, in order, some at a time."""
        while lines := select_records(self.db, PrivateLine, "WHERE id > %s ORDER BY id LIMIT %s", (after, ROWS)):
            yield lines
            after = lines[-1].id


_conforms: type[JournalReader] = PostgresReader


def refuse_use(journal: PostgresReader) -> None:
    """Raise ``AdminError`` if a server has *journal* open."""
    if journal.is_used():
        raise AdminError(UNUSABLE, "a server has the journal open: stop all servers of it first")


def verify(journal: PostgresReader) -> Iterator[str]:
    """Yield one line for each problem of *journal*: of the numbers of lines, and of rows that cannot be read."""
    rooms = journal.rooms()
    total, done = sum(room.last for room in rooms), 0
    progress = Progress(lambda: f"{done:,} of {total:,} lines checked")
    for room in rooms:
        last = 0
        try:
            for lines in journal.lines(room):
                for line in lines:
                    if line.seq != last + 1 and line.nick != REPORTER:
                        yield f"{room.name}: the lines from #{last + 1} to #{line.seq - 1} are missing"
                    last = line.seq
                done += len(lines)
                progress.update()
        except JournalDamaged as error:
            yield f"{room.name}: {error}"
        else:
            if last != room.last:
                yield f"{room.name}: the lines from #{last + 1} to #{room.last} are missing"
    progress.end()
    journal.records()
    for _lines in journal.private_lines():
        pass


def describe_rooms(journal: PostgresReader) -> Iterator[str]:
    """Yield one line for each room."""
    for room in journal.rooms():
        query = "SELECT count(*), min(seq) FROM lines WHERE room = %s AND seq <= %s"
        row = journal.db.execute(query, (room.id, room.last)).fetchone()
        assert row is not None
        yield f"{room.name}: {row[0]} lines" + (f", #{row[1]}-#{room.last}" if row[0] else "")
