"""Notices when the other side has fallen silent; it has the clock that it is given, and no connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SILENCE: Final = 60.0
"""After so many seconds in which nothing has come, the other side is asked whether it is there."""
PATIENCE: Final = 40.0
"""When nothing has come for so many seconds after that, it is lost. The network may send a question again six times in
the meantime (TCP waits from 0.2 s, twice as long each time), so one lost packet, or a few, are no lost connection."""

PROMPT_SECONDS: Final = 30
"""Who has not asked for a nickname by then is no chat server; who has, takes or refuses it within as many."""


class Heartbeat:
    """While it beats, *ask* is called after a silence, and *lost* once when that is not answered."""

    def __init__(self, clock: IReactorTime, ask: Callable[[], None], lost: Callable[[], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._lost = lost
        self._next: IDelayedCall | None = None
        self._asked = False

    def start(self) -> None:
        """Begin; the silence begins now, too."""
        self.stop()
        self._wait(SILENCE, self._silent)

    def stop(self) -> None:
        """Nobody is asked, and nobody is lost, any more."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        self._asked = False

    def heard(self) -> None:
        """Something has come, whatever it is."""
        if self._next is None:
            return
        if self._asked:
            self.start()
        else:
            self._next.reset(SILENCE)

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        self._next = self._clock.callLater(seconds, call)

    def _silent(self) -> None:
        self._asked = True
        self._wait(PATIENCE, self._unanswered)
        self._ask()

    def _unanswered(self) -> None:
        self.stop()
        self._lost()
