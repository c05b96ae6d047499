"""The shared parts of the journals: the queue to the reactor thread, and the check whether an event can be stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from broadcast.core.events import Event, Stored
from broadcast.core.time_slice import CallSoon


class CommittedQueue:
    """The events that a journal has committed and not yet delivered to its listener.

    All batches that arrive before the reactor delivers them share one wake-up and one call of the listener. A commit
    takes less time than a delivery to hundreds of subscribers, and one wake-up per commit doubled the CPU time of a
    loaded server.
    """

    def __init__(self, call_soon: CallSoon) -> None:
        self._call_soon = call_soon
        self._lock = Lock()
        self._events: list[Event] = []
        self._listener: Callable[[Sequence[Event]], None] | None = None
        self._stopped = False

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with each batch of committed events."""
        self._listener = listener

    def add(self, events: Sequence[Event]) -> None:
        """Append *events* (at least one, in order). May be called from another thread, but always the same one."""
        with self._lock:
            if self._stopped:
                return
            scheduled = bool(self._events)
            self._events.extend(events)
        if not scheduled:
            self._call_soon(self._flush)

    def stop(self) -> None:
        """Discard all events from now on."""
        with self._lock:
            self._stopped = True
            self._events = []

    def _flush(self) -> None:
        with self._lock:
            events, self._events = self._events, []
        if events and self._listener is not None:
            self._listener(events)


def storage_problem(event: Stored) -> str:
    """Return why no journal can store *event*, as a short line, or an empty string if one can."""
    try:
        event.nick.encode()
        event.text.encode()
    except UnicodeEncodeError:
        return "the text is not valid Unicode"
    return ""
