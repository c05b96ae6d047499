"""The interfaces between the core and its surroundings, as protocols without logic.

All calls happen on one thread, the reactor's. An implementation calls back on that thread too, and never from within
the call that asked: the result arrives in a later turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from broadcast.core.errors import JournalError
from broadcast.core.events import Event, Notice, Stored
from broadcast.core.records import AuditEntry, PrivateLine, RecordChange, StoredRecords
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats


@dataclass(frozen=True, slots=True)
class View:
    """The settings that change the bytes of a room's stream. All subscribers with one view share these bytes."""

    times: bool = False
    """Whether each stored event is shown with its time."""
    quiet: bool = False
    """Whether joins and leaves are hidden."""


Override: TypeAlias = tuple[int, Event | Notice | None]
"""An index into a batch's events, and what one session receives in that place: an event, a notice, or nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are delivered together.

    ``overrides`` maps the id of a session to its overrides, in ascending order of the index. All other sessions receive
    the events as they are. A ``PrivateMessage`` or ``StoreFailed`` is visible only through an override.
    """

    events: Sequence[Event]
    overrides: Mapping[int, Sequence[Override]]
    last_seq: int = 0
    """Number of the last stored event before this batch."""


class Encoder(Protocol):
    """The conversion of events to bytes, for one kind of door and one view."""

    def encode(self, event: Event | Notice) -> bytes:
        """Return the bytes of *event*, empty if the view hides it."""


Callback: TypeAlias = Callable[[], None]
"""A short piece of work. The next callback runs even if this one raises an exception."""


CallLater: TypeAlias = Callable[[float, Callback], object]
"""Schedules a callback after so many seconds, as ``reactor.callLater`` does."""


class Publisher(Protocol):
    """Delivery to the subscribers of one room."""

    def publish(self, batch: Batch, callbacks: Iterator[Callback], first: Iterable[Callback] = ()) -> None:
        """Run *first*, offer *batch* to every subscriber, then run *callbacks*. Each callback runs as it is produced.

        Subscribers that *first* adds do not receive the batch.

        All of this can happen before the call returns, or take several turns of the reactor. The room publishes the
        next batch only after the last callback. It can do so while the iterator ends.
        """


class Peer(Protocol):
    """The connection, as a session sees it. After the connection is lost, every call does nothing."""

    @property
    def congested(self) -> bool:
        """Whether the peer reads so slowly that nothing more should be queued for it alone."""

    def send(self, *notices: Notice) -> None:
        """Append *notices* to this subscriber's stream."""

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Append all of *notices*, but produce each only when it can be sent, which may be much later."""

    def subscribe(self, publisher: Publisher, view: View) -> None:
        """Deliver the stream of the room with *publisher* in *view* from here on, and no other stream."""

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* as soon as the peer is not congested and has its turn. At most one such call can be pending."""

    def ready_for_line(self) -> None:
        """Continue with the input: the session is ready for its next line."""

    def close(self) -> None:
        """Unsubscribe, deliver everything sent so far, then end the connection."""


ReadCallback: TypeAlias = Callable[[Sequence[Stored] | JournalError], None]
"""Receives the events that were read from a journal, or the reason why that failed."""


UidsCallback: TypeAlias = Callable[[Sequence[tuple[str, int]] | JournalError], None]
"""Receives the identifiers that authors chose, each with its event's number, or the reason why reading failed."""


