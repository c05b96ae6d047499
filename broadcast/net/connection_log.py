"""Log lines about connections, limited in number: a client in a loop, or many clients, must not fill the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from broadcast.net.addresses import format_peer, format_source

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

VISIT_SECONDS: Final = 60.0
"""Duration of a period, in seconds. Each source has at most one summary for it."""
VISIT_LINES: Final = 60
"""Maximum number of lines about one source in a period. Further ones are only counted."""
REJECTION_SECONDS: Final = 10.0
"""Minimum time between two lines about rejections, in seconds."""

_log = Logger()


class VisitLog:
    """The log of the visits at one door.

    The lines about one source (an IP address, or an IPv6 network of 64 bits) are written one by one up to a limit. The
    rest of a period is one summary at its end, such as ``312 joins and 310 leaves from 10.0.0.7 in the last 60 s``.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lines: Counter[str] = Counter()
        """Number of lines about each source in this period."""
        self._counts: dict[str, Counter[str]] = {}
        """Number of lines of each kind that were not written, by source."""
        self._started = clock.seconds()
        self._timer: IDelayedCall | None = None
        """The end of this period, if there is anything to summarize."""

    def write_join(self, log: Logger, peer: IAddress, nick: str) -> None:
        """Write to *log* that the client at *peer* has joined as *nick*."""
        self.write(log, peer, "join", "{nick} joined from {where}", nick=nick)

    def write_leave(
        self, log: Logger, peer: IAddress, nick: str, first_nick: str, reason: str, removed_by: str
    ) -> None:
        """Write to *log* that the client at *peer* has left. *nick* is empty if it never had a nickname.

        *removed_by* is the operator that has ended the session, if one has. Nobody can imitate this with a *reason*.
        """
        # The message is a format string, so that a JSON log has the values in fields of their own.
        subject = "{nick}" if nick else "somebody without a nickname"
        came_as = ", who came as {came_as}," if nick != first_nick else ""
        by = {"by": removed_by} if removed_by else {}
        why = " ({why})" if removed_by else ": {why}" if reason else ""
        message = f"{subject}{came_as} left{why} ({{where}})"
        kind = "leave" if nick else "visit without a nickname"
        self.write(log, peer, kind, message, nick=nick, came_as=first_nick, why=reason, **by)

    def write(self, log: Logger, peer: IAddress, kind: str, message: str, **fields: object) -> None:
        """Write *message* with *fields* and the address of *peer* to *log*, or only count it.

        *kind* names such a line in a summary. It begins with a noun whose plural ends in *s*.
        """
        now = self._clock.seconds()
        if now - self._started >= VISIT_SECONDS:
            self.flush()
        source = format_source(peer)
        self._lines[source] += 1
        if self._lines[source] <= VISIT_LINES:
            log.info(message, where=format_peer(peer), **fields)
            return
        if not self._counts:
            self._timer = self._clock.callLater(VISIT_SECONDS - (now - self._started), self.flush)
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
            *parts, last = (_format_count(count, kind) for kind, count in kinds.items())
            what = f"{', '.join(parts)} and {last}" if parts else last
            _log.info("{what} from {where} in the last {seconds:.0f} s", what=what, where=source, seconds=seconds)


def _format_count(count: int, kind: str) -> str:
    noun, space, rest = kind.partition(" ")
    return f"{count} {noun}{'s' * (count != 1)}{space}{rest}"


class RejectionLog:
    """The rejected connections of one door or port, from any number of addresses.

    The first rejection is logged at once, and the others once in ``REJECTION_SECONDS``. *emit* writes
    a line: *message* with ``count``, the number of rejections since the last line, and ``why``, the last reason.
    """

    def __init__(
        self,
        clock: IReactorTime,
        emit: Callable[..., None] = _log.info,
        message: str = "Connections refused: {count}, the last one: {why}",
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._message = message
        self._count = 0
        self._reason = ""
        """The reason for the last rejection since the last line; empty if there was none."""
        self._waiting = False
        """True while a line was logged just now."""

    def record(self, reason: str, count: int = 1) -> None:
        """Log *count* rejections with their *reason*, or only count them if a line was logged just now."""
        self._count += count
        self._reason = reason
        if not self._waiting:
            self._write()

    def _write(self) -> None:
        self._waiting = bool(self._reason)
        if self._waiting:
            self._emit(self._message, count=self._count, why=self._reason)
            self._count, self._reason = 0, ""
            self._clock.callLater(REJECTION_SECONDS, self._write)
