"""Short pauses of Python's garbage collector, however many clients are connected.

A full collection examines all objects that exist, and each connection has about forty. With 9,000 people it would stop
the reactor for more than 100 ms.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sized
from typing import Final

THRESHOLDS: Final = (700, 10, 5)
"""Thresholds of the three generations: a full collection follows 35,000 new objects, and takes about 10 ms."""
FEW_CONNECTIONS: Final = 100
"""Maximum number of connections at which all objects are examined, which takes about 30 ms."""
THOROUGH_SECONDS: Final = 3600.0
"""Minimum time between two collections that examine all objects."""


class GcPauseLimiter:
    """A hook that freezes the objects that survive a full collection, so that the next one does not examine them.

    Reference counting frees frozen objects too, and the objects of a connection form no cycle when it ends. Only a
    cycle that becomes garbage after it was frozen stays in memory. Therefore a full collection examines the frozen
    objects again if there are few *connections*, at most once an hour of *now*, a monotonic clock.
    """

    def __init__(self, connections: Sized, now: Callable[[], float]) -> None:
        self._connections = connections
        self._now = now
        self._last_thorough = 0.0

    def start(self) -> None:
        """Freeze all modules, and limit the collections from now on. Call this after twistd has forked."""
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._on_collection)
        self._last_thorough = self._now()
        gc.collect()

    def _on_collection(self, phase: str, info: Mapping[str, int]) -> None:
        """Handle the start or the end of a collection, in whichever thread it runs."""
        if info["generation"] != 2:
            return
        if phase == "stop":
            gc.freeze()
        elif len(self._connections) <= FEW_CONNECTIONS and self._now() - self._last_thorough >= THOROUGH_SECONDS:
            self._last_thorough = self._now()
            gc.unfreeze()
