"""The thread that stores events in an SQLite journal with group commit, and indexes them when it is idle."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import ENOSPC
from queue import Empty, SimpleQueue
from shutil import disk_usage
from threading import Thread

from broadcast.core.events import Action, Event, Message, Stored, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.commit_queue import storage_problem
from broadcast.journals.sqlite.database import MIGRATIONS, Row, code_of, to_row
from broadcast.journals.sqlite.search_indexer import SearchIndexer
from broadcast.journals.sqlite.writing_connection import WritingConnection

INDEX_AFTER_IDLE = 0.02
"""Seconds without an event after which stored events are indexed."""

PROBE_SECONDS = 2.0
"""Seconds between two checks, while no event arrives, whether storing works again or still."""

INDEX_BACKLOG = 4096
"""Number of unindexed events above which the thread indexes even if it is never idle."""
INDEX_EVERY_BATCHES = 64
"""Number of batches per index step while the thread is never idle. A step then takes a few per cent of the time."""

MIN_FREE_BYTES = 64 * 1024
"""Bytes that must be free before a full disk counts as usable again. An event may take more than one page."""

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
    """The thread that stores events through *connection*, which belongs to this thread from now on.

    All events go to *committed* in order, each as stored or as ``StoreFailed``; *stats* records the commits.
    """

    def __init__(
        self, connection: WritingConnection, committed: Callable[[Sequence[Event]], object], stats: CommitStats
    ) -> None:
        self._connection = connection
        assert connection.db is not None  # it is open at first
        self._indexer = SearchIndexer(connection.db)
        self._committed = committed
        self._stats = stats
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
            self._committed(self._store(batch))
            batches += 1
            if batches % INDEX_EVERY_BATCHES == 0 and self._indexer.behind(self._connection.last) > INDEX_BACKLOG:
                self._index_step()
        with suppress(Exception):  # all events are durable in the log; the next start checkpoints it
            self._connection.verified().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.disconnect()

    def _next_batch(self) -> list[Event]:
        """Wait for events, and return those that are queued by then. The batch is empty after the last one."""
        batch = self._rest or [*(self._next_events() or ())]
        with suppress(Empty):
            while batch and len(batch) < self._connection.max_rows:
                events = self._queue.get_nowait()
                if events is None:
                    self._queue.put(None)  # for the next call, which finds the end
                    break
                batch.extend(events)
        batch, self._rest = batch[: self._connection.max_rows], batch[self._connection.max_rows :]
        return batch

    def _next_events(self) -> Sequence[Event] | None:
        """Wait for the next events and return them, or None at the end. Index stored events meanwhile."""
        pause = INDEX_AFTER_IDLE
        while self._indexer.due(self._connection.last) and not self._stats.last_error:
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
        """Report files that were removed or moved, and lines of other programs, before an author learns of them."""
        try:
            self._connection.reconciled()
        except Exception as error:  # noqa: BLE001 - as in _store
            self._stats.record_failure(describe_error(error), 0)

    def _probe_recovery(self) -> None:
        """Commit a transaction that changes nothing. Without new events, only this shows that storing works again."""
        try:
            db = self._connection.reconciled()
            if self._stats.last_error == _FULL and disk_usage(self._connection.path.parent).free < MIN_FREE_BYTES:
                # The probe below is small, and may succeed although an event does not fit.
                self._stats.record_failure(_FULL, 0)
                return
            began = self._stats.now()
            # It writes a page, so like an event it needs the lock, free space, and a working disk.
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            duration = self._stats.now() - began
        except Exception as error:  # noqa: BLE001 - as in _store
            self._connection.disconnect_after(error)
            self._stats.record_failure(describe_error(error), 0)
        else:
            self._stats.record_success(duration)

    def _index_step(self) -> bool:
        """Index some events and return whether that succeeded."""
        if self._connection.db is None:
            return False
        try:
            # Unverified, this write could overwrite lines of another server in the write-ahead log.
            db = self._connection.verified()
            self._indexer.step(db, self._connection.last)
        except Exception as error:  # noqa: BLE001 - nobody waits for the index; a lasting fault also fails the next commit
            self._connection.disconnect_after(error)
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
                    event.seq = self._connection.last + len(rows) + 1
                    rows.append(to_row(event))
                    result.append(event)
            if rows:
                duration = self._connection.commit(rows)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error, and the authors must learn of it
            reason = describe_error(error)
            self._stats.record_failure(reason, sum(isinstance(event, (Message, Action)) for event in batch))
            return [_failed(event, reason) if isinstance(event, (Message, Action)) else event for event in batch]
        self._stats.failed_events += unstorable
        if duration is not None:
            self._stats.record_success(duration)
        return result


def _failed(event: Stored, reason: str) -> StoreFailed:
    """Return the failure to store *event*, which has no number then."""
    event.seq = 0
    return StoreFailed(event, reason)
