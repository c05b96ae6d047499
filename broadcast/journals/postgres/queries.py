"""The queries that read rooms and lines. Each takes the name of the room, which may not exist yet."""

from __future__ import annotations

from collections.abc import Sequence
from time import thread_time
from typing import Any, NamedTuple

import msgspec
import psycopg

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import Action, FileInfo, Message, Shared, Stored
from broadcast.core.time_slice import CallSoon
from broadcast.journals.commit_queue import REPORTER
from broadcast.journals.postgres.database import Connection, Database, describe_error, from_text, to_text
from broadcast.journals.query_thread import QueryThread

MAX_NAME_BYTES = 1000
"""Maximum size of a room's name."""
UIDS_ROWS = 20_000
"""Maximum number of lines to search for a ``uid`` in one call, which takes some milliseconds."""
MAX_SEQ = 2**63 - 1
"""Highest number of a line."""

_COLUMNS = "seq, at, kind, session, nick, text, coalesce(uid, ''), file"
_KINDS: dict[str, type[Message | Action]] = {"said": Message, "emoted": Action}
_ROOM = "(SELECT id FROM rooms WHERE name = %s)"


def start_query_thread(database: Database, call_soon: CallSoon) -> QueryThread[Connection]:
    """Start the thread that reads and searches *database*. It rests in proportion to its own computing time."""
    return QueryThread(database.connect, call_soon, thread_time, lambda db: db.closed, _describe)


def _describe(error: Exception) -> str:
    """Return why a query has failed, as one short line."""
    return describe_error(error).replace("cannot be written", "cannot be read")


class RoomRow(NamedTuple):
    """A room as the database holds it; one without an id is not in the database yet."""

    id: int | None
    topic: str
    last: int
    """Number of the last line."""
    place: int
    """Place of the last transient event in the table ``stream``."""


def fetch(db: psycopg.Connection[Any], room: str, first: int, last: int) -> list[Stored]:
    """Return the events numbered *first* to *last* of *room*, in order."""
    query = f"SELECT {_COLUMNS} FROM lines WHERE room = {_ROOM} AND seq BETWEEN %s AND %s ORDER BY seq"  # noqa: S608 - constants
    return _events(db.execute(query.encode(), (to_text(room), clamp(first), clamp(last))))


def fetch_numbers(db: psycopg.Connection[Any], room: str, numbers: Sequence[int]) -> list[Stored]:
    """Return the events of *room* with these *numbers*, in order."""
    query = f"SELECT {_COLUMNS} FROM lines WHERE room = {_ROOM} AND seq = ANY (%s) ORDER BY seq"  # noqa: S608 - constants
    return _events(db.execute(query.encode(), (to_text(room), list(numbers))))


def fetch_after(db: psycopg.Connection[Any], room: str, after: int, last: int, limit: int) -> list[Stored]:
    """Return the oldest *limit* events of *room* numbered above *after*, up to *last*, in order."""
    query = f"""SELECT {_COLUMNS} FROM lines WHERE room = {_ROOM} AND seq > %s AND seq <= %s
        ORDER BY seq LIMIT %s"""  # noqa: S608 - constants
    return _events(db.execute(query.encode(), (to_text(room), after, last, limit)))


def fetch_files(db: psycopg.Connection[Any], room: str, last: int, limit: int) -> list[Stored]:
    """Return the newest *limit* events of *room* up to number *last* that share a file, in order."""
    query = f"""SELECT {_COLUMNS} FROM lines WHERE room = {_ROOM} AND seq <= %s AND file IS NOT NULL
        ORDER BY seq DESC LIMIT %s"""  # noqa: S608 - constants
    return _events(db.execute(query.encode(), (to_text(room), clamp(last), limit)))[::-1]


def read_room(db: psycopg.Connection[Any], name: str, tail: int) -> tuple[RoomRow, list[Stored]]:
    """Return the room *name* and its last *tail* events.

    They are fewer than *tail* if a line of the server stands for missing ones. Raises ``JournalDamaged`` if others are
    missing, and ``JournalError``.
    """
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        msg = "the room's name is too long"
        raise JournalError(msg)
    query = "SELECT id, topic, last, place FROM rooms WHERE name = %s"
    found = db.execute(query, (to_text(name),)).fetchone()
    if found is None:
        return RoomRow(None, "", 0, 0), []
    row = RoomRow(found[0], from_text(found[1]), *found[2:])
    recent: list[Stored] = []
    for event in reversed(fetch(db, name, max(row.last - tail, 0) + 1, row.last)):
        if event.seq != row.last - len(recent):
            break
        recent.append(event)
    if len(recent) != min(tail, row.last) and not (recent and recent[-1].nick == REPORTER):
        msg = f"the room {name} lacks some of its lines: restore the database from a backup"
        raise JournalDamaged(msg)
    return row, recent[::-1]


class UidsQuery:
    """A query for the ``uid`` and number of the lines *first* to *last* in *room*."""

    def __init__(self, room: str, first: int, last: int) -> None:
        self._room = to_text(room)
        self._next = max(first, 1)
        self._last = last
        self._found: list[tuple[str, int]] = []

    def __call__(self, db: psycopg.Connection[Any]) -> list[tuple[str, int]] | None:
        """Read some more lines. Return all pairs that were found, or None if lines are left to read."""
        end = db.execute("SELECT last FROM rooms WHERE name = %s", (self._room,)).fetchone()
        last = min(self._last, end[0] if end else 0)
        if self._next > last:
            return self._found
        upto = min(self._next + UIDS_ROWS - 1, last)
        query = f"""SELECT uid, seq FROM lines WHERE room = {_ROOM} AND seq BETWEEN %s AND %s AND uid IS NOT NULL
            ORDER BY seq"""  # noqa: S608 - constants
        rows = db.execute(query.encode(), (self._room, self._next, upto)).fetchall()
        self._found += rows
        self._next = upto + 1
        return None


def clamp(number: int) -> int:
    """Return *number*, or the number of a line that is nearest to it."""
    return max(0, min(number, MAX_SEQ))


def _events(rows: psycopg.Cursor[Any]) -> list[Stored]:
    return [from_row(row) for row in rows.fetchall()]


def from_row(row: tuple[Any, ...]) -> Stored:
    """Return the event in *row*, with ``_COLUMNS``. Raises ``JournalDamaged``."""
    seq, at, kind, session, nick, text, uid, file = row
    nick, text, uid = from_text(nick), from_text(text), from_text(uid)
    if kind == "shared":
        return Shared(session, nick, _to_file(seq, text, file), at, seq, uid)
    if kind not in _KINDS:
        raise _unreadable(seq)
    return _KINDS[kind](session, nick, text, at, seq, uid=uid)


def _to_file(seq: int, name: str, columns: object) -> FileInfo:
    """Return the file *name* of line *seq* from the column ``lines.file``."""
    try:
        values = msgspec.convert(columns, dict[str, str | int]).items()
        texts = {name: from_text(value) if isinstance(value, str) else value for name, value in values}
        return msgspec.convert({**texts, "name": name}, FileInfo)
    except msgspec.ValidationError:
        raise _unreadable(seq) from None


def _unreadable(seq: int) -> JournalDamaged:
    return JournalDamaged(f"the journal's line #{seq} cannot be read")
