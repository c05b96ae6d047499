"""The journal in memory, for tests and ``--ephemeral``. It lives as long as the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from uuid import uuid4

from broadcast.core.errors import JournalError
from broadcast.core.events import STORED, Event, Shared, Stored, StoreFailed, TopicChanged
from broadcast.core.interfaces import Journal, OpenedRoom, ReadCallback, RoomLog, UidsCallback
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats
from broadcast.core.time_slice import CallSoon
from broadcast.journals.batch_queue import COMMITTED
from broadcast.journals.commit_queue import CommittedQueue, storage_problem
from broadcast.journals.full_text import matching
from broadcast.journals.memory_records import MemoryRecords

SEARCH_ROWS_PER_TURN = 500
"""Number of lines to search in one reactor turn, which takes some milliseconds. This journal has no thread for it."""


class MemoryJournal:
    """A journal without durability and without a thread of its own.

    It holds the *limit* (1 or more) most recent stored events of all rooms. ``read`` leaves out older ones. 100,000
    lines of 64 characters take about 30 MB.
    """

    def __init__(self, call_soon: CallSoon, limit: int = 100_000, commit_stats: CommitStats | None = None) -> None:
        if limit < 1:
            msg = f"a journal holds at least one event, not {limit}: choose a higher limit"
            raise ValueError(msg)
        self.id = uuid4().hex
        self.commit_stats = commit_stats or CommitStats()
        self._call_soon = call_soon
        self._limit = limit
        self._committed: CommittedQueue[MemoryRoomLog] = CommittedQueue(call_soon, self.commit_stats.now)
        self._steps: deque[Callable[[], None]] = deque()
        """Steps of queries. Each turn of the reactor runs one, however many clients have sent queries."""
        self._logs: dict[str, MemoryRoomLog] = {}
        """The log of each room that is open, or has a topic or stored events."""
        self._stored: deque[MemoryRoomLog] = deque()
        """The log of each stored event that the journal holds, in the order in which they were stored."""
        self.records = MemoryRecords(call_soon, self.add_step, limit)

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Return the room *name* with its last *tail* events that the journal still holds."""
        log = self._logs.get(name) or self._logs.setdefault(name, MemoryRoomLog(self, name))
        return OpenedRoom(log, log.last, log.topic, log.events(log.last - tail + 1, log.last))

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Do the same as ``open`` in a later turn."""
        self.add_step(lambda: on_result(self.open(name, tail)))

    def close(self) -> None:
        """Stop calling the listeners."""
        self._committed.stop()
        self.records.close()

    def append(self, log: MemoryRoomLog, event: Event) -> None:
        """Store *event* in *log*, and return it to the listener in a later turn. Forget the oldest event if needed."""
        returned: Event = event
        if isinstance(event, COMMITTED) and (reason := storage_problem(event)):
            self.commit_stats.failed_events += 1
            returned = StoreFailed(event, reason)
        elif isinstance(event, STORED):
            log.store(event)
            self._stored.append(log)
            if len(self._stored) > self._limit:
                self._stored.popleft().forget_oldest()
        elif isinstance(event, TopicChanged):
            log.topic = event.text
        self._committed.add(((log, (returned,)),))

    def forget(self, log: MemoryRoomLog) -> None:
        """Forget the closed room of *log*, which has stored nothing."""
        del self._logs[log.name]

    def add_step(self, step: Callable[[], None]) -> None:
        """Run *step* in a later turn, after the steps of earlier queries."""
        self._steps.append(step)
        if len(self._steps) == 1:
            self._call_soon(self._run_step)

    def _run_step(self) -> None:
        try:
            self._steps[0]()
        finally:
            self._steps.popleft()
            if self._steps:
                self._call_soon(self._run_step)


class MemoryRoomLog:
    """The log of the room *name* in *journal*."""

    def __init__(self, journal: MemoryJournal, name: str) -> None:
        self.name = name
        self.last = 0
        """Number of the last stored event."""
        self.topic = ""
        """The topic that was appended last; empty if there is none."""
        self._journal = journal
        self._listener: Callable[[Sequence[Event]], None] | None = None
        self._events: dict[int, Stored] = {}
        """The events that the journal holds, by their numbers, which have no gap and end with ``last``."""

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with each batch of committed events."""
        self._listener = listener

    def append(self, event: Event) -> None:
        """Number *event* if it is a stored one, and pass it to the listener in a later turn."""
        self._journal.append(self, event)

    def deliver(self, events: Sequence[Event]) -> None:
        """Pass committed *events* to the listener."""
        if self._listener is not None:
            self._listener(events)

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Find the events numbered *first* to *last* that the journal still holds."""
        self._journal.add_step(lambda: on_result(self.events(first, last)))

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Search all events, the newest first. There is no index."""
        self._journal.add_step(partial(self._search_some, query, min(last, self.last), limit, [], on_result))

    def read_files(self, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the newest *limit* events up to *last* that share a file, which takes some milliseconds."""
        self._journal.add_step(lambda: on_result(self._newest_files(last, limit)))

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Find the ``uid`` of each event from *first* to *last* that the journal still holds."""
        self._journal.add_step(
            lambda: on_result([(event.uid, event.seq) for event in self.events(first, last) if event.uid])
        )

    def close(self) -> None:
        """Stop calling the listener. The stored events stay."""
        self._listener = None
        if not self.last and not self.topic:
            self._journal.forget(self)

    def events(self, first: int, last: int) -> list[Stored]:
        """Return the events numbered *first* to *last* that the journal still holds."""
        numbers = range(max(first, self._oldest), min(last, self.last) + 1)
        return [self._events[number] for number in numbers]

    def _newest_files(self, last: int, limit: int) -> Sequence[Stored]:
        numbers = range(min(last, self.last), self._oldest - 1, -1)
        events = (self._events[number] for number in numbers)
        return [*islice((event for event in events if isinstance(event, Shared)), limit)][::-1]

    def store(self, event: Stored) -> None:
        """Number *event* and store it."""
        self.last += 1
        event.seq = self.last
        self._events[event.seq] = event

    def forget_oldest(self) -> None:
        """Forget the oldest event."""
        del self._events[self._oldest]

    @property
    def _oldest(self) -> int:
        """Number of the oldest event that the journal holds."""
        return self.last - len(self._events) + 1

    def _search_some(
        self, query: SearchQuery, last: int, limit: int, found: list[Stored], on_result: ReadCallback
    ) -> None:
        """Search the next rows up to *last* for at most *limit* events, and put them in front of *found*.

        If rows are left to search, continue in a later turn.
        """
        numbers = range(max(last - SEARCH_ROWS_PER_TURN + 1, self._oldest), last + 1)
        try:
            hits = matching(query, ((number, self._events[number].text) for number in numbers), limit)
        except JournalError as error:
            on_result(error)
            return
        found = [self._events[number] for number in reversed(hits)] + found
        if len(hits) == limit or numbers.start <= self._oldest:
            on_result(found)
        else:
            self._journal.add_step(
                partial(self._search_some, query, numbers.start - 1, limit - len(hits), found, on_result)
            )


_conforms: type[Journal] = MemoryJournal
_log_conforms: type[RoomLog] = MemoryRoomLog
