"""The log of one room in a PostgreSQL journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from broadcast.core.events import Event
from broadcast.core.interfaces import EventListener, ReadCallback, RoomLog, UidsCallback
from broadcast.core.search_query import SearchQuery
from broadcast.journals.batch_queue import BatchQueue
from broadcast.journals.postgres.database import Connection
from broadcast.journals.postgres.merging import MergedStream, Position
from broadcast.journals.postgres.queries import UidsQuery, fetch, fetch_files
from broadcast.journals.postgres.search import Search
from broadcast.journals.query_thread import Kind, Query


class Threads(Protocol):
    """The way to a journal's threads that read."""

    def submit(self, kind: Kind, query: Query[Connection], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error."""

    def forget(self, log: PostgresRoomLog) -> None:
        """Release what the threads hold for *log*."""


class PostgresRoomLog:
    """The log of the room *name*, whose events up to *position* have been read."""

    def __init__(self, queue: BatchQueue[PostgresRoomLog], threads: Threads, name: str, position: Position) -> None:
        self.name = name
        self.stream: MergedStream = MergedStream(position)
        """The state that belongs to the ``Merger``."""
        self._queue = queue
        self._threads = threads
        self._listener: EventListener | None = None
        self._appended: list[Event] = []
        """Events that have not been passed to the commit thread yet."""

    def subscribe(self, listener: EventListener) -> None:
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
        if self._listener is None:
            return
        if foreign := self.stream.take_foreign(events):
            self._listener(events, foreign)
        else:
            self._listener(events)

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Find the events numbered *first* to *last*. All are in memory at once: ask for thousands, not millions."""
        self._threads.submit(Kind.READ, partial(fetch, room=self.name, first=first, last=last), on_result)

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events up to *last* that match *query*, including those that are not yet indexed."""
        self._threads.submit(Kind.SEARCH, Search(query, self.name, last, limit), on_result)

    def read_files(self, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events up to *last* that share a file. There is an index."""
        self._threads.submit(Kind.READ, partial(fetch_files, room=self.name, last=last, limit=limit), on_result)

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Find the ``uid`` of each event from *first* to *last* that has one."""
        self._threads.submit(Kind.READ, UidsQuery(self.name, first, last), on_result)

    def close(self) -> None:
        """Release what is in memory."""
        self._listener = None
        self._threads.forget(self)


_conforms: type[RoomLog] = PostgresRoomLog
