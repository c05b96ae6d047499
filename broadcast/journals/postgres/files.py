"""The shared files in PostgreSQL: contents in chunks, and the records of shares.

The bytes of an unfinished upload are in a file on this machine. When it is complete, its chunks are stored one by one,
and one call of a function makes them a share.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from threading import Lock, local
from typing import Any, Final

import msgspec
import psycopg
from psycopg.errors import UniqueViolation

from broadcast.core.errors import JournalError, StartupError
from broadcast.files.contents import ContentMissing, PartFile, SharedFile
from broadcast.journals.postgres.database import Connection, Database, describe_error, from_text, to_text

CHUNK_BYTES: Final = 256 * 1024
"""Number of bytes in a chunk."""
OVERLAP: Final = 100
"""Number of shares that are looked at again, because a share with a lower serial number may appear later."""

_COLUMNS = ", ".join(field.name for field in fields(SharedFile))
_CLEAN = """WITH old AS (DELETE FROM contents WHERE sha256 IS NULL AND begun < now() - interval '1 day' RETURNING token)
    DELETE FROM chunks WHERE token IN (SELECT token FROM old)"""


class PostgresContents:
    """The shared files in *database*. Its methods may run on several threads, each of which has a connection."""

    is_shared = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = local()
        self._lock = Lock()
        """Guards the list of connections."""
        self._connections: list[Connection] = []
        self._last = 0
        """The highest serial number of a share that was read."""

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            connections, self._connections = self._connections, []
        for db in connections:
            with suppress(psycopg.Error):
                db.close()

    def load(self) -> tuple[list[SharedFile], list[str]]:
        """Return all shares, the oldest first. Remove what interrupted uploads have left. Raises ``StartupError``."""
        try:
            self._run(lambda db: db.execute(_CLEAN))
            return self.read_new(), []
        except JournalError as error:
            raise StartupError(f"cannot read the shared files: {error}.") from error

    def read_new(self) -> list[SharedFile]:
        """Return the shares that were added since the last call, and perhaps some others. Raises ``JournalError``."""
        query = f"SELECT serial, {_COLUMNS} FROM shares WHERE serial > %s ORDER BY at, serial"  # noqa: S608 - constants
        rows = self._run(lambda db: db.execute(query.encode(), (self._last - OVERLAP,)).fetchall())
        self._last = max([self._last, *(row[0] for row in rows)])
        return [_to_share(row[1:]) for row in rows]

    def find_removed(self, ids: Sequence[str]) -> list[str]:
        """Return those of *ids* that are no longer shares. Raises ``JournalError``."""
        query = "SELECT id FROM unnest(%s::text[]) AS id WHERE NOT EXISTS (SELECT FROM shares WHERE shares.id = id.id)"
        return [row[0] for row in self._run(lambda db: db.execute(query, (list(ids),)).fetchall())]

    def commit(self, part: PartFile, file: SharedFile) -> None:
        """Turn *part*, which is sealed, into *file*. Raises ``OSError`` and ``JournalError``."""
        try:
            token = secrets.token_hex(16)
            self._execute("INSERT INTO contents (token, size) VALUES (%s, %s)", token, file.size)
            with part.path.open("rb") as content:
                number = 0
                while data := content.read(CHUNK_BYTES):
                    self._execute("INSERT INTO chunks VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", token, number, data)
                    number += 1
            values = {name: to_text(value) if isinstance(value, str) else value for name, value in asdict(file).items()}
            share = msgspec.json.encode(values).decode()
            try:
                self._execute("SELECT add_share(%s, %s::jsonb)", token, share)
            except UniqueViolation:  # another node has stored the same content meanwhile
                self._execute("SELECT add_share(%s, %s::jsonb)", token, share)
        finally:
            part.remove()

    def open(self, file: SharedFile) -> PostgresContent:
        """Open the content of *file*. Raises ``ContentMissing`` and ``JournalError``."""
        query = "SELECT token FROM contents WHERE sha256 = (SELECT sha256 FROM shares WHERE id = %s)"
        row = self._run(lambda db: db.execute(query, (file.id,)).fetchone())
        if row is None:
            raise ContentMissing
        return PostgresContent(self, str(row[0]))

    def remove(self, file: SharedFile) -> None:
        """Remove *file*, and its content if this was the last share. Raises ``JournalError``."""
        self._execute("SELECT remove_share(%s)", file.id)

    def read_chunk(self, token: str, number: int) -> bytes:
        """Return a chunk of a content; nothing after the last one. Raises ``JournalError``."""
        query = "SELECT data FROM chunks WHERE token = %s AND number = %s"
        row = self._run(lambda db: db.execute(query, (token, number)).fetchone())
        return b"" if row is None else bytes(row[0])

    def _execute(self, statement: str, *values: object) -> None:
        self._run(lambda db: db.execute(statement.encode(), values))

    def _run(self, call: Callable[[Connection], Any]) -> Any:  # noqa: ANN401 - the result of the call
        """Return the result of *call*. If its connection was lost, call it again. Raises ``JournalError``."""
        with _translated():
            db: Connection | None = getattr(self._local, "db", None)
            if db is not None and not db.closed:
                try:
                    return call(db)
                except psycopg.OperationalError:
                    if not db.closed:
                        raise
            db = self._local.db = self._database.connect()
            with self._lock:
                self._connections = [each for each in self._connections if not each.closed] + [db]
            return call(db)


class PostgresContent:
    """The content *token*, which is open to read it."""

    def __init__(self, contents: PostgresContents, token: str) -> None:
        self._contents = contents
        self._token = token
        self._number = -1
        """Number of the chunk in memory."""
        self._data = b""

    def read(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset* on, and none only at the end. Raises ``JournalError``."""
        number, start = divmod(offset, CHUNK_BYTES)
        if number != self._number:
            self._data, self._number = self._contents.read_chunk(self._token, number), number
        return self._data[start : start + size]

    def close(self) -> None:
        """Forget the chunk in memory."""
        self._data, self._number = b"", -1


def _to_share(row: Sequence[Any]) -> SharedFile:
    values: list[Any] = [from_text(value) if isinstance(value, str) else value for value in row]
    return SharedFile(*values)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of the database into ``JournalError``, except that something is there already."""
    try:
        yield
    except UniqueViolation:
        raise
    except psycopg.Error as error:
        raise JournalError(describe_error(error)) from error
