"""Liveness probes after a silence of the server. No connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SILENCE: Final = 60.0
"""The number of seconds without input after which the client probes the server."""
PATIENCE: Final = 40.0
"""The number of seconds after the probe in which any input must come. TCP can send the probe again six times in the
meantime (after 0.2 s, then twice as long each time), so the loss of a few packets does not end the connection."""

PROMPT_SECONDS: Final = 30
"""The time limit of a server to ask for a nickname, and then to accept or refuse it."""


class Heartbeat:
    """A watch on the server's silence. It calls *ask* after a silence, and *lost* once if no input follows."""

    def __init__(self, clock: IReactorTime, ask: Callable[[], None], lost: Callable[[], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._lost = lost
        self._next: IDelayedCall | None = None
        self._asked = False

    def start(self) -> None:
        """Begin to watch."""
        self.stop()
        self._wait(SILENCE, self._silent)

    def stop(self) -> None:
        """Stop watching."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        self._asked = False

    def heard(self) -> None:
        """Note that input has come."""
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
