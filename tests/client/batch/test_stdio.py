"""The threads that read and write where the reactor cannot; forced here, whatever the system."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import cast

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorFromThreads
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast.client.batch.stdio import CHUNK, Console, Stream, ThreadedIO

PATIENCE = 30
QUIET = 0.2


class Loop:
    """A reactor's thread, as far as other threads know it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:  # noqa: N802 -- Twisted's
        self._calls.put(lambda: function(*arguments))

    def until(self, done: Callable[[], object]) -> None:
        while not done():
            self._calls.get(timeout=PATIENCE)()

    def wait_for_call(self) -> None:
        """Wait for a call, and do not make it yet."""
        self._calls.put(self._calls.get(timeout=PATIENCE))

    def settle(self) -> None:
        with suppress(Empty):
            while True:
                self._calls.get(timeout=QUIET)()

    def nothing_happens(self) -> None:
        with pytest.raises(Empty):
            self._calls.get(timeout=QUIET)


@implementer(IHalfCloseableProtocol)
class Ends(Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.read = b""
        self.told: list[str] = []
        self.then: Callable[[], None] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.read += data
        self.then()

    def readConnectionLost(self) -> None:
        self.told.append("end of input")

    def writeConnectionLost(self) -> None:
        self.told.append("nobody reads")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append("closed")


@implementer(IPushProducer)
class Producer:
    """Remembers whether it was paused."""

    def __init__(self) -> None:
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        raise AssertionError


class Wired:
    """Threads between two pipes."""

    def __init__(self, source: int, sink: int) -> None:
        self.loop = Loop()
        self.ends = Ends()
        self.io = ThreadedIO(
            self.ends,
            cast(IReactorFromThreads, self.loop),
            source,
            sink,
        )
        self.io.resumeProducing()


def test_a_folder_is_no_empty_input(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    reading, writing = os.pipe()
    loop, ends = Loop(), Ends()
    try:
        io = ThreadedIO(ends, cast(IReactorFromThreads, loop), folder, writing)
        io.resumeProducing()
        loop.until(lambda: ends.told)
        assert ends.told == ["end of input"]
        assert io.unreadable is not None
        assert io.unreadable.errno == errno.EISDIR
        io.write(b"still written")
        assert os.read(reading, 100) == b"still written"
    finally:
        for descriptor in (folder, reading, writing):
            os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """To write to its input, its input, its output, to read from its output; closed (-1) or not."""
    (source, typing), (reading, sink) = os.pipe(), os.pipe()
    descriptors = [typing, source, sink, reading]
    yield descriptors
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def close(pipes: list[int], which: int) -> None:
    os.close(pipes[which])
    pipes[which] = -1


def test_what_is_read_comes_and_then_the_end(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    os.write(pipes[0], b"one\n")
    wired.loop.until(lambda: wired.ends.read)
    os.write(pipes[0], b"two")
    close(pipes, 0)
    wired.loop.until(lambda: wired.ends.told)
    assert wired.ends.read == b"one\ntwo"
    assert wired.ends.told == ["end of input"]


def test_nothing_is_read_while_reading_is_paused(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    wired.ends.then = wired.io.pauseProducing
    os.write(pipes[0], b"one")
    wired.loop.until(lambda: wired.ends.read)
    os.write(pipes[0], b"two")
    wired.loop.nothing_happens()
    assert os.read(pipes[1], 100) == b"two"
    close(pipes, 0)
    wired.loop.nothing_happens()
    assert wired.ends.read == b"one"
    assert wired.ends.told == []
    wired.io.resumeProducing()
    wired.io.resumeProducing()
    wired.loop.until(lambda: wired.ends.told)
    assert wired.ends.told == ["end of input"]


def test_next_chunk_is_not_read_before_the_protocol_has_taken_the_last_one(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    os.write(pipes[0], b"x" * (CHUNK // 2))
    wired.loop.wait_for_call()
    os.set_blocking(pipes[1], False)
    os.write(pipes[0], b"y")
    assert not wired.ends.read
    assert os.read(pipes[1], 100) == b"y"


def test_everything_is_written_before_it_is_closed(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    wired.io.write(b"one ")
    wired.io.write(b"")
    wired.io.write(b"two three")
    wired.io.loseConnection()
    wired.io.stopProducing()
    wired.loop.until(lambda: wired.ends.told)
    assert os.read(pipes[3], 100) == b"one two three"
    assert wired.ends.told == ["closed"]


def test_nothing_comes_once_it_is_to_close(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    wired.io.loseConnection()
    os.write(pipes[0], b"late")
    wired.loop.settle()
    assert wired.ends.told == ["closed"]
    assert wired.ends.read == b""


def test_the_producer_is_paused_while_too_much_waits(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    producer = Producer()
    wired.io.registerProducer(producer, True)
    wired.io.write(bytes(3 * CHUNK))
    assert producer.paused
    read = 0
    while read < 3 * CHUNK:
        read += len(os.read(pipes[3], CHUNK))
    wired.loop.until(lambda: not producer.paused)
    wired.io.unregisterProducer()
    wired.io.write(bytes(3 * CHUNK))
    assert not producer.paused


def test_it_is_told_when_nobody_reads_the_output(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    close(pipes, 3)
    wired.io.write(b"in vain")
    wired.loop.until(lambda: wired.ends.told)
    wired.io.write(b"in vain, too")
    wired.io.loseConnection()
    wired.loop.until(lambda: len(wired.ends.told) > 1)
    assert wired.ends.told == ["nobody reads", "closed"]


def test_it_closes_when_nobody_reads_the_last_words(pipes: list[int]) -> None:
    wired = Wired(*pipes[1:3])
    close(pipes, 3)
    wired.io.write(b"goodbye")
    wired.io.loseConnection()
    wired.loop.until(lambda: wired.ends.told)
    assert wired.ends.told == ["closed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_why_nothing_can_be_written_is_known(pipes: list[int]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        wired = Wired(pipes[1], full)
        wired.io.write(b"in vain")
        wired.loop.until(lambda: wired.ends.told)
        assert wired.ends.told == ["nobody reads"]
        assert wired.io.failure is not None
        assert wired.io.failure.errno == errno.ENOSPC
    finally:
        os.close(full)


def test_an_input_that_cannot_be_read_is_at_its_end(pipes: list[int]) -> None:
    wired = Wired(pipes[2], pipes[2])
    wired.loop.until(lambda: wired.ends.told)
    assert wired.ends.told == ["end of input"]


# The console, over threads


class Typist:
    """Somebody who remembers."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def input_received(self, data: bytes) -> None:
        self.told.append(data.decode())

    def input_ended(self) -> None:
        self.told.append("end")

    def output_failed(self, error: OSError) -> None:
        self.told.append(type(error).__name__)


def console(pipes: list[int], loop: Loop, typist: Typist) -> Console:
    def threaded(protocol: Protocol) -> Stream:
        return cast(Stream, ThreadedIO(protocol, cast(IReactorFromThreads, loop), *pipes[1:3]))

    return Console(typist, threaded)


def test_a_console_reads_when_it_is_asked_to(pipes: list[int]) -> None:
    loop, typist = Loop(), Typist()
    ends = console(pipes, loop, typist)
    os.write(pipes[0], b"hi")
    loop.nothing_happens()
    assert typist.told == []
    ends.stdio.resumeProducing()
    close(pipes, 0)
    loop.until(lambda: "end" in typist.told)
    assert typist.told == ["hi", "end"]


def test_a_console_is_closed_once_everything_is_written(pipes: list[int]) -> None:
    loop, typist = Loop(), Typist()
    ends = console(pipes, loop, typist)
    ends.stdio.write(b"last words")
    closed: list[bool] = []
    ends.close(lambda: closed.append(True))
    assert closed == []
    loop.until(lambda: closed)
    assert os.read(pipes[3], 100) == b"last words"
    assert typist.told == []


def test_a_console_that_nobody_reads_tells_so_and_closes_at_once(pipes: list[int]) -> None:
    loop, typist = Loop(), Typist()
    ends = console(pipes, loop, typist)
    close(pipes, 3)
    ends.stdio.write(b"in vain")
    loop.until(lambda: typist.told)
    assert typist.told == ["BrokenPipeError"]
    closed: list[bool] = []
    ends.close(lambda: closed.append(True))
    assert closed == [True]


def test_a_console_that_nobody_reads_while_it_closes_is_closed(pipes: list[int]) -> None:
    loop, typist = Loop(), Typist()
    ends = console(pipes, loop, typist)
    closed: list[bool] = []
    ends.close(lambda: closed.append(True))
    ends.writeConnectionLost()
    assert closed == [True]
    assert typist.told == []
