"""The journal in memory, for tests and ``--ephemeral``. It lives as long as the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from broadcast.core.errors import JournalError
from broadcast.core.events import Action, Event, Message, Stored, StoreFailed
from broadcast.core.interfaces import Journal, ReadCallback
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats
from broadcast.core.time_slice import CallSoon
from broadcast.journals.commit_queue import CommittedQueue, storage_problem
from broadcast.journals.sqlite.search_indexer import matching

SEARCH_ROWS_PER_TURN = 500
"""Number of lines to search in one reactor turn, which takes some milliseconds. This journal has no thread for it."""


class MemoryJournal:
    """A journal without durability and without a thread of its own.

    It holds the *limit* (1 or more) most recent stored events. ``read`` leaves out older ones. 100,000 lines of 64
    characters take about 25 MB.
    """

    def __init__(self, call_soon: CallSoon, limit: int = 100_000) -> None:
        if limit < 1:
            msg = f"a journal holds at least one event, not {limit}: choose a higher limit"
            raise ValueError(msg)
        self.commit_stats = CommitStats()
        self._call_soon = call_soon
        self._limit = limit
        self._committed = CommittedQueue(call_soon)
        self._last = 0
        self._steps: deque[Callable[[], None]] = deque()
        """Steps of queries. Each turn of the reactor runs one, however many clients have sent queries."""
        self._ring: list[Stored] = []  # the event with number n is at index (n - 1) % limit

    def open(self, tail: int) -> Sequence[Stored]:  # noqa: ARG002 - the journal is empty at the start
        """Return no events, because a room in memory begins empty."""
        return []

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with each batch of committed events."""
        self._committed.subscribe(listener)

    def append(self, event: Event) -> None:
        """Number *event* if it is a stored one, and pass it to the listener in a later turn."""
        if isinstance(event, (Message, Action)):
            event = self._store(event)
        self._committed.add((event,))

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Find the events numbered *first* to *last* that the journal still holds."""
        numbers = range(max(first, self._oldest), min(last, self._last) + 1)
        self._add_step(lambda: on_result([_without_session(self._event_at(number)) for number in numbers]))

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Search all events, the newest first. There is no index."""
        self._add_step(partial(self._search_some, query, min(last, self._last), limit, [], on_result))

    def close(self) -> None:
        """Stop calling the listener."""
        self._committed.stop()

    def _add_step(self, step: Callable[[], None]) -> None:
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

    @property
    def _oldest(self) -> int:
        """Number of the oldest event that the journal holds."""
        return self._last - len(self._ring) + 1

    def _event_at(self, number: int) -> Stored:
        return self._ring[(number - 1) % self._limit]

    def _search_some(
        self, query: SearchQuery, last: int, limit: int, found: list[Stored], on_result: ReadCallback
    ) -> None:
        """Search the next rows up to *last* for at most *limit* events, and put them in front of *found*.

        If rows are left to search, continue in a later turn.
        """
        numbers = range(max(last - SEARCH_ROWS_PER_TURN + 1, self._oldest), last + 1)
        try:
            hits = matching(query, ((number, self._event_at(number).text) for number in numbers), limit)
        except JournalError as error:
            on_result(error)
            return
        found = [_without_session(self._event_at(number)) for number in reversed(hits)] + found
        if len(hits) == limit or numbers.start <= self._oldest:
            on_result(found)
        else:
            self._add_step(partial(self._search_some, query, numbers.start - 1, limit - len(hits), found, on_result))

    def _store(self, event: Stored) -> Stored | StoreFailed:
        if reason := storage_problem(event):
            self.commit_stats.failed_events += 1
            return StoreFailed(event, reason)
        self._last += 1
        event.seq = self._last
        if len(self._ring) < self._limit:
            self._ring.append(event)
        else:
            self._ring[(self._last - 1) % self._limit] = event
        return event


def _without_session(event: Stored) -> Stored:
    """Return *event* without its session. A journal on disk stores no session, so no caller may rely on it."""
    return type(event)(0, event.nick, event.text, event.at, event.seq)


_conforms: type[Journal] = MemoryJournal
