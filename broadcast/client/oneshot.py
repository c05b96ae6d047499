"""``--send``: post lines, wait for their receipts, and leave."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone

from broadcast.client.console import Console
from broadcast.client.heartbeat import Heartbeat
from broadcast.client.lines import LINE_BYTES, Answer, Error, Event, Receipt
from broadcast.client.saying import cleaned, longest_in, refused
from broadcast.client.status import DONE, REFUSED, unread, unwritten
from broadcast.client.visitor import Ended, Visitor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.client.stdio import Stdio

SAY: Final = "/say "
LONGEST: Final = LINE_BYTES - len(SAY)
"""The longest line that can be posted, in bytes."""
WINDOW: Final = 256
"""The most lines that are sent ahead of their receipts."""
LEAVE_SECONDS: Final = 5
"""The time limit of the server's goodbye, in seconds. All lines are stored before."""
BEGIN: Final = 30
"""The number of characters that name a line in an error."""
STDIN: Final = "-"

_line_end: Final = re.compile("\r\n|\n|\r")


def split(text: str) -> list[str]:
    """Return the lines of *text*. Raise ``ValueError`` with the reason if they cannot be posted."""
    # Bytes of the command line that are not UTF-8 are replaced, as the server would do.
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    lines = [line for line in _line_end.split(clean) if cleaned(line).strip()]
    if not lines:
        raise ValueError("there is nothing to send")
    if any(len(line.encode()) > LONGEST for line in lines):
        raise ValueError(f"a line holds at most {LONGEST:,} bytes")
    return lines


def printed(seq: int, text: str) -> None:
    """Print the number and the text of a stored line, as JSON."""
    data = json.dumps({"seq": seq, "text": text}, ensure_ascii=False).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