class EventListener(Protocol):
    """Receives the events of a room in their order."""

    def __call__(self, events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
        """Handle *events*, of which *foreign* are those that another node has appended."""


class RoomLog(Protocol):
    """The ordered, durable record of one room's stored events, as a part of a journal.

    Every event of the room passes through it and returns in the order of ``append``. A stored event returns with its
    number once it is durable: neither a crash of the process nor one of the machine loses it. A transient event returns
    as it is. If storing fails, a ``StoreFailed`` returns in the event's place and the next event receives the number.
    Transient events pass even then. A ``TopicChanged`` returns once the topic is durable, or fails like a stored event.
    The room appends no ``uid`` twice. If another node has stored a line with it, ``Repeated`` returns after this line.

    In a cluster, the events of the other nodes return as well, in the one order that all nodes have. Of their transient
    events, these are the joins, leaves, renames and absences of members, the topics, and the announcements that are not
    local. The first ones are the joins of the members that are in the room on other nodes. The others continue them
    without a hole or an overlap.
    """

    def subscribe(self, listener: EventListener) -> None:
        """Call *listener* on the reactor's thread with the returned events, in order. Called once, before ``append``.

        At most one call is scheduled at a time. Events that return before it runs are part of it.
        """

    def append(self, event: Event) -> None:
        """Queue *event*, whose ``seq`` is 0 if it has one. Never blocks, never raises.

        A stored event belongs to the journal until it returns: the journal sets ``seq``, perhaps on another thread.
        """

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Read the stored events *first* to *last*, both included, in ascending order. Does not block.

        Numbers that do not exist are left out, so the result is empty if ``first > last``.
        """

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the stored events whose text holds all phrases of *query*, in ascending order. Does not block.

        The result is the newest *limit* (1 or more) of those numbered at most *last*. A word is a run of letters,
        digits and private-use characters, without case and diacritics, as in SQLite's tokenizer ``unicode61
        remove_diacritics 2``. The words of a phrase must follow one another directly. A phrase without words is
        ignored. If no phrase has words, the result is empty.
        """

    def read_files(self, last: int, limit: int, on_result: ReadCallback) -> None:
        """Read the newest *limit* events up to number *last* that share a file, ascending. Does not block."""

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Read the ``uid`` and number of each event from *first* to *last* that has one, ascending. Does not block."""

    def close(self) -> None:
        """Release what the room holds in memory. Called once, last, when all appended events have returned.

        ``Journal.open_room`` opens the room again.
        """


class OpenedRoom(NamedTuple):
    """A room that was opened in a journal."""

    log: RoomLog
    last_seq: int
    """Number of the last stored event; 0 if there is none."""
    topic: str
    """The topic; empty if there is none."""
    recent: Sequence[Stored]
    """The last stored events, ascending."""


PrivateLinesCallback: TypeAlias = Callable[[Sequence[PrivateLine] | JournalError], None]
"""Receives private lines that were read from a journal, or the reason why that failed."""


AuditCallback: TypeAlias = Callable[[Sequence[AuditEntry] | JournalError], None]
"""Receives a part of the audit trail, or the reason why reading failed."""


class Records(Protocol):
    """The accounts, bans, audit entries and private lines of a journal.

    A reading call returns everything that an earlier ``write`` has reported as durable. It does not block.
    """

    def load(self) -> StoredRecords:
        """Return the records that the core keeps in memory. Called once, after ``Journal.open``. May block.

        Raises ``JournalError``.
        """

    def write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        """Make *changes* (at least one) together, after those of earlier calls. Never blocks, never raises.

        *on_done* receives None once all of them are durable, or the reason why none of them was made: for example an
        ``AccountConflict`` with another node of a cluster. It is not called after ``Journal.close``.
        """

    def read_private(
        self, account: int, other: int | None, before: int | None, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Read the newest *limit* lines to and from *account*, in ascending order, waiting ones included.

        If *other* is given, the lines are those between these two accounts. Their ids are lower than *before*, if it
        is given.
        """

    def read_inbox(self, account: int, limit: int, on_result: PrivateLinesCallback) -> None:
        """Read the newest *limit* lines to *account* that were delivered, in ascending order."""

    def read_waiting(self, account: int, on_result: PrivateLinesCallback) -> None:
        """Read all lines that wait for *account*, in ascending order."""

    def search_private(
        self, account: int, other: int | None, query: SearchQuery, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Find the newest *limit* (1 or more) lines to and from *account* that match *query*, in ascending order.

        If *other* is given, the lines are those between these two accounts. A line matches as in ``RoomLog.search``.
        """

    def read_audit(self, limit: int, on_result: AuditCallback) -> None:
        """Read the newest *limit* entries of the audit trail, in ascending order."""


class Journal(Protocol):
    """The logs of all rooms and the records, which are committed together."""

    @property
    def commit_stats(self) -> CommitStats:
        """The durations and failures of commits."""

    @property
    def id(self) -> str:
        """A random identifier that was made with the journal. Valid after ``open``.

        It is another one if stored events were lost, or may have been, because their numbers may be used again.
        """

    @property
    def records(self) -> Records:
        """The accounts, bans, audit entries and private lines."""

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Open the journal and its room *name* with at most *tail* (0 or more) events. Called once, first. May block.

        Raises ``JournalError``, whose text says what is wrong and what to do.
        """

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Open the room *name*, which is not open, with at most *tail* events. Does not block.

        A room that does not exist is empty. It exists from its first stored event or topic on.
        """

    def close(self) -> None:
        """Store all queued events, then release everything. Called once, last. Blocks until it is done.

        Events that return after this call do not reach the listeners.
        """


class FileArchive(Protocol):
    """The shared files, stored on disk or in memory. No method blocks.

    The owner of a file is ``Slot.owner``. The archive stores the owner with the file, because it outlives the process.
    """

    @property
    def used_bytes(self) -> int:
        """Total size of the complete files."""

    def has(self, file_id: str) -> bool:
        """Return whether the file with this id is complete and still there."""

    def bytes_of(self, owner: str) -> int:
        """Return the total size of the complete files of *owner*."""

    def remove_oldest(self, owner: str) -> bool:
        """Remove the oldest file of *owner*, unless it is the only one. Return whether there was one to remove."""

    def remove(self, file_id: str) -> None:
        """Remove the file with this id, because it was not shared after all. It may be gone already."""

    def update(self, on_updated: Callback) -> None:
        """Find the files that other servers have added, then call *on_updated*: at once if there are no others."""

    def remove_content(self, file_id: str) -> Sequence[str]:
        """Remove the file with this id, and all others with the same content.

        Return their names, that of the file first; nothing if it is gone already.
        """
