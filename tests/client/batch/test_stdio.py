"""The threads that read and write where the reactor cannot; forced here, whatever the system."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import cast

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorFromThreads
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast.client.batch.stdio import CHUNK, Console, Stream, ThreadedIO, needs_threads

PATIENCE = 30
QUIET = 0.2


class Loop:
    """A reactor's thread, as far as other threads know it, and the threads that it has started."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._before = set(threading.enumerate())
        self._attached: list[ThreadedIO] = []

    def attach(self, protocol: Protocol, source: int, sink: int) -> ThreadedIO:
        """Connect *protocol* to these descriptors."""
        self._attached.append(ThreadedIO(protocol, cast(IReactorFromThreads, self), source, sink))
        return self._attached[-1]

    def end_threads(self) -> None:
        """Wait until the threads have ended. The input must be at its end, and nobody may read the output."""
        for io in self._attached:
            io.loseConnection()
            io.resumeProducing()
        deadline = monotonic() + PATIENCE
        for thread in set(threading.enumerate()) - self._before:
            while thread.is_alive():
                assert monotonic() < deadline
                with suppress(Empty):
                    self._calls.get(timeout=0.01)()

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


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """To write to its input, its input, its output, to read from its output; closed (-1) or not."""
    (source, typing), (reading, sink) = os.pipe(), os.pipe()
    descriptors = [typing, source, sink, reading]
    yield descriptors
    for which in range(len(descriptors)):
        close(descriptors, which)


def close(pipes: list[int], which: int) -> None:
    if pipes[which] >= 0:
        os.close(pipes[which])
        pipes[which] = -1


@pytest.fixture
def loop(pipes: list[int]) -> Iterator[Loop]:
    """The loop of the threads. They end before their descriptors are closed.

    A later read or write would reach the next file with the same number, such as one that pytest has just opened.
    """
    loop = Loop()
    yield loop
    close(pipes, 0)
    close(pipes, 3)
    loop.end_threads()


@pytest.fixture
def ends() -> Ends:
    """The protocol of the threads."""
    return Ends()


@pytest.fixture
def io(pipes: list[int], loop: Loop, ends: Ends) -> ThreadedIO:
    """Threads between two pipes, which read."""
    io = loop.attach(ends, *pipes[1:3])
    io.resumeProducing()
    return io


