"""The delays between attempts to reconnect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double, with full jitter, so that clients that lost their connection together come back apart."""

    first: float = 1.0
    """The longest first delay, in seconds."""
    longest: float = 30.0
    """No delay is longer, in seconds."""

    def delay(self, failures: int, jitter: float) -> float:
        """Return the delay after so many *failures* in a row, at least one. *jitter* is at random from 0 to 1."""
        doublings = min(failures - 1, 30)
        return float(jitter * min(self.longest, self.first * 2**doublings))
