"""The standard input and output of a program that is no terminal's: Twisted's where they can be watched, or threads.

On Windows the reactor can watch neither consoles nor files, so there two threads read and write. They do on every
system, which is how they are tested on others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Protocol, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProducer, IReactorFromThreads

CHUNK: Final = 65536
"""So much is read at once, and so much may wait to be written before the producer is paused."""


class Raw(Protocol):
    """A file without a buffer."""

    def read(self, size: int, /) -> bytes | None:
        """Read up to *size* bytes; nothing at the end."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of *data*; how much."""


class Descriptor:
    """A file as the system has it: ``FileIO`` takes "nothing yet", where nobody waits, for the end."""

    def __init__(self, number: int) -> None:
        self._number = number

    def read(self, size: int, /) -> bytes:
        """Read up to *size* bytes; nothing at the end. Raises ``OSError``."""
        return os.read(self._number, size)

    def write(self, data: memoryview, /) -> int:
        """Write some of *data*; how much. Raises ``OSError``."""
        return os.write(self._number, data)


class Stdio(Protocol):
    """What Twisted's ``StandardIO`` and ``ThreadedIO`` have in common."""

    def write(self, data: bytes) -> None:
        """Write *data* to the output."""

    def pauseProducing(self) -> None:
        """Read no more, for now."""

    def resumeProducing(self) -> None:
        """Read on."""

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause *producer* while too much waits to be written."""

    def unregisterProducer(self) -> None:
        """Pause nobody."""

    def loseConnection(self) -> None:
        """Read no more; when everything is written, the protocol's ``connectionLost`` is called."""


def attach(protocol: IProtocol, reactor: IReactorFromThreads, *, threads: bool = sys.platform == "win32") -> Stdio:
    """Connect *protocol* to the standard input and output of this process."""
    if threads:
        # Where Python is unbuffered (-u), the buffer is the raw file already.
        source, sink = (cast(Raw, getattr(file.buffer, "raw", file.buffer)) for file in (sys.stdin, sys.stdout))
        return cast(Stdio, ThreadedIO(protocol, reactor, source, sink))
    from twisted.internet.stdio import StandardIO  # noqa: PLC0415 -- it is another one on Windows, and not wanted there

    standard = StandardIO(protocol, reactor=reactor)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    return cast(Stdio, standard)


@implementer(ITransport, IPushProducer, IConsumer)
class ThreadedIO:
    """One thread reads *source*, another writes to *sink*; neither keeps the process alive.

    One chunk at a time is read and taken; while reading is paused, at most one waits.
    """

    def __init__(self, protocol: IProtocol, reactor: IReactorFromThreads, source: Raw, sink: Raw) -> None:
        self._protocol = protocol
        self._reactor = reactor
        self._source = source
        self._sink = sink
        self.failure: OSError | None = None
        """Why nothing can be written any more; None while something can."""
        self.unreadable: OSError | None = None
        """Why the end of the input is none; None where it is."""
        self._wanted = Event()
        self._reading = self._writing = True
        self._paused = self._ending = self._over = False
        self._held: bytes | None = None
        self._unwritten = 0
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._producer: IPushProducer | None = None
        self._producer_paused = False
        self._wanted.set()
        for work in (self._read, self._write):
            Thread(target=work, daemon=True).start()
        protocol.makeConnection(self)

    # In the threads

    def _read(self) -> None:
        data: bytes | None = b"-"
        while data:
            self._wanted.wait()
            self._wanted.clear()
            try:
                data = self._source.read(CHUNK)
            except OSError as error:
                data, self.unreadable = b"", error
            except ValueError:  # it is closed
                data = b""
            self._call(self._came, data or b"")

    def _write(self) -> None:
        while (data := self._queue.get()) is not None:
            left = memoryview(data)
            try:
                while left:
                    left = left[self._sink.write(left) or 0 :]
            except (OSError, ValueError) as error:
                self._call(self._unwritable, error)
                return
            self._call(self._wrote, len(data))
        self._call(self._lost)

    def _call(self, call: Callable[..., None], *arguments: object) -> None:
        self._reactor.callFromThread(call, *arguments)

    # Reading

    def _came(self, data: bytes) -> None:
        if self._ending:
            return
        if self._paused:
            self._held = data
        elif data:
            # First, so that what the protocol says about reading holds for what comes next.
            self._wanted.set()
            self._protocol.dataReceived(data)
        else:
            self._reading = False
            self._half().readConnectionLost()

    def pauseProducing(self) -> None:
        """Read no more, for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Read on."""
        self._paused = False
        if self._held is not None:
            data, self._held = self._held, None
            self._came(data)

    def stopProducing(self) -> None:
        """Read no more."""
        self.loseConnection()

    # Writing

    def write(self, data: bytes) -> None:
        """Write *data* to the output."""
        if not self._writing or not data:
            return
        self._unwritten += len(data)
        self._queue.put(data)
        if self._unwritten > CHUNK and self._producer is not None and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write all of *data*."""
        self.write(b"".join(data))

    def _wrote(self, size: int) -> None:
        self._unwritten -= size
        if not self._unwritten and self._producer is not None and self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()

    def _unwritable(self, error: OSError | ValueError) -> None:
        # A ValueError says that the file is closed: nobody can read it.
        self.failure = error if isinstance(error, OSError) else BrokenPipeError()
        self._writing = False
        self._unwritten = 0
        if self._ending:
            self._lost()
        else:
            self._half().writeConnectionLost()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:  # noqa: ARG002 -- it is always a push
        """Pause *producer* while too much waits to be written."""
        self._producer = cast(IPushProducer, producer)

    def unregisterProducer(self) -> None:
        """Pause nobody."""
        self._producer = None

    def loseConnection(self) -> None:
        """Read no more; when everything is written, the protocol's ``connectionLost`` is called."""
        if self._ending:
            return
        self._ending = True
        if self._writing:
            self._queue.put(None)
        else:
            self._call(self._lost)

    def _lost(self) -> None:
        if not self._over:
            self._over = True
            self._protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    def _half(self) -> IHalfCloseableProtocol:
        return cast(IHalfCloseableProtocol, self._protocol)

    def getPeer(self) -> IAddress:
        """Nobody in particular, as Twisted's ``StandardIO`` says it."""
        return _PipeAddress()

    def getHost(self) -> IAddress:
        """The same."""
        return _PipeAddress()


@implementer(IAddress)
class _PipeAddress:
    """Where a pipe leads is not known."""
