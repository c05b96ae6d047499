"""A limit on repeated log events of other packages, so that nothing that a client causes can fill the disk.

Twisted logs each failed ``accept``, each time-out of an HTTP client, and each error that is nowhere handled. The lines
of this package that clients can cause are limited where they are logged, because only there the client is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import RLock
from typing import Final

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

SECONDS: Final = 60.0
"""Duration of a period, in seconds."""
EVENTS: Final = 60
"""Maximum number of events of one kind in a period. Further ones are only counted."""
OWN_NAMESPACE: Final = "broadcast."
"""Beginning of the names of loggers whose events are not limited here."""


@implementer(ILogObserver)
class RepeatLimit:
    """An observer that passes on to *observer* a limited number of events of each kind, and the number of the others.

    Events are of one kind if they have the same logger, the same format and the same type of exception. *now* returns
    monotonic seconds. Any thread may call it.
    """

    def __init__(self, observer: ILogObserver, now: Callable[[], float]) -> None:
        self._observer = observer
        self._now = now
        self._lock = RLock()
        self._started = now()
        self._events: Counter[tuple[str, object, object]] = Counter()
        """Number of events of each kind in this period."""

    def __call__(self, event: LogEvent) -> None:
        """Pass on *event*, or only count it. The first event after the end of a period reports the last period."""
        with self._lock:
            if self._now() - self._started >= SECONDS:
                self._begin_period(event)
            namespace = str(event.get("log_namespace"))
            if not namespace.startswith(OWN_NAMESPACE):
                failure = event.get("log_failure")
                kind = (namespace, event.get("log_format"), getattr(failure, "type", None))
                self._events[kind] += 1
                if self._events[kind] > EVENTS:
                    return
        self._observer(event)

    def _begin_period(self, first: LogEvent) -> None:
        self._started = self._now()
        events, self._events = self._events, Counter()
        for (namespace, *_), count in events.items():
            if count > EVENTS:
                self._observer(
                    {
                        "log_namespace": namespace,
                        "log_level": LogLevel.warn,
                        "log_time": first.get("log_time"),
                        "log_format": "Not logged because there were too many of one kind: {count}.",
                        "count": count - EVENTS,
                    }
                )
