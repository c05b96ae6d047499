"""Log lines about people who come and go, limited in number: one client in a loop must not fill the disk."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from broadcast.core.limits import source_of
from broadcast.core.sanitize import sanitize
from broadcast.net.addresses import format_peer, peer_ip

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

SECONDS: Final = 60.0
"""Duration of a period, in seconds. Each source has at most one summary for it."""
LINES: Final = 60
"""Maximum number of lines about one source in a period. Further ones are only counted."""


class VisitLog:
    """The log of the visits at one door.

    The lines about one source (an IP address, or an IPv6 network of 64 bits) are written one by one up to a limit. The
    rest of a period is one summary at its end, such as ``312 joins and 310 leaves from 10.0.0.7 in the last 60 s``.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lines: Counter[str] = Counter()
        """Number of lines about each source in this period."""
        self._counts: dict[str, Counter[str]] = {}
        """Number of lines of each kind that were not written, by source."""
        self._started = clock.seconds()
        self._timer: IDelayedCall | None = None
        """The end of this period, if there is anything to summarize."""

    def write(self, log: Logger, peer: IAddress, kind: str, message: str, **fields: object) -> None:
        """Write *message* with *fields* and the address of *peer* to *log*, or only count it.

        *kind* is a plural noun that names such lines in a summary.
        """
        now = self._clock.seconds()
        if now - self._started >= SECONDS:
            self.flush()
        source = format_source(peer)
        self._lines[source] += 1
        if self._lines[source] <= LINES:
            log.info(message, where=format_peer(peer), **fields)
            return
        if not self._counts:
            self._timer = self._clock.callLater(SECONDS - (now - self._started), self.flush)
        self._counts.setdefault(source, Counter())[kind] += 1

    def flush(self) -> None:
        """Write the summaries and begin a new period."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        now = self._clock.seconds()
        seconds, self._started = now - self._started, now
        counts, self._counts = self._counts, {}
        self._lines.clear()
        for source, kinds in counts.items():
            *parts, last = (f"{count} {kind}" for kind, count in kinds.items())
            what = f"{', '.join(parts)} and {last}" if parts else last
            self._log.info("{what} from {where} in the last {seconds:.0f} s", what=what, where=source, seconds=seconds)


def format_source(peer: IAddress) -> str:
    """Return the part of *peer*'s address that one client cannot change, as one line for the log."""
    host = peer_ip(peer)
    if host is None:
        return format_peer(peer)
    return sanitize(str(source_of(host) or host))  # a zone may hold any characters
