"""Helpers for tests of the SQLite journal: they open it, look into it, and index on demand."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from broadcast.core.events import Event, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.sqlite import commit_thread, opening, schema, writing_connection
from broadcast.journals.sqlite.commit_thread import CommitThread
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE
from broadcast.journals.sqlite.database import connect
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.room_log import SqliteRoomLog
from broadcast.journals.sqlite.room_record import RoomRecord
from tests.journals.contract import TIMEOUT, Harness, RoomHarness, message, open_journal

IO_ERROR = sqlite3.OperationalError("disk\nI/O  error")
WRITE_ERROR = "the journal cannot be written: disk I/O error"
KITCHEN = 1 << 40
"""The key of number 0 in the first room after the lobby."""

_WRITE_UNTIL_KILLED = """
import os, pathlib, queue, sys
from broadcast.core.events import Message
from broadcast.journals.sqlite import commit_thread, search_indexer
from broadcast.journals.sqlite.journal import SqliteJournal
{setup}
calls = queue.SimpleQueue()
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
logs = [journal.open("lobby", 0).log]
for number in range(1, {rooms}):
    journal.open_room(f"room{{number}}", 0, lambda opened: logs.append(opened.log))
while len(logs) < {rooms}:
    calls.get(timeout=60)()
def append(log, count):
    for _ in range(count):
        log.append(Message(1, "ann", "x y z" * 40, 1.0))
for number, log in enumerate(logs):
    def receive(events, number=number, log=log):
        append(log, len(events))
        os.write(1, b"%d %d\\n" % (number, events[-1].seq))
    log.subscribe(receive)
    append(log, {count})
while True:
    calls.get(timeout=60)()
"""


def open_sqlite(
    folder: Path, tail: int = 0, stats: CommitStats | None = None, kind: type[Harness] = Harness
) -> AbstractContextManager[Harness]:
    """Open the journal in *folder*."""
    return open_journal(lambda call_soon: SqliteJournal(folder, call_soon, stats), tail, kind)


@contextmanager
def open_file(folder: Path) -> Iterator[sqlite3.Connection]:
    """Connect to the journal's file as another program does."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
        yield db


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread until *condition* holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def write_until_killed(folder: Path, batches: int, count: int, setup: str = "", rooms: int = 1) -> dict[int, int]:
    """Write *count* messages at a time to each of *rooms* rooms in a process, and kill it after *batches*.

    Return the last number that the process has printed for each room.
    """
    command = [sys.executable, "-c", _WRITE_UNTIL_KILLED.format(setup=setup, count=count, rooms=rooms), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:  # noqa: S603
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(batches)]
        assert all(lines)
        server.kill()
        lines += server.stdout.readlines()
    pairs = [line.split() for line in lines if line.endswith(b"\n")]
    return {int(room): int(last) for room, last in pairs}


def index_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable everything that the commit thread does while no event arrives, such as indexing."""
    monkeypatch.setattr(commit_thread, "INDEX_AFTER_IDLE", 3600.0)
    monkeypatch.setattr(commit_thread, "PROBE_SECONDS", 3600.0)


def commit_thread_of(run: Harness) -> CommitThread:
    assert isinstance(run.journal, SqliteJournal)
    assert run.journal._commit_thread is not None
    return run.journal._commit_thread


def room_of(run: RoomHarness) -> RoomRecord:
    assert isinstance(run.log, SqliteRoomLog)
    return run.log.room


def connection_of(run: Harness) -> sqlite3.Connection:
    db = commit_thread_of(run)._connection.db
    assert db is not None
    return db


def index_all(run: Harness, except_last: int = 0) -> None:
    """Index all lines except the *except_last* newest. The commit thread must be waiting for an event meanwhile."""
    indexer, db = commit_thread_of(run)._indexer, connection_of(run)
    room = room_of(run)
    room.last -= except_last
    while indexer.due():
        indexer.step(db)
    room.last += except_last
    indexer.add(room)


def append_failing(run: Harness, event: Event) -> str:
    """Append *event*, which must fail, and return the reason."""
    (failure,) = run.append(event)
    assert isinstance(failure, StoreFailed), failure
    assert failure.event == event
    assert failure.reason
    assert failure.reason.isprintable()
    return failure.reason


def append_stored(run: Harness, text: str, seq: int) -> None:
    """Append a message, which must get the number *seq*."""
    assert run.append_texts([text]) == [message(text, seq)]


def create_old(path: Path, version: int, lines: int) -> None:
    """Create a journal of an earlier schema *version* with so many *lines*. From 2 on, half of them are indexed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        opening._create(path)
    with open_file(path.parent) as db:
        db.execute("BEGIN")
        values = ((seq, f"word{seq % 1000} everywhere") for seq in range(1, lines + 1))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, 1.5, 'said', 'ann', ?)", values)
        db.execute("COMMIT")
        if version >= 2:
            schema.create_index(db)  # within a transaction, it would mistake its error for a missing FTS5
            db.execute("UPDATE indexed SET upto = ?", (lines // 2,))
    (path.parent / LAST_NUMBER_FILE).write_bytes(b"%-15d\n" % lines)  # as earlier versions wrote it


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Replace the bytes of the file from *offset* on by *data*."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def stored_in(folder: Path) -> list[tuple[int, str]]:
    """Return the key and the text of each line in the file."""
    with closing(connect(folder / FILE, writing=False)) as db:
        return list(db.execute("SELECT seq, text FROM events ORDER BY seq"))


def rooms_in(folder: Path) -> list[tuple[int, str, str]]:
    """Return the id, the name and the topic of each room in the file."""
    with closing(connect(folder / FILE, writing=False)) as db:
        return list(db.execute("SELECT * FROM rooms ORDER BY id"))


def marks_in(folder: Path) -> list[int]:
    """Return the key of the last indexed line of each room."""
    with closing(connect(folder / FILE, writing=False)) as db:
        return [mark for (mark,) in db.execute("SELECT upto FROM indexed ORDER BY upto")]


def verify_index(folder: Path) -> None:
    """Raise ``sqlite3.DatabaseError`` unless the index holds the words of all lines."""
    with open_file(folder) as db:
        db.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")


class FailingConnection:
    """A connection on which every statement fails, either before or *after* it was executed."""

    def __init__(self, db: sqlite3.Connection, error: Exception, *, after: bool) -> None:
        self._db = db
        self._error = error
        self._after = after

    def execute(self, statement: str, *values: Any) -> None:  # noqa: ANN401
        if self._after:
            self._db.execute(statement, *values)
        raise self._error

    def close(self) -> None:
        self._db.close()


def break_connection(run: Harness, error: Exception = IO_ERROR, *, after: bool = False) -> None:
    """Let the next statement fail; the thread then connects again."""
    failing: Any = FailingConnection(connection_of(run), error, after=after)
    commit_thread_of(run)._connection.db = failing


def prevent_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(writing_connection, "connect", connect)
