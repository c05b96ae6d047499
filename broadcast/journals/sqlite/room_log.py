"""The log of one room in an SQLite journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from broadcast.core.events import Event
from broadcast.core.interfaces import ReadCallback, RoomLog, UidsCallback
from broadcast.core.search_query import SearchQuery
from broadcast.journals.batch_queue import BatchQueue
from broadcast.journals.query_thread import Kind, Query
from broadcast.journals.sqlite.database import fetch, fetch_files
from broadcast.journals.sqlite.room_record import MAX_SEQ, RoomRecord, key
from broadcast.journals.sqlite.search_indexer import Search

UIDS_ROWS = 20_000
"""Maximum number of lines to search for a ``uid`` in one call, which takes some milliseconds."""


class Queries(Protocol):
    """The queue to a journal's query thread."""

    def submit(self, kind: Kind, query: Query[sqlite3.Connection], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error."""


class SqliteRoomLog:
    """The log of *room*, which belongs to the commit thread. Only its ``id``, which is set once, may be read here."""

    def __init__(self, queue: BatchQueue[SqliteRoomLog], queries: Queries, room: RoomRecord) -> None:
        self.room = room
        self._queue = queue
        self._queries = queries
        self._listener: Callable[[Sequence[Event]], None] | None = None
        self._appended: list[Event] = []
        """Events that have not been passed to the commit thread yet."""

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with each batch of committed events."""
        self._listener = listener

    def append(self, event: Event) -> None:
        """Queue *event*. An event that is appended to a closed journal is lost."""
        if not self._appended:
            self._queue.schedule(self)
        self._appended.append(event)

    def take(self) -> list[Event]:
        """Remove the appended events and return them for the commit thread."""
        events, self._appended = self._appended, []
        return events

    def deliver(self, events: Sequence[Event]) -> None:
        """Pass committed *events* to the listener."""
        # The delivery may take a while. Meanwhile, the commit thread stores the events of the next delivery.
        self._queue.hand_over()
        if self._listener is not None:
            self._listener(events)

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Find the events numbered *first* to *last*. All are in memory at once: ask for thousands, not millions."""
        room = self.room.id
        query = None if room is None else partial(fetch, room=room, first=first, last=last)
        self._submit(Kind.READ, query, on_result)

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events up to *last* that match *query*, including those that are not yet indexed."""
        room = self.room.id
        self._submit(Kind.SEARCH, None if room is None else Search(query, room, last, limit), on_result)

    def read_files(self, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events up to *last* that share a file. There is an index."""
        room = self.room.id
        query = None if room is None else partial(fetch_files, room=room, last=last, limit=limit)
        self._submit(Kind.READ, query, on_result)

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Find the ``uid`` of each event from *first* to *last* that has one."""
        room = self.room.id
        self._submit(Kind.READ, None if room is None else _UidsQuery(room, first, last), on_result)

    def close(self) -> None:
        """Release what is in memory."""
        self._listener = None
        self._queue.forget(self)

    def _submit(self, kind: Kind, query: Query[sqlite3.Connection] | None, on_result: Callable[[Any], None]) -> None:
        """Submit *query*. If it is None, because the room is not in the file yet, submit one that finds nothing."""
        self._queries.submit(kind, query or (lambda _db: []), on_result)


class _UidsQuery:
    """A query for the ``uid`` and number of the lines *first* to *last* in the room with the id *room*."""

    def __init__(self, room: int, first: int, last: int) -> None:
        self._next = key(room, max(first, 1))
        self._last = key(room, last)
        self._found: list[tuple[str, int]] = []

    def __call__(self, db: sqlite3.Connection) -> list[tuple[str, int]] | None:
        """Read some more lines. Return all pairs that were found, or None if lines are left to read."""
        query = "SELECT max(seq) FROM (SELECT seq FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?)"
        last = db.execute(query, (self._next, self._last, UIDS_ROWS)).fetchone()[0]
        if last is None:
            return self._found
        query = f"SELECT uid, seq & {MAX_SEQ} FROM events WHERE seq BETWEEN ? AND ? AND uid IS NOT NULL ORDER BY seq"  # noqa: S608 - a constant
        self._found += db.execute(query, (self._next, last))
        self._next = last + 1
        return None


_conforms: type[RoomLog] = SqliteRoomLog
