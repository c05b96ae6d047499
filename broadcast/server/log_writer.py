"""Log output in a thread of its own, so that a log that nobody reads cannot stop the reactor."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, RLock, Thread, current_thread
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from broadcast.server.log_outputs import Output

MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Maximum bytes of lines that wait for the thread: about 10,000 lines. Further ones are dropped and counted."""
RETRY_SECONDS: Final = 1.0
"""Time until the next attempt after an error, such as a full disk."""
FLUSH_SECONDS: Final = 2.0
"""Maximum time for which the process waits for its log at its end."""


class LogWriter:
    """The queue of log lines for *output*, and the thread that writes them.

    It has the methods of a text file that log observers use. ``write`` returns at once, and any thread and any signal
    handler may call it. After ``finish``, it waits until the line is written, for the rest of ``FLUSH_SECONDS`` at
    most. *output* encodes what it can; other characters are written as backslash escapes.

    While the queue is full, lines are dropped. As soon as all lines before them are written, a line reports their
    number.
    """

    _log = Logger()

    def __init__(self, output: Output, retry_seconds: float = RETRY_SECONDS) -> None:
        self._output = output
        self._retry_seconds = retry_seconds
        # Queue and lock are re-entrant: a signal handler may log while its thread is in write().
        self._queue: SimpleQueue[bytes | Event] = SimpleQueue()
        self._lock = RLock()
        self._queued_bytes = 0
        self._dropped = 0
        """Number of lines dropped since the last report. Until the report, all lines are dropped."""
        self._error = ""
        """The last error of the output since the last report."""
        self._requests: deque[Callable[[], None]] = deque()
        self._thread: Thread | None = None
        self._deadline: float | None = None
        """End of the time for which the process waits for its log, once it ends."""

    def start(self) -> None:
        """Start the thread. Before that, lines are queued: twistd forks after its first lines, which ends threads."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="log writer", daemon=True)
            self._thread.start()

    def write(self, text: str) -> None:
        """Queue one line, with its line end."""
        data = text.encode(self._output.encoding, "backslashreplace")
        with self._lock:
            if self._dropped or self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
                self._dropped += 1
                return
            self._queued_bytes += len(data)
            self._queue.put(data)
        if self._deadline is not None and current_thread() is not self._thread:
            self.wait(self._deadline - time.monotonic())

    def flush(self) -> None:
        """Do nothing. Log observers call this after each line, which must not wait."""

    def wait(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until all lines that are queued are written, for *seconds* at most."""
        if self._thread is None:
            self._write_without_thread()
        elif seconds > 0:
            written = Event()
            self._queue.put(written)
            written.wait(seconds)

    def finish(self) -> None:
        """Wait until all lines are written, because the process ends. Each later line waits, too."""
        if self._deadline is None:
            self._deadline = time.monotonic() + FLUSH_SECONDS
        self.wait(self._deadline - time.monotonic())

    def reopen(self) -> None:
        """Open the output again before the next line is written."""
        self._request(self._output.reopen)

    def rotate(self) -> None:
        """Rotate the output before the next line is written."""
        self._request(self._output.rotate)

    def _request(self, action: Callable[[], None]) -> None:
        # Not in the queue, which may stand still: a log file on a full disk may be moved to another one.
        self._requests.append(action)
        self._queue.put(b"")

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, Event):
                item.set()
                continue
            self._write_until_complete(item)
            with self._lock:
                self._queued_bytes -= len(item)
                if self._queued_bytes == 0:
                    self._report_dropped()

    def _write_until_complete(self, data: bytes) -> None:
        """Write *data*. After an error, try again: the disk may have space again, or the pipe another reader."""
        while True:
            self._perform_requests()
            if not data:
                return
            try:
                data = data[self._output.write(data) :]
            except OSError as error:
                self._error = error.strerror or str(error)
                time.sleep(self._retry_seconds)

    def _perform_requests(self) -> None:
        while self._requests:
            try:
                self._requests.popleft()()
            except OSError as error:
                self._log.error(
                    "Cannot open a new log file: {why}. The log continues in the old one.",
                    why=sanitize(error.strerror or str(error)),
                )

    def _report_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        why, self._error = self._error or "nobody read it", ""
        if count:
            self._log.warn("Missing lines of the log: {count}. It could not be written: {why}.", count=count, why=why)

    def _write_without_thread(self) -> None:
        """Write all queued lines in this thread, because the process ends before it has started its own."""
        try:
            while True:
                item = self._queue.get_nowait()
                if not isinstance(item, Event):
                    while item:
                        item = item[self._output.write(item) :]
        except (Empty, OSError):
            pass
