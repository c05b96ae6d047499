"""The thread that looks up events in an SQLite journal."""

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
from broadcast.journals.commit_queue import Wake
from broadcast.journals.sqlite.database import connect

Query: TypeAlias = Callable[[sqlite3.Connection], Sequence[Stored] | None]
"""Finds events by a connection; None where it has not found them all yet, and is to be called again."""

MAX_PENDING = 1000
"""At most so many questions wait; more are refused. A session asks one at a time."""


class QueryThread:
    """One thread that reads the file *path* and answers through *wake*, one question after the other.

    A question that is not through yet lets the others go first.
    """

    def __init__(self, path: Path, wake: Wake) -> None:
        self._path = path
        self._call_soon = wake
        self._db: sqlite3.Connection | None = None
        self._questions: SimpleQueue[tuple[Query, ReadCallback] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="journal reader", daemon=True)
        self._thread.start()

    def submit(self, question: Query, found: ReadCallback) -> None:
        """Call *found* in a later turn with what *question* finds, or with why not."""
        if self._questions.qsize() < MAX_PENDING:
            self._questions.put((question, found))
        else:
            self._call_soon(partial(found, JournalError("too many are reading the journal just now")))

    def close(self) -> None:
        """Answer what was asked, then end; blocks until then."""
        self._questions.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (asked := self._questions.get()) is not None:
            question, found = asked
            answer = self._answer(question)
            if answer is None:
                self._questions.put(asked)
            else:
                self._call_soon(partial(found, answer))
        while not self._questions.empty():
            if (unfinished := self._questions.get()) is not None:
                self._call_soon(partial(unfinished[1], JournalError("the journal is closed")))
        self._disconnect()

    def _answer(self, question: Query) -> Sequence[Stored] | JournalError | None:
        try:
            if self._db is None:
                self._db = connect(self._path, writing=False)
            return question(self._db)
        except JournalError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever happened, who asked is told, and the thread lives on
            self._disconnect()
            return JournalError(" ".join(f"the journal cannot be read: {error}".split()))

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
