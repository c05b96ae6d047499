"""What every journal does alike: its way back to the reactor's thread, and what no journal can keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TypeAlias

from broadcast.core.events import Event, Stored

Wake: TypeAlias = Callable[[Callable[[], None]], object]
"""Runs a callable on the reactor's thread in a later turn; ``reactor.callFromThread`` is one."""


class CommittedQueue:
    """What has come back and was not told yet.

    However many batches come back before the reactor gets to them, it is woken once and the listener is called once: a
    commit takes less time than telling hundreds of readers, and a wake-up for each made the loaded server twice as
    dear.
    """

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._lock = Lock()
        self._events: list[Event] = []
        self._listener: Callable[[Sequence[Event]], None] | None = None
        self._stopped = False

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call *listener* with what comes back."""
        self._listener = listener

    def add(self, events: Sequence[Event]) -> None:
        """Take *events* (at least one), in order; from any one thread."""
        with self._lock:
            if self._stopped:
                return
            waking = bool(self._events)
            self._events.extend(events)
        if not waking:
            self._wake(self._flush)

    def stop(self) -> None:
        """Tell nothing any more."""
        with self._lock:
            self._stopped = True
            self._events = []

    def _flush(self) -> None:
        with self._lock:
            events, self._events = self._events, []
        if events and self._listener is not None:
            self._listener(events)


def why_unstorable(event: Stored) -> str:
    """Why no journal can keep *event*, as a short line; empty where it can."""
    try:
        event.nick.encode()
        event.text.encode()
    except UnicodeEncodeError:
        return "the text is not valid Unicode"
    return ""
