"""Log lines about rejected connections, limited in rate: a flood of connections must not flood the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LOG_SECONDS: Final = 10.0
"""Minimum time between two log lines, in seconds. Each line has the number of rejections since the last."""


class RejectionLog:
    """The rejected connections of one door. The seconds of *clock* are monotonic."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._count = 0
        self._throttled = False
        self._reason = ""

    def record(self, reason: str) -> None:
        """Log a rejected connection with its *reason*, or only count it if a line was logged just now."""
        self._count += 1
        self._reason = reason
        if not self._throttled:
            self._write()

    def _write(self) -> None:
        self._throttled = self._count > 0
        if self._throttled:
            self._log.info("Connections refused: {count}, the last one: {why}", count=self._count, why=self._reason)
            self._count = 0
            self._clock.callLater(LOG_SECONDS, self._write)