class Splitter:
    """Cuts the bytes of the standard input into the lines to post."""

    def __init__(self) -> None:
        self.problem = ""
        """The reason why no more lines come: one is too long. Otherwise empty."""
        self._rest = b""
        self._count = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that *data* completes."""
        whole = (self._rest + data).splitlines(keepends=True)
        # A CR at the very end may be the first half of a line end.
        self._rest = whole.pop() if whole and not whole[-1].endswith(b"\n") else b""
        lines = self._read(whole)
        if len(self._rest) > LONGEST + 1:
            lines += self.rest()
        return lines

    def rest(self) -> list[str]:
        """Return the last line, which has no line end."""
        rest, self._rest = self._rest, b""
        return self._read([rest] if rest else [])

    def _read(self, raw: list[bytes]) -> list[str]:
        lines: list[str] = []
        for one in raw:
            if self.problem:
                break
            self._count += 1
            line = one.rstrip(b"\r\n").decode("utf-8", "replace")
            if len(line.encode()) > LONGEST:
                self.problem = f"line {self._count} of the input holds more than {LONGEST:,} bytes"
            elif cleaned(line).strip():
                lines.append(line)
        return lines


class OneShot(Visitor):
    """A visitor that posts lines and waits for the receipt of each.

    It posts *lines*, or those of the standard input, which *attach* connects. It calls *tell* with the number and the
    text of each stored line.
    """

    def __init__(
        self,
        server: str,
        nicks: Iterator[str],
        clock: IReactorTime,
        attach: Callable[[IProtocol], Stdio] | None,
        ended: Ended,
        lines: Sequence[str] | None = None,
        tell: Callable[[int, str], None] | None = None,
    ) -> None:
        super().__init__(server, nicks, clock, ended)
        self.kept = 0
        """The number of lines that receipts have confirmed."""
        self._tell = tell
        self._splitter = Splitter()
        self._queue = deque(lines or ())
        self._sent: deque[str] = deque()
        self._given = len(self._queue)
        self._closed = attach is None
        self._console = None if attach is None else Console(self, attach)
        self._ready = self._leaving = False
        self._problem = ""
        self._status = REFUSED
        """The exit status if there is a problem."""
        self._heartbeat = Heartbeat(clock, lambda: self.put("/ping"), self._fall_silent)

    # Calls of the standard input

    def typed(self, data: bytes) -> None:
        """Post the lines that *data* completes."""
        self._give(self._splitter.feed(data))

    def typed_all(self) -> None:
        """Post the last line, or end because the input cannot be read."""
        self._closed = True
        error = self._console.unreadable if self._console is not None else None
        if error is None:
            self._give(self._splitter.rest())
            return
        if not self._problem:
            self._status, self._problem = unread(error)
        self._go_on()

    def unread(self, error: OSError) -> None:
        """Do nothing, because the console writes nothing."""

    # Calls of the connection

    def arrived(self) -> None:
        """Ask for receipts. Lines are posted after the server has agreed."""
        self._heartbeat.start()
        self.put("/receipts on")

    def came(self, data: bytes) -> None:  # noqa: ARG002 -- whatever it is
        """Note that the server is alive."""
        self._heartbeat.heard()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the liveness probes, and report the end."""
        self._heartbeat.stop()
        super().connectionLost(reason)

    def heard(self, event: Event) -> None:
        """Handle receipts and errors. Ignore the lines of other people."""
        if self._leaving:
            return
        match event:
            case Answer() if not self._ready:
                self._ready = True
            case Receipt(seq=seq) if self._sent:
                self.kept += 1
                self._report(seq, self._sent.popleft())
            case Error(text=text):
                self._ready = True
                self._spoil(self._refused_line(text) if self._sent else text)
            case _:
                return
        self._go_on()

    def broke(self, why: str) -> tuple[int, str]:
        """Return the exit status and the reason, with the number of confirmed lines."""
        if self._problem:
            return self._status, self._shortfall()
        status, lost = super().broke(why)
        return status, f"{lost}; {self._known()}"

    def _refused_line(self, why: str) -> str:
        """Remove the sent line that the server refuses with *why*. Its limit does not count ``/say``."""
        at = refused((SAY + line for line in self._sent), why) or 0
        line = self._sent[at]
        del self._sent[at]
        if (longest := longest_in(why)) is None:
            return why
        size = len(line.encode("utf-8", "replace"))
        return f"a line holds at most {longest - len(SAY):,} bytes here; that with {line[:BEGIN]!r} has {size:,}"

    def _fall_silent(self) -> None:
        self.finish(*self.broke("it has fallen silent"))
        self.hang_up()

    def _give(self, lines: list[str]) -> None:
        if not self._problem:
            self._queue += lines
            self._given += len(lines)
            if self._splitter.problem:
                self._problem = self._splitter.problem
                self._closed = True
        self._go_on()

    def _spoil(self, problem: str) -> None:
        """Post nothing more. End with *problem* when all sent lines are answered."""
        self._problem = self._problem or problem
        self._queue.clear()
        self._closed = True

    def _report(self, seq: int, text: str) -> None:
        try:
            if self._tell is not None:
                self._tell(seq, text)
        except OSError as error:
            self.finish(*unwritten(error))
            self._leaving = True
            self.hang_up()

    def _known(self) -> str:
        return f"{self.kept:,} of {self._given:,} {'line is' if self._given == 1 else 'lines are'} known to be kept"

    def _shortfall(self) -> str:
        return f"{self._problem.rstrip('.')}; {self._known()}" if self._given else self._problem

    def _go_on(self) -> None:
        if not self._ready or self._leaving:
            return
        while self._queue and len(self._sent) < WINDOW:
            line = self._queue.popleft()
            self._sent.append(line)
            self.put(SAY + cleaned(line))  # a server would take some control characters as keys that edit the line
        if self._closed and not self._queue and not self._sent:
            self._leave()
        elif self._console is not None:
            if self._queue or self._closed:
                self._console.stdio.pauseProducing()
            else:
                self._console.stdio.resumeProducing()

    def _leave(self) -> None:
        self._leaving = True
        self._heartbeat.stop()
        if self._problem:
            self.finish(self._status, self._shortfall())
        else:
            self.finish(DONE)
        self.within(LEAVE_SECONDS, self.hang_up)
        self.put("quit")
