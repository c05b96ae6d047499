"""The standard input and output as one object, whatever reads and writes them."""

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
    """The receiver of the input."""

    def typed(self, data: bytes) -> None:
        """Take *data*, which was read."""

    def typed_all(self) -> None:
        """Handle the end of the input."""

    def unread(self, error: OSError) -> None:
        """Handle an output that cannot be written any more. *error* is a ``BrokenPipeError`` if nobody reads it."""


@implementer(IHalfCloseableProtocol)
class Console(TwistedProtocol):
    """The standard input and output of *typist*. *attach* connects a protocol to them. Reading begins paused."""

    def __init__(self, typist: Typist, attach: Callable[[IProtocol], Stdio]) -> None:
        self._typist = typist
        self._closed: Callable[[], None] | None = None
        self._lost = False
        self.stdio = attach(self)
        """The input and output, as a producer and a consumer."""
        self.stdio.pauseProducing()

    @property
    def failure(self) -> OSError | None:
        """The known reason why the output cannot be written, or None."""
        return self.stdio.failure if isinstance(self.stdio, ThreadedIO) else None

    @property
    def unreadable(self) -> OSError | None:
        """The known reason why the input was not read to its end, or None."""
        return self.stdio.unreadable if isinstance(self.stdio, ThreadedIO) else None

    def close(self, closed: Callable[[], None]) -> None:
        """Write the rest of the output, then call *closed*."""
        if self._lost:
            closed()
        else:
            self._closed = closed
            self.stdio.unregisterProducer()
            self.stdio.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Pass a chunk to the typist."""
        self._typist.typed(data)

    def readConnectionLost(self) -> None:
        """Pass the end of the input to the typist."""
        self._typist.typed_all()

    def writeConnectionLost(self) -> None:
        """Pass the failure of the output to the typist."""
        self._lost = True
        if self._closed is None:
            # A pipe reports no reason, but only a missing reader can be the reason.
            self._typist.unread(self.failure or BrokenPipeError())
        else:
            self.connectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 -- whatever it was
        """Report that everything is written."""
        self._lost = True
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()
