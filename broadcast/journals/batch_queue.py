"""The queue of a journal from the reactor to the thread that commits, which forms batches (group commit)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from broadcast.core.errors import JournalError
from broadcast.core.events import STORED, Event, StoreFailed, TopicChanged
from broadcast.core.records import RecordChange
from broadcast.core.time_slice import CallSoon

COMMITTED: Final = (*STORED, TopicChanged)
"""The events that a commit makes durable."""


class Log(Protocol):
    """The log of a room, as the queue sees it."""

    def take(self) -> Sequence[Event]:
        """Remove the appended events and return them."""


L = TypeVar("L", bound=Log)


class RecordWrite(NamedTuple):
    """Changes of records that belong together. *on_done* may be called on any thread."""

    changes: Sequence[RecordChange]
    on_done: Callable[[JournalError | None], None]


class Item(NamedTuple, Generic[L]):
    """Events of some rooms, and changes of records. A room without events is released, because it was closed."""

    chunks: Sequence[tuple[L, Sequence[Event]]]
    writes: Sequence[RecordWrite] = ()


class BatchQueue(Generic[L]):
    """The events and changes of records that wait to be committed.

    The reactor's thread schedules rooms and changes. At the end of the turn, or earlier, they become one item of the
    queue. With one event at a time, the commit thread would commit the first one alone. Each wake-up would interrupt
    the reactor, because only one thread can run Python code.
    """

    def __init__(self, call_soon: CallSoon) -> None:
        self._call_soon = call_soon
        self._scheduled: list[L] = []
        """Rooms with events that are not in the queue yet."""
        self._writes: list[RecordWrite] = []
        """Changes of records that are not in the queue yet."""
        self._handing_over = Lock()
        """Held while events pass to the queue, because ``end`` may run on another thread than ``schedule``."""
        # SimpleQueue.put wakes the thread only if it waits. Otherwise a put costs a tenth of a microsecond.
        self._queue: SimpleQueue[Item[L] | None] = SimpleQueue()
        self._rest: list[tuple[L, Sequence[Event]]] = []
        """Events from the queue that did not fit the last batch."""
        self._ended = False

    def schedule(self, log: L) -> None:
        """Call ``log.take`` at the end of this turn, or earlier."""
        if not (self._scheduled or self._writes):
            self._call_soon(self.hand_over)
        self._scheduled.append(log)

    def schedule_write(self, write: RecordWrite) -> None:
        """Queue *write* together with the events of this turn."""
        if not (self._scheduled or self._writes):
            self._call_soon(self.hand_over)
        self._writes.append(write)

    def hand_over(self) -> None:
        """Queue the appended events of all rooms, and the changes of records."""
        if not (self._scheduled or self._writes):
            return
        with self._handing_over:
            logs, self._scheduled = self._scheduled, []
            writes, self._writes = self._writes, []
            chunks = [(log, log.take()) for log in logs]
            if (chunks or writes) and not self._ended:
                self._queue.put(Item(chunks, writes))

    def forget(self, log: L) -> None:
        """Let the commit thread release what it holds for *log*."""
        self._queue.put(Item([(log, ())]))

    def end(self) -> None:
        """Let the commit thread end after the events that were appended by now. Discard later ones."""
        self.hand_over()
        self._ended = True
        self._queue.put(None)

    def reopen(self) -> None:
        """Discard everything, and accept events again after ``end``. The commit thread has ended, or not begun."""
        with self._handing_over:
            self._scheduled, self._writes, self._rest = [], [], []
            self._queue = SimpleQueue()
            self._ended = False

    def get(self, timeout: float) -> Item[L] | None:
        """Return the next item, None at the end. Raises ``queue.Empty`` after *timeout* seconds."""
        return self._queue.get(timeout=timeout)

    def next_batch(self, max_events: int, get: Callable[[], Item[L] | None]) -> Item[L] | None:
        """Wait for an item with *get*, and return all items that are queued by then as one. Return None at the end.

        The batch has at most *max_events*. Those that do not fit are part of the next one.
        """
        batch, self._rest = self._rest, []
        writes: list[RecordWrite] = []
        if not batch:
            first = get()
            if first is None:
                return None
            batch.extend(first.chunks)
            writes.extend(first.writes)
        size = sum(len(events) for _, events in batch)
        while size < max_events and not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)  # for the next call, which finds the end
                break
            batch.extend(item.chunks)
            writes.extend(item.writes)
            size += sum(len(events) for _, events in item.chunks)
        if size > max_events:
            batch, self._rest = _split(batch, max_events)
        return Item(batch, writes)

    def drain(self) -> Item[L] | None:
        """Return what is queued by now as one item, None if nothing is."""
        if not self._rest and self._queue.empty():
            return None
        item = self.next_batch(1 << 31, self._queue.get_nowait)
        if item is None:
            self._queue.put(None)  # for the next call, which finds the end
        return item


def failed(event: Event, reason: str) -> Event:
    """Return the failure to store *event*, which has no number then, or *event* itself if it is not stored."""
    if isinstance(event, STORED):
        event.seq = 0
    return StoreFailed(event, reason) if isinstance(event, COMMITTED) else event


def _split(
    batch: Sequence[tuple[L, Sequence[Event]]], size: int
) -> tuple[list[tuple[L, Sequence[Event]]], list[tuple[L, Sequence[Event]]]]:
    """Return the first *size* events of *batch*, and the others."""
    for index, (log, events) in enumerate(batch):
        if len(events) > size:
            return [*batch[:index], (log, events[:size])], [(log, events[size:]), *batch[index + 1 :]]
        size -= len(events)
    return [*batch], []