def test_a_folder_is_no_empty_input(pipes: list[int], loop: Loop, ends: Ends, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        io = loop.attach(ends, folder, pipes[2])
        io.resumeProducing()
        loop.until(lambda: ends.told)
        assert ends.told == ["end of input"]
        assert io.unreadable is not None
        assert io.unreadable.errno == errno.EISDIR
        io.write(b"still written")
        assert os.read(pipes[3], 100) == b"still written"
    finally:
        os.close(folder)


def test_what_is_read_comes_and_then_the_end(pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends) -> None:
    os.write(pipes[0], b"one\n")
    loop.until(lambda: ends.read)
    os.write(pipes[0], b"two")
    close(pipes, 0)
    loop.until(lambda: ends.told)
    assert ends.read == b"one\ntwo"
    assert ends.told == ["end of input"]


def test_nothing_is_read_while_reading_is_paused(pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends) -> None:
    ends.then = io.pauseProducing
    os.write(pipes[0], b"one")
    loop.until(lambda: ends.read)
    os.write(pipes[0], b"two")
    loop.nothing_happens()
    assert os.read(pipes[1], 100) == b"two"
    close(pipes, 0)
    loop.nothing_happens()
    assert ends.read == b"one"
    assert ends.told == []
    io.resumeProducing()
    io.resumeProducing()
    loop.until(lambda: ends.told)
    assert ends.told == ["end of input"]


def test_next_chunk_is_not_read_before_the_protocol_has_taken_the_last_one(
    pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends
) -> None:
    os.write(pipes[0], b"x" * (CHUNK // 2))
    loop.wait_for_call()
    os.set_blocking(pipes[1], False)
    os.write(pipes[0], b"y")
    assert not ends.read
    assert os.read(pipes[1], 100) == b"y"


def test_everything_is_written_before_it_is_closed(pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends) -> None:
    io.write(b"one ")
    io.write(b"")
    io.write(b"two three")
    io.loseConnection()
    io.stopProducing()
    loop.until(lambda: ends.told)
    assert os.read(pipes[3], 100) == b"one two three"
    assert ends.told == ["closed"]


def test_nothing_comes_once_it_is_to_close(pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends) -> None:
    io.loseConnection()
    os.write(pipes[0], b"late")
    loop.settle()
    assert ends.told == ["closed"]
    assert ends.read == b""


def test_the_producer_is_paused_while_too_much_waits(pipes: list[int], io: ThreadedIO, loop: Loop) -> None:
    producer = Producer()
    io.registerProducer(producer, True)
    io.write(bytes(3 * CHUNK))
    assert producer.paused
    read = 0
    while read < 3 * CHUNK:
        read += len(os.read(pipes[3], CHUNK))
    loop.until(lambda: not producer.paused)
    io.unregisterProducer()
    io.write(bytes(3 * CHUNK))
    assert not producer.paused


def test_it_is_told_when_nobody_reads_the_output(pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends) -> None:
    close(pipes, 3)
    io.write(b"in vain")
    loop.until(lambda: ends.told)
    io.write(b"in vain, too")
    io.loseConnection()
    loop.until(lambda: len(ends.told) > 1)
    assert ends.told == ["nobody reads", "closed"]


def test_it_closes_when_nobody_reads_the_last_words(pipes: list[int], io: ThreadedIO, loop: Loop, ends: Ends) -> None:
    close(pipes, 3)
    io.write(b"goodbye")
    io.loseConnection()
    loop.until(lambda: ends.told)
    assert ends.told == ["closed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_why_nothing_can_be_written_is_known(pipes: list[int], loop: Loop, ends: Ends) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        io = loop.attach(ends, pipes[1], full)
        io.write(b"in vain")
        loop.until(lambda: ends.told)
        assert ends.told == ["nobody reads"]
        assert io.failure is not None
        assert io.failure.errno == errno.ENOSPC
    finally:
        os.close(full)


def test_an_input_that_cannot_be_read_is_at_its_end(pipes: list[int], loop: Loop, ends: Ends) -> None:
    loop.attach(ends, pipes[2], pipes[2]).resumeProducing()
    loop.until(lambda: ends.told)
    assert ends.told == ["end of input"]


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
        return cast(Stream, loop.attach(protocol, *pipes[1:3]))

    return Console(typist, threaded)


def test_a_console_reads_when_it_is_asked_to(pipes: list[int], loop: Loop) -> None:
    typist = Typist()
    ends = console(pipes, loop, typist)
    os.write(pipes[0], b"hi")
    loop.nothing_happens()
    assert typist.told == []
    ends.stdio.resumeProducing()
    close(pipes, 0)
    loop.until(lambda: "end" in typist.told)
    assert typist.told == ["hi", "end"]


def test_a_console_is_closed_once_everything_is_written(pipes: list[int], loop: Loop) -> None:
    typist = Typist()
    ends = console(pipes, loop, typist)
    ends.stdio.write(b"last words")
    closed: list[bool] = []
    ends.close(lambda: closed.append(True))
    assert closed == []
    loop.until(lambda: closed)
    assert os.read(pipes[3], 100) == b"last words"
    assert typist.told == []


def test_a_console_that_nobody_reads_tells_so_and_closes_at_once(pipes: list[int], loop: Loop) -> None:
    typist = Typist()
    ends = console(pipes, loop, typist)
    close(pipes, 3)
    ends.stdio.write(b"in vain")
    loop.until(lambda: typist.told)
    assert typist.told == ["BrokenPipeError"]
    closed: list[bool] = []
    ends.close(lambda: closed.append(True))
    assert closed == [True]


def test_a_console_that_nobody_reads_while_it_closes_is_closed(pipes: list[int], loop: Loop) -> None:
    typist = Typist()
    ends = console(pipes, loop, typist)
    closed: list[bool] = []
    ends.close(lambda: closed.append(True))
    ends.writeConnectionLost()
    assert closed == [True]
    assert typist.told == []


# Without threads


def test_files_need_threads_and_pipes_do_not(pipes: list[int]) -> None:
    _typing, source, sink, _reading = pipes
    null = os.open(os.devnull, os.O_RDWR)
    try:
        assert not needs_threads(source, sink)
        assert needs_threads(null, sink)
        assert needs_threads(source, null)
    finally:
        os.close(null)


def test_on_windows_everything_needs_threads(pipes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert needs_threads(*pipes[1:3])
