"""The journal in an SQLite database: the default, safe against a crash of the process and of the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from broadcast.core.errors import JournalError
from broadcast.core.events import Event, Kept
from broadcast.core.interfaces import Found, Journal
from broadcast.core.search_query import Words
from broadcast.core.stats import Keeping
from broadcast.journals.commit_queue import Returns, Wake
from broadcast.journals.sqlite.commit_thread import Writer
from broadcast.journals.sqlite.data_dir import FolderLock
from broadcast.journals.sqlite.database import fetch, prepare
from broadcast.journals.sqlite.query_thread import Question, Reader
from broadcast.journals.sqlite.search_indexer import Search

FILE = "journal.sqlite"
"""The database's name in its folder."""


class SqliteJournal:
    """A journal in the file ``journal.sqlite`` of *folder*, with one thread that writes and one that reads.

    All that was appended while a commit ran is the next commit, up to 512 events. A commit that fails takes all its
    events with it; the next one tries again. While nothing is appended, the thread that writes indexes for ``search``
    what it has kept. How that goes is written into *keeping*.
    """

    def __init__(self, folder: Path, wake: Wake, keeping: Keeping | None = None) -> None:
        self.keeping = keeping or Keeping()
        self._folder = folder.absolute()  # a daemon changes its working folder
        self._wake = wake
        self._lock = FolderLock(self._folder)
        self._returns = Returns(wake)
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    def open(self, tail: int) -> Sequence[Kept]:
        """Make or check the database, start the threads, and return the last *tail* events.

        Raises ``JournalInUse``, ``JournalDamaged``, ``JournalTooNew`` or another ``JournalError``; nothing stays held
        then.
        """
        path = self._folder / FILE
        self._lock.acquire()
        try:
            db, events, last = prepare(path, tail)
            self._writer = Writer(path, db, last, self._returns, self.keeping)
            self._reader = Reader(path, self._wake)
        except BaseException:
            self.close()
            raise
        return events

    def listen(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with what comes back."""
        self._returns.listen(listener)

    def append(self, event: Event) -> None:
        """Take *event* into the queue; outside of open and close it is lost."""
        writer = self._writer  # another thread may be closing
        if writer is not None:
            writer.put(event)

    def read(self, first: int, last: int, found: Found) -> None:
        """Find the events numbered *first* to *last*, all at once in memory: ask for thousands, not for millions."""
        self._ask(lambda db: fetch(db, first, last), found)

    def search(self, words: Words, last: int, most: int, found: Found) -> None:
        """Find the newest *most* events up to *last* that hold *words*, whether they are indexed yet or not."""
        self._ask(Search(words, last, most), found)

    def close(self) -> None:
        """Keep what is in the queue, then release everything; safe at any time, and more than once."""
        self._returns.stop()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        self._lock.release()

    def _ask(self, question: Question, found: Found) -> None:
        if self._reader is not None:
            self._reader.ask(question, found)
        else:
            self._wake(partial(found, JournalError("the journal is closed")))


_conforms: type[Journal] = SqliteJournal
