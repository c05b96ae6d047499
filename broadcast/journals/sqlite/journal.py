"""The journal in an SQLite database: its threads, combined behind ``core.interfaces.Journal``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import Stored
from broadcast.core.interfaces import Journal, OpenedRoom
from broadcast.core.stats import CommitStats
from broadcast.core.time_slice import CallSoon
from broadcast.journals.batch_queue import BatchQueue
from broadcast.journals.commit_queue import CommittedQueue
from broadcast.journals.query_thread import Kind, Query, QueryThread
from broadcast.journals.sqlite.commit_thread import CommitThread
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, DirectoryLock, LastNumberFile, read_last_number
from broadcast.journals.sqlite.database import connect, read_room, translate_errors
from broadcast.journals.sqlite.open_files import OpenFiles
from broadcast.journals.sqlite.opening import open_database
from broadcast.journals.sqlite.records import SqliteRecords
from broadcast.journals.sqlite.room_log import SqliteRoomLog
from broadcast.journals.sqlite.room_record import RoomRecord
from broadcast.journals.sqlite.writing_connection import WritingConnection

FILE = "journal.sqlite"
"""File name of the database in its folder."""
MAX_NAME_BYTES = 1000
"""Maximum size of a room's name."""

T = TypeVar("T")


def _connect_reader(path: Path, files: OpenFiles) -> sqlite3.Connection:
    """Return a connection that reads the file *path*, if it is in its place. Raises ``JournalError``."""
    files.verify_path()
    return connect(path, writing=False)


class SqliteJournal:
    """A journal in the file ``journal.sqlite`` of *folder*, with one thread that writes and one that reads.

    Events of all rooms that are appended while a commit runs form the next commit, up to 512 events (group commit). If
    a commit fails, none of its events is stored; the next commit tries again. While no event arrives, the writing
    thread adds stored events to the search index. It records its commits in *commit_stats*. ``open`` calls *report*
    with one line if stored events are missing.
    """

    def __init__(
        self,
        folder: Path,
        call_soon: CallSoon,
        commit_stats: CommitStats | None = None,
        report: Callable[[str], object] = str,
    ) -> None:
        self.id = ""
        self.commit_stats = commit_stats or CommitStats()
        self._report = report
        self._folder = folder.absolute()  # absolute, because a daemon changes its working directory
        self._call_soon = call_soon
        self._lock = DirectoryLock(self._folder)
        self._committed: CommittedQueue[SqliteRoomLog] = CommittedQueue(call_soon, self.commit_stats.now)
        self._last_number: LastNumberFile | None = None
        self._connection: WritingConnection | None = None
        self._commit_thread: CommitThread | None = None
        self._query_thread: QueryThread[sqlite3.Connection] | None = None
        self.queue: BatchQueue[SqliteRoomLog] = BatchQueue(call_soon)
        self.records = SqliteRecords(self, self.queue, call_soon)

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Create or check the database, start the threads, and open the room *name*.

        Raises ``JournalInUse``, ``JournalDamaged``, ``JournalTooNew`` or another ``JournalError``. Everything is
        released before that.
        """
        path, number_path = self._folder / FILE, self._folder / LAST_NUMBER_FILE
        self._lock.acquire()
        try:
            with translate_errors(number_path):
                expected = read_last_number(number_path)
            db, self.id, room, events, last_number = open_database(path, tail, expected, self._report, name)
            try:
                with translate_errors(number_path):
                    self._last_number = LastNumberFile(number_path, last_number.seq, last_number.room)
            except BaseException:
                db.close()
                raise
            now = self.commit_stats.now
            files = OpenFiles(path, self._lock, self._last_number, now)
            self._query_thread = QueryThread(partial(_connect_reader, path, files), self._call_soon, perf_counter)
            self._connection = WritingConnection(path, files, db, room, self._query_thread.disconnected, now)
            self._commit_thread = CommitThread(self._connection, self.queue, self._committed, self.commit_stats)
        except BaseException:
            self.close()
            raise
        return self._opened(room, events)

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Open the room *name*. Its last events are checked as those of the first room are."""

        def receive(result: tuple[RoomRecord, list[Stored]] | JournalError) -> None:
            on_result(result if isinstance(result, JournalError) else self._opened(*result))

        self.submit(Kind.OPEN, partial(self._read_room, name, tail), receive)

    def _read_room(self, name: str, tail: int, db: sqlite3.Connection) -> tuple[RoomRecord, list[Stored]]:
        if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
            msg = "the room's name is too long"
            raise JournalError(msg)
        # This comes before reading, because the commit thread may undo the changes at any time.
        if self._connection is not None and self._connection.is_doubtful(name):
            msg = "the journal cannot be written, and does not know the room's last line; try again later"
            raise JournalError(msg)
        try:
            return read_room(db, name, tail)
        except JournalDamaged as error:
            msg = f"the room {error}"
            raise JournalDamaged(msg) from error

    def _opened(self, room: RoomRecord, recent: list[Stored]) -> OpenedRoom:
        return OpenedRoom(SqliteRoomLog(self.queue, self, room), room.last, room.topic, recent)

    def submit(self, kind: Kind, query: Query[sqlite3.Connection], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error."""
        if self._query_thread is not None:
            self._query_thread.submit(kind, query, on_result)
        else:
            self._call_soon(partial(on_result, JournalError("the journal is closed")))

    def query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of *query*, on this thread. Raises ``JournalError``."""
        path = self._folder / FILE
        assert self._query_thread is not None
        with self._query_thread.disconnected(), translate_errors(path), closing(connect(path, writing=False)) as db:
            return query(db)

    def close(self) -> None:
        """Store the queued events, then release everything. May be called at any time, and more than once."""
        self._committed.stop()
        self.records.close()
        query_thread, self._query_thread = self._query_thread, None
        if query_thread is not None:
            query_thread.close()
        commit_thread, self._commit_thread = self._commit_thread, None
        if commit_thread is not None:
            commit_thread.close()
        last_number, self._last_number = self._last_number, None
        if last_number is not None:
            last_number.close()
        self._lock.release()


_conforms: type[Journal] = SqliteJournal
