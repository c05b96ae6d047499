"""The journal in an SQLite database: its threads, combined behind ``core.interfaces.Journal``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock

from broadcast.core.errors import JournalError
from broadcast.core.events import Event
from broadcast.core.interfaces import Journal, OpenedRoom, ReadCallback, UidsCallback
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats
from broadcast.core.time_slice import CallSoon
from broadcast.journals.commit_queue import CommittedQueue
from broadcast.journals.sqlite.commit_thread import CommitThread
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, DirectoryLock, LastNumberFile, read_last_number
from broadcast.journals.sqlite.database import fetch, prepare, translate_errors
from broadcast.journals.sqlite.open_files import OpenFiles
from broadcast.journals.sqlite.query_thread import Query, QueryThread
from broadcast.journals.sqlite.search_indexer import Search
from broadcast.journals.sqlite.writing_connection import WritingConnection

FILE = "journal.sqlite"
"""File name of the database in its folder."""


class SqliteJournal:
    """A journal in the file ``journal.sqlite`` of *folder*, with one thread that writes and one that reads.

    Events that are appended while a commit runs form the next commit, up to 512 events (group commit). If a commit
    fails, none of its events is stored; the next commit tries again. While no event arrives, the writing thread adds
    stored events to the search index. It records its commits in *commit_stats*. ``open`` calls *report* with one line
    if stored events are missing.
    """

    def __init__(
        self,
        folder: Path,
        call_soon: CallSoon,
        commit_stats: CommitStats | None = None,
        report: Callable[[str], object] = str,
    ) -> None:
        self.commit_stats = commit_stats or CommitStats()
        self._report = report
        self._folder = folder.absolute()  # absolute, because a daemon changes its working directory
        self._call_soon = call_soon
        self._lock = DirectoryLock(self._folder)
        self.id = ""
        self._listener: Callable[[Sequence[Event]], None] | None = None
        self._committed: CommittedQueue[SqliteJournal] = CommittedQueue(call_soon, self.commit_stats.now)
        self._last_number: LastNumberFile | None = None
        self._commit_thread: CommitThread | None = None
        self._query_thread: QueryThread | None = None
        self._appended: list[Event] = []
        """Events that have not been passed to the commit thread yet."""
        self._handing_over = Lock()
        """Held while events pass to the commit thread, because ``close`` may run on another thread than ``append``."""

    def open(self, name: str, tail: int) -> OpenedRoom:  # noqa: ARG002 - there is only one room yet
        """Create or check the database, start the threads, and return the room *name* with the last *tail* events.

        Raises ``JournalInUse``, ``JournalDamaged``, ``JournalTooNew`` or another ``JournalError``. Everything is
        released before that.
        """
        path, number_path = self._folder / FILE, self._folder / LAST_NUMBER_FILE
        self._lock.acquire()
        try:
            with translate_errors(number_path):
                expected = read_last_number(number_path)
            db, events, last = prepare(path, tail, expected, self._report)
            try:
                with translate_errors(number_path):
                    self._last_number = LastNumberFile(number_path, last)
            except BaseException:
                db.close()
                raise
            now = self.commit_stats.now
            files = OpenFiles(path, self._lock, self._last_number, now)
            self._query_thread = QueryThread(path, self._call_soon, files.verify_path)
            connection = WritingConnection(path, files, db, last, self._query_thread.disconnected, now)
            self._commit_thread = CommitThread(connection, self._add_committed, self.commit_stats)
        except BaseException:
            self.close()
            raise
        return OpenedRoom(self, last, "", events)

    def open_room(self, _name: str, _tail: int, on_result: Callable[[OpenedRoom | JournalError], None], /) -> None:
        """Fail: there is only one room yet."""
        self._call_soon(partial(on_result, JournalError("the journal holds only one room")))

    def read_uids(self, _first: int, _last: int, on_result: UidsCallback, /) -> None:
        """Find none."""
        self._call_soon(partial(on_result, []))

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with each batch of committed events."""
        self._listener = listener

    def _add_committed(self, events: Sequence[Event]) -> None:
        self._committed.add(((self, events),))

    def deliver(self, events: Sequence[Event]) -> None:
        """Pass committed *events* to the listener."""
        # The delivery may take a while. Meanwhile, the thread commits the events of the next delivery.
        self._hand_over()
        if self._listener is not None:
            self._listener(events)

    def append(self, event: Event) -> None:
        """Queue *event*. It is lost before ``open`` and after ``close``.

        The thread gets all events of a turn of the reactor together. With one at a time, it would commit the first one
        alone, and each wake-up would interrupt the reactor, because only one thread can run Python code.
        """
        if not self._appended:
            self._call_soon(self._hand_over)
        self._appended.append(event)

    def _hand_over(self) -> None:
        """Give the appended events to the thread."""
        with self._handing_over:
            events, self._appended = self._appended, []
            if events and self._commit_thread is not None:
                self._commit_thread.put(events)

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Find the events numbered *first* to *last*. All are in memory at once: ask for thousands, not millions."""
        self._submit(lambda db: fetch(db, first, last), on_result)

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events up to *last* that match *query*, including those that are not yet indexed."""
        self._submit(Search(query, last, limit), on_result, is_search=True)

    def close(self) -> None:
        """Store the queued events, then release everything. May be called at any time, and more than once."""
        self._committed.stop()
        query_thread, self._query_thread = self._query_thread, None
        if query_thread is not None:
            query_thread.close()
        self._hand_over()
        commit_thread, self._commit_thread = self._commit_thread, None
        if commit_thread is not None:
            commit_thread.close()
        last_number, self._last_number = self._last_number, None
        if last_number is not None:
            last_number.close()
        self._lock.release()

    def _submit(self, query: Query, on_result: ReadCallback, *, is_search: bool = False) -> None:
        if self._query_thread is not None:
            self._query_thread.submit(query, on_result, is_search=is_search)
        else:
            self._call_soon(partial(on_result, JournalError("the journal is closed")))


_conforms: type[Journal] = SqliteJournal
