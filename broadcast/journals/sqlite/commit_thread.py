"""The thread that keeps events in an SQLite journal, all that has gathered in one commit, and then indexes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from shutil import disk_usage
from threading import Thread

from broadcast.core.errors import JournalDamaged
from broadcast.core.events import Action, Event, Message, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.commit_queue import CommittedQueue, why_unstorable
from broadcast.journals.sqlite.database import BUSY_SECONDS, MIGRATIONS, Row, code_of, connect, last_seq, to_row
from broadcast.journals.sqlite.search_indexer import SearchIndexer

MAX_BATCH_EVENTS = 512
"""At most so many events a commit."""

RETRY_SECONDS = 0.2
"""Seconds to wait for a lock while the last attempt has failed: passing events must not wait long in between."""

INDEX_AFTER_IDLE = 0.02
"""Seconds without an event after which those that were kept are indexed."""

PROBE_SECONDS = 2.0
"""After a fault, so many seconds without an event pass between two looks whether it has ended."""

INDEX_BACKLOG = 4096
"""Where so many are waiting to be indexed, it is done although there is no quiet..."""
INDEX_EVERY_BATCHES = 64
"""...one step for so many batches: a few per cent of the time."""

MIN_FREE_BYTES = 64 * 1024
"""So many bytes must be free on a disk that was full before a look finds that it is not: a line is more than a page."""

_COLUMNS = 5
_FULL = "the disk is full"
_REASONS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: "another program has locked the journal",
    sqlite3.SQLITE_LOCKED: "another program has locked the journal",
}


def describe_error(error: Exception) -> str:
    """Why an event was not kept, as one short line."""
    known = _REASONS.get(code_of(error)) if isinstance(error, sqlite3.Error) else None
    return known or " ".join(f"the journal cannot be written: {error}".split())


class CommitThread:
    """The one thread, and the one connection, that writes the file *path*.

    *db* is a connection to it, given away to this thread; *last* is the number of the last event in it. What was kept,
    and what was not, goes to *returns* in order; how it goes, into *keeping*.
    """

    def __init__(
        self, path: Path, db: sqlite3.Connection, last: int, committed: CommittedQueue, stats: CommitStats
    ) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = db
        self._last = last
        self._indexer = SearchIndexer(db)
        self._committed = committed
        self._stats = stats
        # Older SQLite takes no more than 999 parameters.
        self._max_batch = min(MAX_BATCH_EVENTS, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _COLUMNS)
        # Its put wakes the thread only where that waits, and costs the caller a tenth of a microsecond otherwise.
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        # A daemon: a process that dies without closing must not hang on its way out.
        self._thread = Thread(target=self._run, name="journal writer", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take *event* into the queue."""
        self._queue.put(event)

    def close(self) -> None:
        """Keep what is in the queue, move the log into the database, end; blocks until then."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        batches = 0
        while going:
            batch, going = self._next_batch()
            if batch:
                self._committed.add(self._store(batch))
                batches += 1
                if batches % INDEX_EVERY_BATCHES == 0 and self._indexer.behind(self._last) > INDEX_BACKLOG:
                    self._index_step()
        if self._db is not None:
            with suppress(sqlite3.Error):  # everything is kept already; the next start does it otherwise
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disconnect()

    def _next_batch(self) -> tuple[list[Event], bool]:
        """Wait for an event and take all that is there by then; and whether to go on afterwards."""
        batch: list[Event] = []
        event = self._next_event()
        try:
            while event is not None:
                batch.append(event)
                if len(batch) == self._max_batch:
                    return batch, True
                event = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _next_event(self) -> Event | None:
        """Wait for the next event; while there is quiet, index what was kept."""
        pause = INDEX_AFTER_IDLE
        while self._indexer.due(self._last):
            with suppress(Empty):
                return self._queue.get(timeout=pause)
            if not self._index_step():
                break  # the next event will try again; a search finds what is not indexed, too
            pause = 0.0
        while self._stats.last_error:
            with suppress(Empty):
                return self._queue.get(timeout=PROBE_SECONDS)
            self._probe_recovery()
        return self._queue.get()

    def _probe_recovery(self) -> None:
        """Commit something that changes nothing: where nobody says anything, nothing else would show that it works."""
        try:
            if self._stats.last_error == _FULL and disk_usage(self._path.parent).free < MIN_FREE_BYTES:
                self._stats.record_failure(
                    _FULL, 0
                )  # what is looked with below is small, and may fit where no line does
                return
            db = self._db or self._reconnect()
            began = self._stats.now()
            # It writes a page, so it wants the lock, space, and a disk that works, as a line does.
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            took = self._stats.now() - began
        except Exception as error:  # noqa: BLE001 - as in _keep
            self._disconnect()
            self._stats.record_failure(describe_error(error), 0)
        else:
            self._stats.record_success(took)

    def _index_step(self) -> bool:
        """Take a step with the index; whether that was possible."""
        if self._db is None:
            return False
        try:
            self._indexer.step(self._db, self._last)
        except Exception:  # noqa: BLE001 - nobody waits for it; and a fault that lasts is told with the next commit
            self._disconnect()
            return False
        return True

    def _store(self, batch: Sequence[Event]) -> list[Event]:
        """*batch* as it comes back; never raises."""
        back: list[Event] = []
        took: float | None = None
        refused = 0
        try:
            rows: list[Row] = []
            for event in batch:
                if not isinstance(event, (Message, Action)):
                    back.append(event)
                elif why := why_unstorable(event):
                    refused += 1
                    back.append(StoreFailed(event, why))
                else:
                    kept = event.with_seq(self._last + len(rows) + 1)
                    rows.append(to_row(kept))
                    back.append(kept)
            if rows:
                took = self._commit(rows)
                self._last += len(rows)
        except Exception as error:  # noqa: BLE001 - whatever happened, the authors are told, and the thread lives on
            why = describe_error(error)
            self._stats.record_failure(why, sum(isinstance(event, (Message, Action)) for event in batch))
            return [StoreFailed(event, why) if isinstance(event, (Message, Action)) else event for event in batch]
        self._stats.failed_events += refused
        if took is not None:
            self._stats.record_success(took)
        return back

    def _commit(self, rows: Sequence[Row]) -> float:
        """Keep all of *rows* or, raising an exception, none; how many seconds it took."""
        db = self._db or self._reconnect()
        # One statement is one transaction, and one release of the interpreter's lock. With a call per row, a reactor
        # that computes lets this thread go on only every 5 ms for each: 16 rows took six times as long. The sizes are
        # powers of two, filled up with NULL, so that ten prepared statements do.
        size = min(1 << (len(rows) - 1).bit_length(), self._max_batch)
        values: list[float | str | None] = [value for row in rows for value in row]
        values.extend([None] * (size * _COLUMNS - len(values)))
        began = self._stats.now()
        try:
            db.execute(_insert(size), values)
        except BaseException:
            # Whether a commit that failed half-way is in the file is known only after a look at it. Where that fails
            # too, the next batch begins with it.
            self._disconnect()
            with suppress(Exception):
                self._reconnect()
            raise
        return self._stats.now() - began

    def _reconnect(self) -> sqlite3.Connection:
        """Connect again after a fault, and make sure that the file holds what was said to be kept, and nothing else."""
        db = connect(self._path, writing=True, timeout=RETRY_SECONDS)
        try:
            self._reconcile(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _reconcile(self, db: sqlite3.Connection) -> None:
        if last_seq(db) < self._last:
            msg = "the file no longer holds what was kept in it"
            raise JournalDamaged(msg)
        db.execute("DELETE FROM events WHERE seq > ?", (self._last,))
        with suppress(sqlite3.Error):  # cuts off what the failed commit may have left behind the log's end
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()  # rolls back


_statements: dict[int, str] = {}


def _insert(size: int) -> str:
    """The statement that inserts *size* rows, but for those that begin with NULL."""
    if size not in _statements:
        row = f"({', '.join('?' * _COLUMNS)})"
        values = ", ".join([row] * size)
        _statements[size] = f"INSERT INTO events SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL"  # noqa: S608 - no value is in it
    return _statements[size]
