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
from broadcast.core.events import Emoted, Event, NotKept, Said
from broadcast.core.stats import Keeping
from broadcast.journals.commit_queue import Returns, unkeepable
from broadcast.journals.sqlite.database import BUSY, MIGRATIONS, Row, code_of, connect, highest, row_of
from broadcast.journals.sqlite.search_indexer import Index

BATCH = 512
"""At most so many events a commit."""

RETRY = 0.2
"""Seconds to wait for a lock while the last attempt has failed: passing events must not wait long in between."""

QUIET = 0.02
"""Seconds without an event after which those that were kept are indexed."""

PROBE = 2.0
"""After a fault, so many seconds without an event pass between two looks whether it has ended."""

BACKLOG = 4096
"""Where so many are waiting to be indexed, it is done although there is no quiet..."""
EVERY = 64
"""...one step for so many batches: a few per cent of the time."""

ROOM = 64 * 1024
"""So many bytes must be free on a disk that was full before a look finds that it is not: a line is more than a page."""

_COLUMNS = 5
_FULL = "the disk is full"
_REASONS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: "another program has locked the journal",
    sqlite3.SQLITE_LOCKED: "another program has locked the journal",
}


def reason(error: Exception) -> str:
    """Why an event was not kept, as one short line."""
    known = _REASONS.get(code_of(error)) if isinstance(error, sqlite3.Error) else None
    return known or " ".join(f"the journal cannot be written: {error}".split())


class Writer:
    """The one thread, and the one connection, that writes the file *path*.

    *db* is a connection to it, given away to this thread; *last* is the number of the last event in it. What was kept,
    and what was not, goes to *returns* in order; how it goes, into *keeping*.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, last: int, returns: Returns, keeping: Keeping) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = db
        self._last = last
        self._index = Index(db)
        self._returns = returns
        self._keeping = keeping
        # Older SQLite takes no more than 999 parameters.
        self._batch = min(BATCH, db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // _COLUMNS)
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
            batch, going = self._gather()
            if batch:
                self._returns.add(self._keep(batch))
                batches += 1
                if batches % EVERY == 0 and self._index.behind(self._last) > BACKLOG:
                    self._advance()
        if self._db is not None:
            with suppress(sqlite3.Error):  # everything is kept already; the next start does it otherwise
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._drop()

    def _gather(self) -> tuple[list[Event], bool]:
        """Wait for an event and take all that is there by then; and whether to go on afterwards."""
        batch: list[Event] = []
        event = self._next()
        try:
            while event is not None:
                batch.append(event)
                if len(batch) == self._batch:
                    return batch, True
                event = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _next(self) -> Event | None:
        """Wait for the next event; while there is quiet, index what was kept."""
        pause = QUIET
        while self._index.due(self._last):
            with suppress(Empty):
                return self._queue.get(timeout=pause)
            if not self._advance():
                break  # the next event will try again; a search finds what is not indexed, too
            pause = 0.0
        while self._keeping.trouble:
            with suppress(Empty):
                return self._queue.get(timeout=PROBE)
            self._probe()
        return self._queue.get()

    def _probe(self) -> None:
        """Commit something that changes nothing: where nobody says anything, nothing else would show that it works."""
        try:
            if self._keeping.trouble == _FULL and disk_usage(self._path.parent).free < ROOM:
                self._keeping.failed(_FULL, 0)  # what is looked with below is small, and may fit where no line does
                return
            db = self._db or self._resume()
            began = self._keeping.now()
            # It writes a page, so it wants the lock, space, and a disk that works, as a line does.
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            took = self._keeping.now() - began
        except Exception as error:  # noqa: BLE001 - as in _keep
            self._drop()
            self._keeping.failed(reason(error), 0)
        else:
            self._keeping.succeeded(took)

    def _advance(self) -> bool:
        """Take a step with the index; whether that was possible."""
        if self._db is None:
            return False
        try:
            self._index.step(self._db, self._last)
        except Exception:  # noqa: BLE001 - nobody waits for it; and a fault that lasts is told with the next commit
            self._drop()
            return False
        return True

    def _keep(self, batch: Sequence[Event]) -> list[Event]:
        """*batch* as it comes back; never raises."""
        back: list[Event] = []
        took: float | None = None
        refused = 0
        try:
            rows: list[Row] = []
            for event in batch:
                if not isinstance(event, (Said, Emoted)):
                    back.append(event)
                elif why := unkeepable(event):
                    refused += 1
                    back.append(NotKept(event, why))
                else:
                    kept = event.numbered(self._last + len(rows) + 1)
                    rows.append(row_of(kept))
                    back.append(kept)
            if rows:
                took = self._commit(rows)
                self._last += len(rows)
        except Exception as error:  # noqa: BLE001 - whatever happened, the authors are told, and the thread lives on
            why = reason(error)
            self._keeping.failed(why, sum(isinstance(event, (Said, Emoted)) for event in batch))
            return [NotKept(event, why) if isinstance(event, (Said, Emoted)) else event for event in batch]
        self._keeping.refused += refused
        if took is not None:
            self._keeping.succeeded(took)
        return back

    def _commit(self, rows: Sequence[Row]) -> float:
        """Keep all of *rows* or, raising an exception, none; how many seconds it took."""
        db = self._db or self._resume()
        # One statement is one transaction, and one release of the interpreter's lock. With a call per row, a reactor
        # that computes lets this thread go on only every 5 ms for each: 16 rows took six times as long. The sizes are
        # powers of two, filled up with NULL, so that ten prepared statements do.
        size = min(1 << (len(rows) - 1).bit_length(), self._batch)
        values: list[float | str | None] = [value for row in rows for value in row]
        values.extend([None] * (size * _COLUMNS - len(values)))
        began = self._keeping.now()
        try:
            db.execute(_insert(size), values)
        except BaseException:
            # Whether a commit that failed half-way is in the file is known only after a look at it. Where that fails
            # too, the next batch begins with it.
            self._drop()
            with suppress(Exception):
                self._resume()
            raise
        return self._keeping.now() - began

    def _resume(self) -> sqlite3.Connection:
        """Connect again after a fault, and make sure that the file holds what was said to be kept, and nothing else."""
        db = connect(self._path, writing=True, timeout=RETRY)
        try:
            self._reconcile(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _reconcile(self, db: sqlite3.Connection) -> None:
        if highest(db) < self._last:
            msg = "the file no longer holds what was kept in it"
            raise JournalDamaged(msg)
        db.execute("DELETE FROM events WHERE seq > ?", (self._last,))
        with suppress(sqlite3.Error):  # cuts off what the failed commit may have left behind the log's end
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute(f"PRAGMA busy_timeout = {round(BUSY * 1000)}")

    def _drop(self) -> None:
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
