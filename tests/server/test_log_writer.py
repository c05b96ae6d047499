"""A log that cannot be written delays nobody, and reports what it lacks."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from threading import Event
from typing import IO, cast

import pytest
from twisted.logger import FileLogObserver, LogEvent, formatEvent, globalLogPublisher

from broadcast.server import log_writer
from broadcast.server.log_writer import MAX_QUEUED_BYTES, LogWriter

TIMEOUT = 60
"""Seconds after which a test gives up waiting for the thread."""
LINE = "x" * 999 + "\n"
FITTING = MAX_QUEUED_BYTES // len(LINE)
"""Number of lines that fit in the queue."""


class Destination:
    """An output that blocks, fails and accepts as much as the test says."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.encoding = encoding
        self.written = b""
        self.actions: list[str] = []
        self.reads = Event()
        """Whether somebody reads; otherwise, ``write`` blocks."""
        self.reads.set()
        self.most = 1_000_000
        """Maximum number of bytes of one call."""
        self.errors: list[int] = []
        """Errors of the next calls."""
        self.blocked = Event()
        """Set when ``write`` blocks for the first time."""

    def write(self, data: bytes) -> int:
        if not self.reads.is_set():
            self.blocked.set()
        assert self.reads.wait(TIMEOUT)
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        data = data[: self.most]
        self.written += data
        return len(data)

    def reopen(self) -> None:
        self.actions.append(f"reopened after {len(self.written)} bytes")

    def rotate(self) -> None:
        self.actions.append("rotated")
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def lines(self) -> list[str]:
        return self.written.decode(self.encoding).splitlines()


def begin(destination: Destination) -> LogWriter:
    writer = LogWriter(destination, retry_seconds=0.001)
    writer.start()
    return writer


class Logged:
    """Log lines of the writer itself that go through it, as those of the process do."""

    def __init__(self, writer: LogWriter) -> None:
        self._observer = FileLogObserver(cast(IO[str], writer), self._format)

    def _format(self, event: LogEvent) -> str:
        own = str(event.get("log_namespace", "")).startswith("broadcast.server.log_writer")
        return formatEvent(event) + "\n" if own else ""

    def __enter__(self) -> None:
        globalLogPublisher.addObserver(self._observer)

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self._observer)


def test_lines_are_written_in_order_and_in_pieces() -> None:
    destination = Destination()
    destination.most = 3
    writer = begin(destination)
    for number in range(10):
        writer.write(f"line {number}\n")
        writer.flush()
    writer.wait(TIMEOUT)
    assert destination.lines() == [f"line {number}" for number in range(10)]


def test_lines_before_the_start_wait_for_the_thread() -> None:
    destination = Destination()
    writer = LogWriter(destination)
    writer.write("before the fork\n")
    assert destination.written == b""
    writer.start()
    writer.start()  # again changes nothing
    writer.wait(TIMEOUT)
    assert destination.lines() == ["before the fork"]


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", rb"caf\xe9 \u2028 \U0001f44b \udcff"),
        ("latin-1", b"caf\xe9 " + rb"\u2028 \U0001f44b \udcff"),
        ("utf-8", "café \u2028 \U0001f44b ".encode() + rb"\udcff"),
    ],
)
def test_characters_that_the_encoding_lacks_become_escapes(encoding: str, written: bytes) -> None:
    destination = Destination(encoding)
    writer = begin(destination)
    writer.write("café \u2028 \U0001f44b \udcff\n")
    writer.wait(TIMEOUT)
    assert destination.written == written + b"\n"


def test_lines_that_do_not_fit_are_counted_and_reported_where_they_are_missing() -> None:
    destination = Destination()
    destination.reads.clear()
    writer = begin(destination)
    for _ in range(FITTING + 7):
        writer.write(LINE)
    writer.write("short, but after a line that is missing\n")
    with Logged(writer):
        destination.reads.set()
        writer.wait(TIMEOUT)
        writer.write("afterwards\n")
        writer.wait(TIMEOUT)
    lines = destination.lines()
    assert lines[:FITTING] == [LINE[:-1]] * FITTING
    assert lines[FITTING:] == [
        "Missing lines of the log: 8. It could not be written: nobody read it.",
        "afterwards",
    ]


