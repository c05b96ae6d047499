"""How the log is told of connections that are refused: gathered, for it is no place to fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LOG_SECONDS: Final = 10.0
"""They are in the log once in so long, with their number."""


class RefusalLog:
    """The refusals at one door; no step of the wall clock changes the seconds of *clock*."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._count = 0
        self._resting = False
        self._why = ""

    def record(self, why: str) -> None:
        """Log that a connection was refused, and *why*; or count it, where that was logged just now."""
        self._count += 1
        self._why = why
        if not self._resting:
            self._write()

    def _write(self) -> None:
        self._resting = self._count > 0
        if self._resting:
            self._log.info("Connections refused: {count}, the last one: {why}", count=self._count, why=self._why)
            self._count = 0
            self._clock.callLater(LOG_SECONDS, self._write)
