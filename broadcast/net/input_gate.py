"""The gate in front of the input of one connection; no Twisted and no clock."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Protocol


class PauseReason(Enum):
    """A reason not to read from a connection."""

    SESSION_BUSY = auto()
    """The session is still working on the last line."""
    CONGESTED = auto()
    """The client does not read the output of the server."""
    RATE_LIMITED = auto()
    """The client has sent lines faster than its rate limit allows, and enough of them wait."""
    TURN_USED = auto()
    """The connection has used its share of this turn of the reactor. Other connections go first."""
    STOPPING = auto()
    """The server is shutting down."""

    # Enum computes its own hash in Python. That is too slow, as the gate looks up reasons for each chunk of input.
    __hash__ = object.__hash__


_NONE: Final = frozenset[PauseReason]()
"""No reasons. The gates share it, because most have none and a set takes 200 bytes."""


class PausableTransport(Protocol):
    """The part of a transport that the gate uses."""

    def pauseProducing(self) -> None:
        """Stop reading."""

    def resumeProducing(self) -> None:
        """Resume reading."""


class InputGate:
    """The set of reasons why a connection is not read from. The transport reads while the set is empty.

    ``set`` changes a reason, and ``apply`` lets the transport follow. They are separate because a reason can come and
    go several times while one chunk is handled, and each change on the transport costs a system call.
    """

    def __init__(self, transport: PausableTransport) -> None:
        self._transport: PausableTransport | None = transport
        self._reasons = _NONE
        self._reading = True

    @property
    def is_open(self) -> bool:
        """Whether the transport reads, and there is no reason why it should not."""
        return self._reading and not self._reasons

    def __contains__(self, reason: PauseReason) -> bool:
        """Return whether *reason* is in the set."""
        return reason in self._reasons

    def set(self, reason: PauseReason, active: bool = True) -> None:
        """Add *reason* to the set, or remove it if it is not *active*."""
        if active:
            self._reasons |= {reason}
        elif self._reasons:
            self._reasons -= {reason}

    def apply(self) -> None:
        """Pause or resume the transport, if the set has changed between empty and not empty."""
        reading = not self._reasons
        if reading is not self._reading and self._transport is not None:
            self._reading = reading
            if reading:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()

    def open(self) -> None:
        """Let the transport read until its end, whatever reasons follow."""
        self._reasons = _NONE
        self.apply()
        self.detach()

    def detach(self) -> None:
        """Leave the transport as it is from here on: its input has ended."""
        self._transport = None
