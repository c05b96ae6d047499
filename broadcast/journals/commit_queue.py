"""The shared parts of the journals: the queue to the reactor thread, and checks whether something can be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from threading import Lock
from typing import Generic, Protocol, TypeVar

from broadcast.core.events import Event, Stored, TopicChanged
from broadcast.core.records import RecordChange
from broadcast.core.time_slice import SLICE_SECONDS, CallSoon

REPORTER = "server"
"""The reserved nickname of the line that stands for missing ones. Only before such a line may numbers be missing."""


class Receiver(Protocol):
    """The receiver of one room's committed events."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Pass *events* (at least one, in order) to the room."""


R = TypeVar("R", bound=Receiver)


class CommittedQueue(Generic[R]):
    """The events that a journal has committed and not yet delivered to the receivers of their rooms.

    All batches that arrive before the reactor delivers them share one wake-up and one call of each receiver. A commit
    takes less time than a delivery to hundreds of subscribers, and one wake-up per commit doubled the CPU time of a
    loaded server. Delivery to many rooms is spread over several turns of the reactor. *now* returns monotonic seconds.
    """

    def __init__(self, call_soon: CallSoon, now: Callable[[], float]) -> None:
        self._call_soon = call_soon
        self._now = now
        self._lock = Lock()
        self._events: dict[R, list[Event]] = {}
        """Events whose delivery has not begun. If there are some, a call of ``_flush`` is scheduled."""
        self._delivering: dict[R, list[Event]] = {}
        """Events in delivery. Only the reactor's thread uses them."""
        self._stopped = False

    def add(self, chunks: Iterable[tuple[R, Sequence[Event]]]) -> None:
        """Append *chunks* (at least one): a receiver and its events (at least one, in order).

        May be called from other threads, but for one receiver from one at a time.
        """
        with self._lock:
            if self._stopped:
                return
            scheduled = bool(self._events)
            for receiver, events in chunks:
                self._events.setdefault(receiver, []).extend(events)
        if not scheduled:
            self._call_soon(self._flush)

    def stop(self) -> None:
        """Discard all events from now on."""
        with self._lock:
            self._stopped = True
            self._events = {}

    def _flush(self) -> None:
        """Deliver the events of as many receivers as fit into a time slice. Schedule the next call for the others."""
        if not self._delivering:
            with self._lock:
                self._delivering, self._events = self._events, {}
        end: float | None = None
        try:
            while self._delivering and not self._stopped:
                receiver, events = self._delivering.popitem()
                receiver.deliver(events)
                if self._delivering:  # usually there is one room, which needs no look at the clock
                    now = self._now()
                    end = now + SLICE_SECONDS if end is None else end
                    if now >= end:
                        break
        finally:
            if self._delivering and not self._stopped:  # this is also reached if a receiver has raised an exception
                self._call_soon(self._flush)


_NOT_UNICODE = "the text is not valid Unicode"


def storage_problem(event: Stored | TopicChanged) -> str:
    """Return why no journal can store *event*, as a short line, or an empty string if one can."""
    try:
        event.nick.encode()
        event.text.encode()
    except UnicodeEncodeError:
        return _NOT_UNICODE
    return ""


def changes_problem(changes: Iterable[RecordChange]) -> str:
    """Return why no journal can make *changes*, as a short line, or an empty string if one can."""
    try:
        for change in changes:
            for record in astuple(change):
                values = record.values() if isinstance(record, dict) else record if isinstance(record, tuple) else ()
                for value in values:
                    if isinstance(value, str):
                        value.encode()
    except UnicodeEncodeError:
        return _NOT_UNICODE
    return ""
