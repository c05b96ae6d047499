"""The standard input and output as one thing that a visit talks to, whatever reads and writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from broadcast.client.stdio import Stdio, ThreadedIO

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol
    from twisted.python.failure import Failure


class Typist(Protocol):
    """Who is told what is read."""

    def typed(self, data: bytes) -> None:
        """*data* was read."""

    def typed_all(self) -> None:
        """The input is at its end."""

    def unread(self, error: OSError) -> None:
        """The output cannot be written any more: nobody reads it (``BrokenPipeError``), or the disk is full."""


@implementer(IHalfCloseableProtocol)
class Console(TwistedProtocol):
    """Reads nothing until it is asked to. *attach* connects a protocol to the standard input and output."""

    def __init__(self, typist: Typist, attach: Callable[[IProtocol], Stdio]) -> None:
        self._typist = typist
        self._closed: Callable[[], None] | None = None
        self._lost = False
        self.stdio = attach(self)
        """What is read and written; a producer and a consumer."""
        self.stdio.pauseProducing()

    @property
    def failure(self) -> OSError | None:
        """Why the output cannot be written, as far as it is known; None while it can."""
        return self.stdio.failure if isinstance(self.stdio, ThreadedIO) else None

    @property
    def unreadable(self) -> OSError | None:
        """Why the input was not read to its end, as far as it is known; None where it was."""
        return self.stdio.unreadable if isinstance(self.stdio, ThreadedIO) else None

    def close(self, closed: Callable[[], None]) -> None:
        """Write what is still to be written, then call *closed*."""
        if self._lost:
            closed()
        else:
            self._closed = closed
            self.stdio.unregisterProducer()
            self.stdio.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take in a chunk."""
        self._typist.typed(data)

    def readConnectionLost(self) -> None:
        """The input is at its end."""
        self._typist.typed_all()

    def writeConnectionLost(self) -> None:
        """The output cannot be written any more."""
        self._lost = True
        if self._closed is None:
            # Of a pipe it is not said why, but there is nothing else that could be wrong with it.
            self._typist.unread(self.failure or BrokenPipeError())
        else:
            self.connectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 -- whatever it was
        """Everything is written."""
        self._lost = True
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()
