"""The journal in memory: for tests and ``--ephemeral``; it lives as long as the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from broadcast.core.errors import JournalError
from broadcast.core.events import Action, Event, Message, Stored, StoreFailed
from broadcast.core.interfaces import Journal, ReadCallback
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats
from broadcast.journals.commit_queue import CommittedQueue, Wake, why_unstorable
from broadcast.journals.sqlite.search_indexer import matching

SEARCH_ROWS_PER_TURN = 500
"""So many lines are searched in one turn of the reactor, some milliseconds: there is no other thread here."""


class MemoryJournal:
    """A journal that survives nothing, with no thread of its own.

    It remembers the *limit* (1 or more) most recent kept events; older ones are forgotten, and ``read`` leaves them
    out. 100,000 lines of 64 characters take about 25 MB.
    """

    def __init__(self, wake: Wake, limit: int = 100_000) -> None:
        if limit < 1:
            msg = f"a journal remembers at least one event, not {limit}"
            raise ValueError(msg)
        self.commit_stats = CommitStats()
        self._call_soon = wake
        self._limit = limit
        self._committed = CommittedQueue(wake)
        self._last = 0
        self._ring: list[Stored] = []  # the event numbered n stands at (n - 1) % limit

    def open(self, tail: int) -> Sequence[Stored]:  # noqa: ARG002 - there is nothing yet, however much is asked for
        """Nothing: a room in memory begins empty."""
        return []

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with what comes back."""
        self._committed.subscribe(listener)

    def append(self, event: Event) -> None:
        """Number *event* where it is a kept one, and let it come back in a later turn."""
        if isinstance(event, (Message, Action)):
            event = self._store(event)
        self._committed.add((event,))

    def read(self, first: int, last: int, found: ReadCallback) -> None:
        """Find the events numbered *first* to *last* that are still remembered."""
        numbers = range(max(first, self._oldest), min(last, self._last) + 1)
        self._call_soon(partial(found, [_as_read(self._numbered(number)) for number in numbers]))

    def search(self, query: SearchQuery, last: int, limit: int, found: ReadCallback) -> None:
        """Look through the remembered events, the newest first: there is no index."""
        self._call_soon(partial(self._search_some, query, min(last, self._last), limit, [], found))

    def close(self) -> None:
        """Tell nothing any more."""
        self._committed.stop()

    @property
    def _oldest(self) -> int:
        """The number of the oldest event that is remembered."""
        return self._last - len(self._ring) + 1

    def _numbered(self, number: int) -> Stored:
        return self._ring[(number - 1) % self._limit]

    def _search_some(self, words: SearchQuery, last: int, most: int, lines: list[Stored], found: ReadCallback) -> None:
        """Find at most *most* events up to *last*, to be put in front of *lines*; in this turn, some of them."""
        numbers = range(max(last - SEARCH_ROWS_PER_TURN + 1, self._oldest), last + 1)
        try:
            hits = matching(words, ((number, self._numbered(number).text) for number in numbers), most)
        except JournalError as error:
            found(error)
            return
        lines = [_as_read(self._numbered(number)) for number in reversed(hits)] + lines
        if len(hits) == most or numbers.start <= self._oldest:
            found(lines)
        else:
            self._call_soon(partial(self._search_some, words, numbers.start - 1, most - len(hits), lines, found))

    def _store(self, event: Stored) -> Stored | StoreFailed:
        if why := why_unstorable(event):
            self.commit_stats.failed_events += 1
            return StoreFailed(event, why)
        self._last += 1
        kept = event.with_seq(self._last)
        if len(self._ring) < self._limit:
            self._ring.append(kept)
        else:
            self._ring[(self._last - 1) % self._limit] = kept
        return kept


def _as_read(event: Stored) -> Stored:
    """*event* as a journal on disk would give it: of no session, so that nobody comes to rely on one."""
    return type(event)(0, event.nick, event.text, event.at, event.seq)


_conforms: type[Journal] = MemoryJournal
