"""The standard input and output: Twisted's where the reactor can watch them, or two threads.

No reactor can watch files, and on Windows it can watch neither consoles nor pipes. There threads read and write.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast import standard_streams

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProducer, IReactorFromThreads

CHUNK: Final = 65536
"""The most bytes that are read at once, and the number of unwritten bytes above which the producer is paused."""


class Stream(ITCPTransport, IConsumer, IPushProducer):
    """The interfaces of a transport together, because Twisted has no single one."""


class ConsoleUser(Protocol):
    """The methods that a console calls."""

    def input_received(self, data: bytes) -> None:
        """Take *data*, which was read."""

    def input_ended(self) -> None:
        """Handle the end of the input."""

    def output_failed(self, error: OSError) -> None:
        """Handle an output that cannot be written any more. *error* is a ``BrokenPipeError`` if nobody reads it."""


@implementer(IHalfCloseableProtocol)
class Console(TwistedProtocol):
    """The standard input and output of *user*. *attach* connects a protocol to them. Reading begins paused."""

    def __init__(self, user: ConsoleUser, attach: Callable[[TwistedProtocol], Stream]) -> None:
        self._user = user
        self._closed: Callable[[], None] | None = None
        self._is_lost = False
        self.stdio = attach(self)
        """The input and output, as a producer and a consumer."""
        self.stdio.pauseProducing()

    def close(self, closed: Callable[[], None]) -> None:
        """Write the rest of the output, then call *closed*."""
        if self._is_lost:
            closed()
        else:
            self._closed = closed
            self.stdio.unregisterProducer()
            self.stdio.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Pass a chunk to the user."""
        self._user.input_received(data)

    def readConnectionLost(self) -> None:
        """Pass the end of the input to the user."""
        self._user.input_ended()

    def writeConnectionLost(self) -> None:
        """Pass the failure of the output to the user."""
        self._is_lost = True
        if self._closed is None:
            # StandardIO knows no reason, but only a missing reader can be the reason.
            self._user.output_failed(getattr(self.stdio, "failure", None) or BrokenPipeError())
        else:
            self.connectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 -- any reason
        """Report that everything is written."""
        self._is_lost = True
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()


def needs_threads(stdin: int, stdout: int) -> bool:
    """Return whether the reactor cannot watch these descriptors.

    (A terminal that does not block would do so for the shell, too.)
    """
    modes = [os.fstat(descriptor).st_mode for descriptor in (stdin, stdout)]
    return sys.platform == "win32" or not all(stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) for mode in modes)


def attach(protocol: TwistedProtocol, reactor: IReactorFromThreads, *, threads: bool) -> Stream:
    """Connect *protocol* to the standard input and output of this process."""
    if threads:
        # Not those of sys, which differ with Python's options, and are None if a descriptor is closed.
        return cast(Stream, ThreadedIO(protocol, reactor, 0, 1))
    from twisted.internet.stdio import StandardIO  # noqa: PLC0415 -- it is another one on Windows, and not wanted there

    standard = StandardIO(protocol, reactor=reactor)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    return cast(Stream, standard)


@implementer(IPushProducer, IConsumer)
class ThreadedIO:
    """One thread reads the descriptor *source*, and another writes to *sink*. Neither keeps the process alive.

    The threads pass one chunk at a time. Reading begins paused.
    """

    def __init__(self, protocol: TwistedProtocol, reactor: IReactorFromThreads, source: int, sink: int) -> None:
        self._protocol: Any = protocol
        self._reactor = reactor
        self._source = source
        self._sink = sink
        self.failure: OSError | None = None
        """The reason why the output cannot be written any more, or None."""
        self.unreadable: OSError | None = None
        """The reason why the input was not read to its end, or None."""
        self._is_wanted = Event()
        self._is_ending = False
        self._unwritten = 0
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._producer: IPushProducer | None = None
        for work in (self._read, self._write):
            Thread(target=work, daemon=True).start()
        self._protocol.makeConnection(self)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

    # In the threads

    def _read(self) -> None:
        data = b"-"
        while data:
            self._is_wanted.wait()
            try:
                data = standard_streams.read(self._source, CHUNK)
            except OSError as error:
                data, self.unreadable = b"", error
            blockingCallFromThread(self._reactor, self._came, data)

    def _write(self) -> None:
        failure = None
        try:
            while data := self._queue.get():
                left = memoryview(data)
                while left:
                    left = left[standard_streams.write(self._sink, left) :]
                self._reactor.callFromThread(self._wrote, len(data))
        except OSError as error:
            failure = error
        self._reactor.callFromThread(self._end, failure)

    # Reading

    def _came(self, data: bytes) -> None:
        if self._is_ending:
            return
        if data:
            self._protocol.dataReceived(data)
        else:
            self._protocol.readConnectionLost()

    def pauseProducing(self) -> None:
        """Stop reading for now."""
        self._is_wanted.clear()

    def resumeProducing(self) -> None:
        """Continue to read."""
        self._is_wanted.set()

    def stopProducing(self) -> None:
        """Stop reading for good."""
        self.loseConnection()

    # Writing

    def write(self, data: bytes) -> None:
        """Write *data* to the output."""
        if data and not self._is_ending:
            self._unwritten += len(data)
            self._queue.put(data)
            if self._unwritten > CHUNK and self._producer is not None:
                self._producer.pauseProducing()

    def _wrote(self, size: int) -> None:
        self._unwritten -= size
        if not self._unwritten and self._producer is not None:
            self._producer.resumeProducing()

    def _end(self, failure: OSError | None) -> None:
        """Report that the last chunk is written, or that nothing can be written because of *failure*."""
        self.failure = self.failure or failure
        if self._is_ending:
            self._protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
        else:
            self._protocol.writeConnectionLost()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:  # noqa: ARG002 -- it is always a push
        """Pause *producer* while too much waits to be written."""
        self._producer = cast(IPushProducer, producer)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None

    def loseConnection(self) -> None:
        """Stop reading, write everything, and then call the protocol's ``connectionLost``."""
        if not self._is_ending:
            self._is_ending = True
            self._queue.put(b"")
            if self.failure is not None:
                self._end(None)
