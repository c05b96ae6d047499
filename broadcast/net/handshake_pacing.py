"""A limit on the time that the server spends on handshakes of TLS, so that lines do not wait for them.

The server's part of a handshake takes about as long as the delivery of a line to fifty people. While people talk, a
turn of the reactor takes handshakes for half a millisecond, and then all handshakes pause for a multiple of that time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

QUIET_SECONDS: Final = 0.005
"""CPU time after which a turn takes no further handshake while nobody talks, in seconds."""
STEP_SECONDS: Final = 0.0005
"""The same while people talk."""
PAUSE_FACTOR: Final = 6
"""Duration of the pause while people talk, as a multiple of the CPU time that the handshakes before it took."""
MAX_PAUSE_SECONDS: Final = 0.05
"""Maximum duration of a pause, in seconds."""


class HandshakePacer:
    """The pace of all handshakes of a server.

    *cpu_seconds* returns the CPU time of the reactor's thread. *is_talking* returns whether people talk.
    """

    def __init__(self, clock: IReactorTime, cpu_seconds: Callable[[], float], is_talking: Callable[[], bool]) -> None:
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._is_talking = is_talking
        self._steps: deque[Callable[[], None]] = deque()
        self._next: IDelayedCall | None = None
        """The end of the pause; None while there is none."""

    def submit(self, step: Callable[[], None]) -> None:
        """Run *step*, a part of a handshake: now, or after the pause and the steps before it."""
        self._steps.append(step)
        if self._next is None:
            self._run()

    def _end_pause(self) -> None:
        self._next = None
        if self._steps:
            self._run()

    def _run(self) -> None:
        is_talking = self._is_talking()
        budget = STEP_SECONDS if is_talking else QUIET_SECONDS
        began = self._cpu_seconds()
        seconds = 0.0
        try:
            while self._steps and seconds < budget:
                self._steps.popleft()()
                seconds = self._cpu_seconds() - began
        finally:
            pause = min(PAUSE_FACTOR * seconds, MAX_PAUSE_SECONDS) if is_talking else 0.0
            self._next = self._clock.callLater(pause, self._end_pause)
