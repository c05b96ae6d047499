"""The thread that stores events in an SQLite journal with group commit, and indexes them when it is idle."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from errno import ENOSPC
from queue import Empty
from shutil import disk_usage
from threading import Thread
from typing import TypeAlias

from broadcast.core.errors import JournalError
from broadcast.core.events import STORED, Event, Shared, StoreFailed, TopicChanged
from broadcast.core.stats import CommitStats
from broadcast.journals.batch_queue import COMMITTED, BatchQueue, Item, RecordWrite, failed
from broadcast.journals.commit_queue import CommittedQueue, storage_problem
from broadcast.journals.sqlite.changes import Changes
from broadcast.journals.sqlite.database import code_of, to_file_row, to_row
from broadcast.journals.sqlite.room_log import SqliteRoomLog
from broadcast.journals.sqlite.room_record import MAX_SEQ, SEQ_BITS
from broadcast.journals.sqlite.schema import MIGRATIONS
from broadcast.journals.sqlite.search_indexer import SearchIndexer
from broadcast.journals.sqlite.writing_connection import WritingConnection

Chunk: TypeAlias = tuple[SqliteRoomLog, Sequence[Event]]
"""A room, and some of its events in order."""

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

    All events go to *committed*, those of a room in order, each as stored or as ``StoreFailed``; *stats* records the
    commits.
    """

    def __init__(
        self,
        connection: WritingConnection,
        queue: BatchQueue[SqliteRoomLog],
        committed: CommittedQueue[SqliteRoomLog],
        stats: CommitStats,
    ) -> None:
        self._connection = connection
        assert connection.db is not None  # it is open at first
        self._indexer = SearchIndexer(connection.db)
        self._committed = committed
        self._stats = stats
        self._queue = queue
        # A daemon thread, so that a process that exits without closing the journal does not hang.
        self._thread = Thread(target=self._run, name="journal writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Store the queued events, checkpoint the write-ahead log, and end the thread. Blocks until then."""
        self._queue.end()
        self._thread.join()

    def _run(self) -> None:
        batches = 0
        while (batch := self._queue.next_batch(self._connection.max_rows, self._next_item)) is not None:
            if batch.writes:  # first: a line that confirms a private message is not stored without the confirmation
                self._store_records(batch.writes)
            if chunks := self._store(batch.chunks):
                self._committed.add(chunks)
            batches += 1
            if batches % INDEX_EVERY_BATCHES == 0 and self._indexer.backlog() > INDEX_BACKLOG:
                self._index_step()
        with suppress(Exception):  # all events are durable in the log; the next start checkpoints it
            self._connection.verified().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.disconnect()

    def _next_item(self) -> Item[SqliteRoomLog] | None:
        """Wait for the next item of the queue and return it. Index stored events meanwhile."""
        pause = INDEX_AFTER_IDLE
        while self._indexer.due() and not self._stats.last_error:
            with suppress(Empty):
                return self._queue.get(pause)
            if not self._index_step():
                break  # the next idle period tries again; a search also reads unindexed events
            pause = 0.0
        while True:
            with suppress(Empty):
                return self._queue.get(PROBE_SECONDS)
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
            self._indexer.step(db)
        except Exception as error:  # noqa: BLE001 - nobody waits for the index; a lasting fault also fails the next commit
            self._connection.disconnect_after(error)
            return False
        return True

    def _store(self, batch: Sequence[Chunk]) -> Sequence[Chunk]:
        """Commit *batch* and return the events to deliver. Never raises."""
        result: list[Chunk] = []
        duration: float | None = None
        changes = Changes()
        try:
            for log, events in batch:
                if events:
                    returned = self._add_chunk(log, events, changes)
                    result.append((log, returned))
                else:
                    self._connection.forget(log.room)
            if changes.rows or changes.topics:
                duration = self._connection.commit(changes)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error, and the authors must learn of it
            reason = describe_error(error)
            self._stats.record_failure(reason, sum(isinstance(e, COMMITTED) for _, events in batch for e in events))
            return [(log, [failed(event, reason) for event in events]) for log, events in batch if events]
        for room in changes.lasts:
            self._indexer.add(room)
        self._stats.failed_events += changes.rejected
        if duration is not None:
            self._stats.record_success(duration)
        return result

    def _store_records(self, writes: Sequence[RecordWrite]) -> None:
        """Commit the changes of records in *writes* and report the result. Never raises.

        A failure of a commit with lines does not affect them, nor the other way round.
        """
        changes = Changes(records=[change for write in writes for change in write.changes])
        failure: JournalError | None = None
        try:
            self._stats.record_success(self._connection.commit(changes))
        except Exception as error:  # noqa: BLE001 - as in _store
            failure = JournalError(describe_error(error))
            self._stats.record_failure(str(failure), 0)
        for write in writes:
            write.on_done(failure)

    def _add_chunk(self, log: SqliteRoomLog, events: Sequence[Event], changes: Changes) -> Sequence[Event]:
        """Add the rows and topics of *events* to *changes*, and return the events to deliver."""
        room = log.room
        number = room.id
        full = ""
        if number is None and any(isinstance(event, COMMITTED) for event in events):
            number = changes.new_rooms.get(room) or self._connection.add_room(room, changes)
            full = "" if number else "the journal holds as many rooms as it can"
        seq = changes.lasts.get(room, room.last)
        if seq > MAX_SEQ - len(events):
            full = "the room holds as many lines as it can"
        base = (number or 0) << SEQ_BITS
        rows = changes.rows
        returned: list[Event] = []
        before = len(rows)
        for event in events:
            if isinstance(event, STORED):
                if reason := full or storage_problem(event):
                    changes.rejected += 1
                    returned.append(StoreFailed(event, reason))
                    continue
                seq += 1
                event.seq = seq
                rows.append(to_row(event, base))
                if type(event) is Shared:
                    changes.files.append(to_file_row(event, base))
            elif isinstance(event, TopicChanged):
                if reason := full or storage_problem(event):
                    changes.rejected += 1
                    returned.append(StoreFailed(event, reason))
                    continue
                changes.topics[room] = event.text
            returned.append(event)
        if len(rows) > before:
            changes.lasts[room] = seq
            changes.last_room = room.name
        return returned
