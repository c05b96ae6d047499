"""The shared files in PostgreSQL: contents in chunks, and the records of shares.

Each chunk of an upload is stored as soon as it is full, so that another server can continue the upload. The last one
is stored together with the share.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from hashlib import sha256
from io import BufferedReader, RawIOBase
from os import SEEK_SET
from threading import Lock, local
from typing import Any, Final

import msgspec
import psycopg
from psycopg.errors import UniqueViolation

from broadcast.core.errors import JournalError, StartupError
from broadcast.files.contents import ContentMissing, Part, PartFile, PartKey, Sealed, SharedFile, SlotEnded
from broadcast.files.images import read_image
from broadcast.journals.postgres.database import Connection, Database, describe_error, from_text, to_text

CHUNK_BYTES: Final = 256 * 1024
"""Number of bytes in a chunk."""
OVERLAP: Final = 100
"""Number of shares that are looked at again, because a share with a lower serial number may appear later."""

_DROP = "SELECT drop_chunks(%s, %s)"
_ENDED: Final = "the upload has ended, or goes on elsewhere."
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

    def sweep(self) -> None:
        """Remove the bytes of uploads that have ended. Raises ``JournalError``."""
        self._execute("SELECT clean_slots()")

    def make_part(self, key: PartKey) -> PostgresPart:
        """Return the place for the bytes of an upload."""
        return PostgresPart(self, key)

    def commit(self, part: Part, file: SharedFile) -> None:
        """Turn *part*, which is sealed, into *file*. Raises ``OSError``, ``JournalError`` and ``SlotEnded``.

        A ``PartFile`` is a copy of a file of another journal.
        """
        if isinstance(part, PostgresPart):
            part.share(_to_json(file))
            return
        assert isinstance(part, PartFile)
        try:
            token = secrets.token_hex(16)
            self._execute("INSERT INTO contents (token, size) VALUES (%s, %s)", token, file.size)
            with part.path.open("rb") as content:
                number = 0
                while data := content.read(CHUNK_BYTES):
                    self._execute("INSERT INTO chunks VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", token, number, data)
                    number += 1
            share = _to_json(file)
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

    def call(self, statement: str, *values: object) -> Any:  # noqa: ANN401 - a value of the database
        """Return the value of *statement*. Raises ``JournalError``."""
        return self._run(lambda db: db.execute(statement.encode(), values).fetchone())[0]

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


class PostgresPart:
    """The bytes of an unfinished upload. The last 256 KiB are in memory, because they are stored with the share."""

    def __init__(self, contents: PostgresContents, key: PartKey) -> None:
        self._contents = contents
        self._key = key
        self._hash = sha256()
        self._number = 0
        """Number of chunks that are stored."""
        self._rest = bytearray()
        """The bytes behind them, which may be stored as a chunk that is not full."""
        self._is_open = False

    def append(self, data: bytes | bytearray) -> None:
        """Write *data* at the end. Raises ``JournalError`` and ``SlotEnded``."""
        self._open()
        self._hash.update(data)
        self._rest += data
        while len(self._rest) > CHUNK_BYTES:
            self._store(self._rest[:CHUNK_BYTES])
            del self._rest[:CHUNK_BYTES]
            self._number += 1

    def flush(self) -> None:
        """Store all bytes, so that another server continues behind them. Raises ``JournalError`` and ``SlotEnded``."""
        if self._rest:
            self._store(self._rest)

    def seal(self) -> Sealed:
        """Return the description of the bytes. Raises ``JournalError`` and ``SlotEnded``."""
        self.append(b"")
        size = self._number * CHUNK_BYTES + len(self._rest)
        return Sealed(size, self._hash.hexdigest(), read_image(BufferedReader(_Reader(self.read))))

    def share(self, share: str) -> None:
        """Make the bytes the content of *share*, in JSON. Raises ``JournalError`` and ``SlotEnded``."""
        statement = "SELECT share_slot(%s, %s, %s, %s, %s::jsonb)"
        values = self._key.slot, self._key.generation, self._number, self._rest, share
        try:
            result = self._contents.call(statement, *values)
        except UniqueViolation:  # another node has stored the same content meanwhile
            result = self._contents.call(statement, *values)
        if result != "shared":
            raise SlotEnded("you have left the room." if result == "left" else _ENDED)

    def remove(self) -> None:
        """Remove the bytes, unless another server continues the upload. Raises ``JournalError``."""
        self._rest.clear()
        self._contents.call(_DROP, *self._key[:2])

    def read(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset* on, and none only at the end. Raises ``JournalError``."""
        number, start = divmod(offset, CHUNK_BYTES)
        chunk = self._rest if number == self._number else self._contents.read_chunk(self._key.slot, number)
        return bytes(chunk[start : start + size])

    def _open(self) -> None:
        """Read the bytes that are stored already, or remove them if the upload begins anew."""
        if self._is_open:
            return
        self._is_open = True
        received = 0
        if not self._key.received and not self._contents.call(_DROP, *self._key[:2]):
            raise SlotEnded(_ENDED)
        while received < self._key.received:
            chunk = self._contents.read_chunk(self._key.slot, self._number)
            if not chunk:
                raise SlotEnded(_ENDED)
            self._hash.update(chunk)
            received += len(chunk)
            if len(chunk) == CHUNK_BYTES:
                self._number += 1
            else:
                self._rest += chunk

    def _store(self, data: bytes | bytearray) -> None:
        if not self._contents.call("SELECT store_chunk(%s, %s, %s, %s)", *self._key[:2], self._number, data):
            raise SlotEnded(_ENDED)


class _Reader(RawIOBase):
    """The bytes that *read* returns, as a file."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to *offset*, or that much further."""
        self._place = offset if whence == SEEK_SET else self._place + offset
        return self._place

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - bytes in memory
        """Read into *buffer*, and return how many bytes."""
        data = self._read(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


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


def _to_json(file: SharedFile) -> str:
    values = {name: to_text(value) if isinstance(value, str) else value for name, value in asdict(file).items()}
    return msgspec.json.encode(values).decode()


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
