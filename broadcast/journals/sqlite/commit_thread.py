"""The thread that stores events in an SQLite journal with group commit, and indexes them when it is idle."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from errno import ENOSPC
from functools import cache
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from shutil import disk_usage
from threading import Thread

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import Action, Event, Message, Stored, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.commit_queue import CommittedQueue, storage_problem
from broadcast.journals.sqlite.database import BUSY_SECONDS, MIGRATIONS, Row, code_of, connect, last_seq, to_row
from broadcast.journals.sqlite.open_files import OpenFiles, WriteAheadLogRemoved
from broadcast.journals.sqlite.search_indexer import SearchIndexer

MAX_BATCH_EVENTS = 512
"""Maximum number of events in one commit."""

RETRY_SECONDS = 0.2
"""Seconds to wait for a lock after a failed commit. It is short because transient events wait for the attempt."""

INDEX_AFTER_IDLE = 0.02
"""Seconds without an event after which stored events are indexed."""

PROBE_SECONDS = 2.0
"""Seconds between two checks, while no event arrives, whether storing works again or still."""

VERIFY_SECONDS = 0.05
"""Seconds for which the files need not be checked again before a commit. After a commit they always are."""

INDEX_BACKLOG = 4096
"""Number of unindexed events above which the thread indexes even if it is never idle."""
INDEX_EVERY_BATCHES = 64
"""Number of batches per index step while the thread is never idle. A step then takes a few per cent of the time."""

MIN_FREE_BYTES = 64 * 1024
"""Bytes that must be free before a full disk counts as usable again. An event may take more than one page."""

_COLUMNS = 5
_FULL = "the disk is full"
_REASONS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: "another program has locked the journal",
    sqlite3.SQLITE_LOCKED: "another program has locked the journal",
}


def describe_error(error: Exception) -> str:
    """Return why an event was not stored, as one short line."""
    known = _REASONS.get(code_of(error)) if isinstance(error, sqlite3.Error) else None
    if isinstance(error, OSError):
        known = _FULL if error.errno == ENOSPC else None
        error = OSError(error.strerror or error)  # without the path, because people read the reason
    return known or " ".join(f"the journal cannot be written: {error}".split())


class CommitThread:
    """The only thread and the only connection that write the file *path*.

    *db* is a connection to the file and belongs to this thread from now on, as *files* do. *last* is the number of the
    last stored event. All events go to *committed* in order, each as stored or as ``StoreFailed``; *stats* records the
    commits.
    """

    def __init__(
        self,
        path: Path,
        files: OpenFiles,
        db: sqlite3.Connection,
        last: int,
        committed: CommittedQueue,
        stats: CommitStats,
    ) -> None:
        self._path = path
        self._files = files
        self._verified_until = 0.0
        """Time until which the connection can be used without a check."""
        self._doubtful: Sequence[Row] = ()
        """Rows that may be in the file although they were not reported as stored."""
        self._db: sqlite3.Connection | None = db
        self._last = last
        self._indexer = SearchIndexer(db)
        self._committed = committed
        self._stats = stats
        # SQLite before 3.32 allows at most 999 parameters.
        self._max_batch = min(MAX_BATCH_EVENTS, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _COLUMNS)
        # SimpleQueue.put wakes the thread only if it waits. Otherwise a put costs a tenth of a microsecond.
        self._queue: SimpleQueue[Sequence[Event] | None] = SimpleQueue()
        self._rest: list[Event] = []
        """Events from the queue that did not fit the last batch."""
        # A daemon thread, so that a process that exits without closing the journal does not hang.
        self._thread = Thread(target=self._run, name="journal writer", daemon=True)
        self._thread.start()

    def put(self, events: Sequence[Event]) -> None:
        """Queue *events* (at least one)."""
        self._queue.put(events)

    def close(self) -> None:
        """Store the queued events, checkpoint the write-ahead log, and end the thread. Blocks until then."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        batches = 0
        while batch := self._next_batch():
            self._committed.add(self._store(batch))
            batches += 1
            if batches % INDEX_EVERY_BATCHES == 0 and self._indexer.behind(self._last) > INDEX_BACKLOG:
                self._index_step()
        with suppress(Exception):  # all events are durable in the log; the next start checkpoints it
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disconnect()

    def _next_batch(self) -> list[Event]:
        """Wait for events, and return those that are queued by then. The batch is empty after the last one."""
        batch = self._rest or [*(self._next_events() or ())]
        with suppress(Empty):
            while batch and len(batch) < self._max_batch:
                events = self._queue.get_nowait()
                if events is None:
                    self._queue.put(None)  # for the next call, which finds the end
                    break
                batch.extend(events)
        batch, self._rest = batch[: self._max_batch], batch[self._max_batch :]
        return batch

    def _next_events(self) -> Sequence[Event] | None:
        """Wait for the next events and return them, or None at the end. Index stored events meanwhile."""
        pause = INDEX_AFTER_IDLE
        while self._indexer.due(self._last) and not self._stats.last_error:
            with suppress(Empty):
                return self._queue.get(timeout=pause)
            if not self._index_step():
                break  # the next idle period tries again; a search also reads unindexed events
            pause = 0.0
        while True:
            with suppress(Empty):
                return self._queue.get(timeout=PROBE_SECONDS)
            if self._stats.last_error:
                self._probe_recovery()
            else:
                self._verify_idle()

    def _verify_idle(self) -> None:
        """Report files that were removed or moved before an author must learn of it."""
        try:
            self._connection()
        except Exception as error:  # noqa: BLE001 - as in _store
            self._stats.record_failure(describe_error(error), 0)

    def _probe_recovery(self) -> None:
        """Commit a transaction that changes nothing. Without new events, only this shows that storing works again."""
        try:
            db = self._connection()
            if self._stats.last_error == _FULL and disk_usage(self._path.parent).free < MIN_FREE_BYTES:
                # The probe below is small, and may succeed although an event does not fit.
                self._stats.record_failure(_FULL, 0)
                return
            began = self._stats.now()
            # It writes a page, so like an event it needs the lock, free space, and a working disk.
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            duration = self._stats.now() - began
        except Exception as error:  # noqa: BLE001 - as in _store
            if not isinstance(error, JournalError):
                self._disconnect()
            self._stats.record_failure(describe_error(error), 0)
        else:
            self._stats.record_success(duration)

    def _index_step(self) -> bool:
        """Index some events and return whether that succeeded."""
        if self._db is None:
            return False
        try:
            self._indexer.step(self._db, self._last)
        except Exception:  # noqa: BLE001 - nobody waits for the index; a lasting fault also fails the next commit
            self._disconnect()
            return False
        return True

    def _store(self, batch: Sequence[Event]) -> list[Event]:
        """Commit *batch* and return the events to deliver, in order. Never raises."""
        result: list[Event] = []
        duration: float | None = None
        unstorable = 0
        try:
            rows: list[Row] = []
            for event in batch:
                if not isinstance(event, (Message, Action)):
                    result.append(event)
                elif reason := storage_problem(event):
                    unstorable += 1
                    result.append(StoreFailed(event, reason))
                else:
                    event.seq = self._last + len(rows) + 1
                    rows.append(to_row(event))
                    result.append(event)
            if rows:
                duration = self._commit(rows)
                self._last += len(rows)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error, and the authors must learn of it
            reason = describe_error(error)
            self._stats.record_failure(reason, sum(isinstance(event, (Message, Action)) for event in batch))
            return [_failed(event, reason) if isinstance(event, (Message, Action)) else event for event in batch]
        self._stats.failed_events += unstorable
        if duration is not None:
            self._stats.record_success(duration)
        return result

    def _commit(self, rows: Sequence[Row]) -> float:
        """Commit all of *rows* and return the duration in seconds. If it raises, none is stored."""
        db = self._db
        if db is None or self._stats.now() >= self._verified_until:
            db = self._connection()
        # One statement is one transaction and one release of the GIL. With one call per row, this thread waits up to
        # 5 ms per row for a busy reactor to release the GIL; 16 rows took six times as long. Sizes are powers of two,
        # padded with NULL rows, so that ten prepared statements are enough.
        size = min(1 << (len(rows) - 1).bit_length(), self._max_batch)
        values: list[float | str | None] = list(chain.from_iterable(rows))
        values.extend([None] * (size * _COLUMNS - len(values)))
        self._doubtful = rows
        began = self._stats.now()
        try:
            db.execute(_insert_statement(size), values)
            duration = self._stats.now() - began
            self._files.verify()  # only now it is certain that the path leads to the file that holds the rows
            self._files.last_number.write(rows[-1][0])
        except BaseException as error:
            self._verified_until = 0.0
            # Only the file shows whether a commit that failed half-way took effect. If that cannot be found out now,
            # the next batch tries it again.
            if not isinstance(error, JournalError):
                self._disconnect()
            with suppress(sqlite3.Error, OSError):
                self._connection()  # raises JournalError if it knows more about the cause
            raise
        self._doubtful = ()
        self._verified_until = began + duration + VERIFY_SECONDS
        return duration

    def _connection(self) -> sqlite3.Connection:
        """Return a connection to a file that is in its place and holds exactly the events reported as stored.

        Raises ``JournalError`` if the files are not in their places, and saves what a removed write-ahead log holds.
        """
        db = self._db
        if db is None:
            return self._reconnect()
        try:
            self._files.verify()
        except WriteAheadLogRemoved:
            # The open log still holds its events. The next attempt creates a new log.
            if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                self._disconnect()
            raise
        if self._doubtful:
            self._reconcile(db)
        return db

    def _reconnect(self) -> sqlite3.Connection:
        """Connect again after a fault, and make the file hold exactly the events that were reported as stored."""
        self._files.verify_database()
        db = connect(self._path, writing=True, timeout=RETRY_SECONDS)
        try:
            self._reconcile(db)
            db.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
            self._files.reopened()
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _reconcile(self, db: sqlite3.Connection) -> None:
        """Delete the doubtful rows, and no others. Raises ``JournalDamaged`` if another program has written rows."""
        if last_seq(db) < self._last:
            msg = "the file no longer holds what was kept in it"
            raise JournalDamaged(msg)
        if self._doubtful:
            self._undo(db, {row[0]: row for row in self._doubtful})
        elif (seq := db.execute("SELECT min(seq) FROM events WHERE seq > ?", (self._last,)).fetchone()[0]) is not None:
            raise _foreign_row(seq)
        with suppress(sqlite3.Error):  # truncates the log, in which the failed commit may have left data
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _undo(self, db: sqlite3.Connection, doubtful: Mapping[int, Row]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            query = "SELECT seq, at, kind, nick, text FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
            for row in db.execute(query, (self._last, len(doubtful) + 1)).fetchall():
                if doubtful.get(row[0]) != row:
                    raise _foreign_row(row[0])
            db.execute("DELETE FROM events WHERE seq > ?", (self._last,))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        self._doubtful = ()

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()  # rolls back


def _foreign_row(seq: int) -> JournalDamaged:
    return JournalDamaged(f"another program has written #{seq} to it")


def _failed(event: Stored, reason: str) -> StoreFailed:
    """Return the failure to store *event*, which has no number then."""
    event.seq = 0
    return StoreFailed(event, reason)


@cache
def _insert_statement(size: int) -> str:
    """Return the statement that inserts *size* rows and skips rows that begin with NULL."""
    row = f"({', '.join('?' * _COLUMNS)})"
    values = ", ".join([row] * size)
    return f"INSERT INTO events SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL"  # noqa: S608 - it holds no values
