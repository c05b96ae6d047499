"""The thread that looks up events in an SQLite journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from broadcast.core.errors import JournalError
from broadcast.core.events import Kept
from broadcast.core.interfaces import Found
from broadcast.journals.database import connect, fetch
from broadcast.journals.returns import Wake

PENDING = 1000
"""At most so many questions wait; more are refused. A session asks one at a time."""


class Reader:
    """One thread that reads the file *path* and answers through *wake*, one question after the other."""

    def __init__(self, path: Path, wake: Wake) -> None:
        self._path = path
        self._wake = wake
        self._db: sqlite3.Connection | None = None
        self._questions: SimpleQueue[tuple[int, int, Found] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="journal reader", daemon=True)
        self._thread.start()

    def ask(self, first: int, last: int, found: Found) -> None:
        """Call *found* in a later turn with the events numbered *first* to *last*, or with why not."""
        if self._questions.qsize() < PENDING:
            self._questions.put((first, last, found))
        else:
            self._wake(partial(found, JournalError("too many are reading the journal just now")))

    def close(self) -> None:
        """Answer what was asked, then end; blocks until then."""
        self._questions.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (question := self._questions.get()) is not None:
            first, last, found = question
            self._wake(partial(found, self._answer(first, last)))
        self._drop()

    def _answer(self, first: int, last: int) -> Sequence[Kept] | JournalError:
        try:
            if self._db is None:
                self._db = connect(self._path, writing=False)
            return fetch(self._db, first, last)
        except JournalError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever happened, who asked is told, and the thread lives on
            self._drop()
            return JournalError(" ".join(f"the journal cannot be read: {error}".split()))

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