def test_line_is_written_once_the_error_is_over_and_no_line_is_cut() -> None:
    destination = Destination()
    destination.most = 10
    writer = begin(destination)
    destination.reads.clear()
    writer.write("this line is longer than one write\n")
    assert destination.blocked.wait(TIMEOUT)
    destination.errors = [errno.ENOSPC, errno.EPIPE, errno.ENOSPC]
    for _ in range(FITTING + 1):
        writer.write(LINE)
    destination.most = 1_000_000
    with Logged(writer):
        destination.reads.set()
        writer.wait(TIMEOUT)
        writer.wait(TIMEOUT)
    lines = destination.lines()
    assert lines[0] == "this line is longer than one write"
    assert set(lines[1:-1]) == {LINE[:-1]}
    count = FITTING + 2 - len(lines) + 1
    assert lines[-1] == f"Missing lines of the log: {count}. It could not be written: No space left on device."


def test_reopening_is_possible_while_the_output_fails() -> None:
    destination = Destination()
    writer = begin(destination)
    writer.write("first\n")
    writer.wait(TIMEOUT)
    destination.errors = [errno.ENOSPC] * 1_000_000
    writer.write("second\n")
    writer.reopen()
    while not destination.actions:
        threading.Event().wait(0.001)
    destination.errors = []
    writer.wait(TIMEOUT)
    assert destination.actions == ["reopened after 6 bytes"]
    assert destination.lines() == ["first", "second"]


def test_failed_rotation_is_logged_and_the_log_continues() -> None:
    destination = Destination()
    writer = begin(destination)
    with Logged(writer):
        writer.rotate()
        writer.wait(TIMEOUT)
        writer.wait(TIMEOUT)
    assert destination.lines() == ["Cannot open a new log file: Permission denied. The log continues in the old one."]


def test_end_of_the_process_waits_for_all_lines_and_for_later_ones() -> None:
    destination = Destination()
    destination.most = 1
    writer = begin(destination)
    writer.write("last but one\n")
    writer.finish()
    assert destination.lines() == ["last but one"]
    writer.write("last\n")
    assert destination.lines() == ["last but one", "last"]


def test_end_of_the_process_does_not_wait_for_a_log_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "FLUSH_SECONDS", 0.01)
    destination = Destination()
    destination.reads.clear()
    writer = begin(destination)
    writer.write("nobody reads this\n")
    writer.finish()
    writer.write("nor this\n")
    writer.finish()
    assert destination.written == b""
    destination.reads.set()
    writer.wait(TIMEOUT)


@pytest.mark.parametrize("errors", [[], [errno.ENOSPC]])
def test_process_that_ends_before_its_start_writes_its_lines(errors: list[int]) -> None:
    destination = Destination()
    destination.most = 2
    destination.errors = list(errors)
    writer = LogWriter(destination)
    writer.write("cannot start\n")
    writer.finish()
    assert destination.lines() == ([] if errors else ["cannot start"])


@pytest.fixture
def _alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such timer")
@pytest.mark.usefixtures("_alarm")
def test_signal_handler_may_log_at_any_moment() -> None:
    destination = Destination()
    writer = begin(destination)
    handled = 0

    def handle(*_: object) -> None:
        nonlocal handled
        handled += 1
        writer.write("s\n")

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    count = 0
    while handled < 100:
        writer.write("m\n")
        count += 1
        if count % 1000 == 0:
            writer.wait(TIMEOUT)
    signal.setitimer(signal.ITIMER_REAL, 0)
    writer.wait(TIMEOUT)
    assert len(destination.lines()) == count + handled


def test_any_thread_may_log() -> None:
    destination = Destination()
    writer = begin(destination)

    def work(name: str) -> None:
        for number in range(500):
            writer.write(f"{name} {number}\n")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    writer.wait(TIMEOUT)
    lines = destination.lines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {number}" for number in range(500)]
