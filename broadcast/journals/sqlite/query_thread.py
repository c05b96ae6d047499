"""The thread that reads and searches an SQLite journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.core.interfaces import ReadCallback
from broadcast.core.time_slice import CallSoon
from broadcast.journals.sqlite.database import connect

Query: TypeAlias = Callable[[sqlite3.Connection], Sequence[Stored] | None]
"""Takes a connection and returns the events found, or None if it is not finished and must be called again."""

MAX_PENDING = 1000
"""Maximum number of waiting queries; more are rejected. A session has at most one at a time."""


class QueryThread:
    """A thread that runs queries on the file *path*, one after the other, and passes results through *call_soon*.

    *verify* raises ``JournalError`` if the path does not lead to the journal. A query that is not finished goes to the
    end of the queue, so that a long search does not delay the others.
    """

    def __init__(self, path: Path, call_soon: CallSoon, verify: Callable[[], None]) -> None:
        self._path = path
        self._verify = verify
        self._call_soon = call_soon
        self._db: sqlite3.Connection | None = None
        self._queries: SimpleQueue[tuple[Query, ReadCallback] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="journal reader", daemon=True)
        self._thread.start()

    def submit(self, query: Query, on_result: ReadCallback) -> None:
        """Call *on_result* in a later turn with the events that *query* finds, or with the error."""
        if self._queries.qsize() < MAX_PENDING:
            self._queries.put((query, on_result))
        else:
            self._call_soon(partial(on_result, JournalError("too many are reading the journal just now")))

    def close(self) -> None:
        """Call every waiting query once more, then end the thread. Unfinished queries fail. Blocks until then."""
        self._queries.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (pending := self._queries.get()) is not None:
            query, on_result = pending
            result = self._execute(query)
            if result is None:
                self._queries.put(pending)
            else:
                self._call_soon(partial(on_result, result))
        while not self._queries.empty():
            if (unfinished := self._queries.get()) is not None:
                _query, on_result = unfinished
                self._call_soon(partial(on_result, JournalError("the journal is closed")))
        self._disconnect()

    def _execute(self, query: Query) -> Sequence[Stored] | JournalError | None:
        try:
            if self._db is None:
                self._verify()
                self._db = connect(self._path, writing=False)
            return query(self._db)
        except JournalError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the thread must survive any error, and the caller must learn of it
            self._disconnect()
            return JournalError(" ".join(f"the journal cannot be read: {error}".split()))

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
