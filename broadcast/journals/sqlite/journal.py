"""The journal in an SQLite database: the default, safe against a crash of the process and of the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from broadcast.core.errors import JournalError
from broadcast.core.events import Event, Stored
from broadcast.core.interfaces import Journal, ReadCallback
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats
from broadcast.journals.commit_queue import CommittedQueue, Wake
from broadcast.journals.sqlite.commit_thread import CommitThread
from broadcast.journals.sqlite.data_dir import DirectoryLock
from broadcast.journals.sqlite.database import fetch, prepare
from broadcast.journals.sqlite.query_thread import Query, QueryThread
from broadcast.journals.sqlite.search_indexer import Search

FILE = "journal.sqlite"
"""The database's name in its folder."""


class SqliteJournal:
    """A journal in the file ``journal.sqlite`` of *folder*, with one thread that writes and one that reads.

    All that was appended while a commit ran is the next commit, up to 512 events. A commit that fails takes all its
    events with it; the next one tries again. While nothing is appended, the thread that writes indexes for ``search``
    what it has kept. How that goes is written into *keeping*.
    """

    def __init__(self, folder: Path, wake: Wake, commit_stats: CommitStats | None = None) -> None:
        self.commit_stats = commit_stats or CommitStats()
        self._folder = folder.absolute()  # a daemon changes its working folder
        self._call_soon = wake
        self._lock = DirectoryLock(self._folder)
        self._committed = CommittedQueue(wake)
        self._commit_thread: CommitThread | None = None
        self._query_thread: QueryThread | None = None

    def open(self, tail: int) -> Sequence[Stored]:
        """Make or check the database, start the threads, and return the last *tail* events.

        Raises ``JournalInUse``, ``JournalDamaged``, ``JournalTooNew`` or another ``JournalError``; nothing stays held
        then.
        """
        path = self._folder / FILE
        self._lock.acquire()
        try:
            db, events, last = prepare(path, tail)
            self._commit_thread = CommitThread(path, db, last, self._committed, self.commit_stats)
            self._query_thread = QueryThread(path, self._call_soon)
        except BaseException:
            self.close()
            raise
        return events

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with what comes back."""
        self._committed.subscribe(listener)

    def append(self, event: Event) -> None:
        """Take *event* into the queue; outside of open and close it is lost."""
        writer = self._commit_thread  # another thread may be closing
        if writer is not None:
            writer.put(event)

    def read(self, first: int, last: int, found: ReadCallback) -> None:
        """Find the events numbered *first* to *last*, all at once in memory: ask for thousands, not for millions."""
        self._submit(lambda db: fetch(db, first, last), found)

    def search(self, query: SearchQuery, last: int, limit: int, found: ReadCallback) -> None:
        """Find the newest *most* events up to *last* that hold *words*, whether they are indexed yet or not."""
        self._submit(Search(query, last, limit), found)

    def close(self) -> None:
        """Keep what is in the queue, then release everything; safe at any time, and more than once."""
        self._committed.stop()
        reader, self._query_thread = self._query_thread, None
        if reader is not None:
            reader.close()
        writer, self._commit_thread = self._commit_thread, None
        if writer is not None:
            writer.close()
        self._lock.release()

    def _submit(self, question: Query, found: ReadCallback) -> None:
        if self._query_thread is not None:
            self._query_thread.submit(question, found)
        else:
            self._call_soon(partial(found, JournalError("the journal is closed")))


_conforms: type[Journal] = SqliteJournal
