"""What the core asks of its surroundings; protocols with no logic.

The core is called from one thread, the reactor's. Whoever implements these calls it from that thread too, and never
from within the call that asked: an answer comes in a later turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from broadcast.core.errors import JournalError
from broadcast.core.events import Event, Notice, Stored
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats


@dataclass(frozen=True, slots=True)
class View:
    """What changes a reader's bytes for a whole group of readers."""

    times: bool = False
    """Whether each kept line shows its time."""
    quiet: bool = False
    """Whether joins and leaves are hidden."""


Override: TypeAlias = tuple[int, Event | Notice | None]
"""An index into a burst's events, and what one reader gets in that place: another event, a notice, or nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """All that has come back from the journal when the reactor gets to it, as it is told to the readers.

    *edits* maps the id of a session to what differs for it, in ascending order of the index. Whoever is not in it gets
    exactly what everybody gets. A ``Whispered`` or ``NotKept`` event is nothing to everybody: it shows only where an
    edit puts it.
    """

    events: Sequence[Event]
    overrides: Mapping[int, Sequence[Override]]
    last_seq: int = 0
    """The number of the last kept event before this burst."""


class Encoder(Protocol):
    """How events look to one kind of door, in one view."""

    def encode(self, event: Event | Notice) -> bytes:
        """The bytes of *event*; empty where this view does not show it."""


Callback: TypeAlias = Callable[[], None]
"""A short piece of work. What it raises does not keep the next from being done."""


class Publisher(Protocol):
    """The readers of one room."""

    def publish(self, burst: Batch, then: Iterator[Callback]) -> None:
        """Show *burst* to everybody; once every reader was offered it, exhaust *then*, and do each step as it comes.

        All that may have happened before this returns, or take several turns. It is not called again before then,
        but perhaps while *then* ends.
        """


class Peer(Protocol):
    """What a session may tell its connection. A peer whose connection is gone takes every call and does nothing."""

    @property
    def congested(self) -> bool:
        """Whether so much waits for this peer alone that nothing should be added: they do not read."""

    def send(self, *notices: Notice) -> None:
        """Put *notices* at the end of this one reader's stream."""

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Put all of *notices* there; each is asked for when there is room for it, which may be much later."""

    def subscribe(self, view: View) -> None:
        """From here on, show what is told to the room, in this view; again with another view to change it."""

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* once the peer is not full: at once, or when it has room, and its turn; at most one call waits."""

    def ready_for_line(self) -> None:
        """The session is ready for its next line."""

    def close(self) -> None:
        """Stop listening; deliver everything shown so far, then end the connection."""


ReadCallback: TypeAlias = Callable[[Sequence[Stored] | JournalError], None]
"""Takes what was read from a journal, or why that failed."""


class Journal(Protocol):
    """The ordered, durable record of a room's kept events.

    Everything that happens in a room goes through it and comes back in the order of the calls: kept events with their
    number, after they are safe (a crash of the process or the machine does not lose them); passing events as they
    are. Where keeping fails, a ``NotKept`` comes back in the event's place, the number stays free for the next, and
    passing events pass all the same.
    """

    @property
    def commit_stats(self) -> CommitStats:
        """How its commits go."""

    def open(self, tail: int) -> Sequence[Stored]:
        """Make ready, and return the last *tail* (0 or more) kept events. May block; called once, first.

        Raises a ``JournalError`` whose text says what is wrong and what to do.
        """

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with each batch of what has come back, in order, from the reactor's thread.

        At most one such call is on its way at any moment: whatever comes back meanwhile is part of it. Called once,
        before the first ``append``.
        """

    def append(self, event: Event) -> None:
        """Take *event* (a kept one with ``seq`` 0) into the queue. Never blocks, never raises."""

    def read(self, first: int, last: int, found: ReadCallback) -> None:
        """Find the kept events numbered *first* to *last*, both included, in ascending order. Does not block.

        Numbers that were never given are left out; so ``first > last`` finds nothing.
        """

    def search(self, query: SearchQuery, last: int, limit: int, found: ReadCallback) -> None:
        """Find the kept events in whose text all of *words* occur, in ascending order. Does not block.

        Of those numbered at most *last*, the newest *most* (1 or more). Words are what SQLite's ``unicode61
        remove_diacritics 2`` takes for words: runs of letters, digits and private-use characters, whatever their case
        and their diacritics. A phrase is words that stand one right behind the other; phrases of other characters are
        ignored, and where there are no others, nothing is found.
        """

    def close(self) -> None:
        """Keep what is in the queue, then release everything. Blocks until then; called once, last.

        What comes back after this is not told to the listener any more.
        """
