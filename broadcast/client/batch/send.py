"""``--send``: say lines, each exactly once, and leave when the server has stored them.

Each line has a ``uid``, so after a lost connection the client sends again what is not confirmed. It reads a chunk of
its input when all lines before that chunk are confirmed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import deque
from time import monotonic, sleep

from broadcast import __version__, standard_streams
from broadcast.client import exit_status
from broadcast.client.batch.exchange import CHUNK_BYTES, REQUEST_BYTES, Connection, Lost
from broadcast.client.certificates import CertificateError
from broadcast.client.nicknames import propose_nicknames
from broadcast.client.options import STDIN, TIMEOUT_SECONDS
from broadcast.client.password_file import PASSWORD_HINT, read_password

TYPE_CHECKING = False  # typing takes long to import
if TYPE_CHECKING:
    from typing import Final

    from broadcast.client.batch.exchange import Message
    from broadcast.client.options import Options

    Line = tuple[int, str]
    """A line with its number, from 1."""

WINDOW: Final = 256
"""The most lines that are sent ahead of their confirmations, if the server does not limit their rate."""
GREETING_SECONDS: Final = 30.0
"""The time limit of the answer to ``hello``."""
ANSWER_SECONDS: Final = 20.0
"""A server that sends nothing for so long although lines are unconfirmed is lost."""
LEAVE_SECONDS: Final = 5.0
"""The time limit of the answer to ``quit``, when all lines are confirmed."""
LONGEST_PAUSE: Final = 8.0
"""The longest pause before another attempt, in seconds, unless the server asks for a longer one."""
SHORTEST_ATTEMPT: Final = 0.25
"""With less time than this before the time-out, in seconds, no other attempt is made."""

HELLO: Final = 0
QUIT: Final = -1
"""The ids of these requests. The ids of lines are their numbers."""

INTERNAL_ERROR: Final = -32603
"""The code of JSON-RPC 2.0 for a fault of the server, which has no reason of this protocol."""
TEMPORARY: Final = frozenset({"not-kept", "not-known", "going-down"})
"""The reasons of errors after which the client says a line again."""


class End(Exception):
    """The client ends with *status*. The text is the reason for people, empty if none is needed."""

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(reason)
        self.status = status


def send(options: Options) -> tuple[int, str]:
    """Say the text of *options*. Return the exit status and its reason for people, empty for 0."""
    if options.json and sys.platform != "win32":
        os.set_blocking(1, True)  # another program may have left it in non-blocking mode
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        Sender(options).run()
    except End as end:
        return end.status, str(end)
    return exit_status.DONE, ""


def _read_input() -> bytes:
    while True:
        try:
            return standard_streams.read(0, CHUNK_BYTES)
        except BlockingIOError:
            sleep(0.1)  # another program may have left the input in non-blocking mode


def _print(data: bytes) -> None:
    while data:
        data = data[standard_streams.write(1, data) :]


def _terminate(_number: int, _frame: object) -> None:
    raise End(exit_status.TERMINATED)


class Input:
    """The lines to say, from the standard input or a text."""

    def __init__(self) -> None:
        self.is_open = True
        self.lines: deque[Line] = deque()
        self.count = 0
        """The number of all lines so far, without blank ones."""
        self.problem: tuple[int, str] | None = None
        """The exit status and the reason if some of the input cannot be said."""
        self._rest = b""
        """The beginning of the next line."""
        self._row = 0
        """The number of all lines so far, with blank ones."""

    def read(self, limit: int) -> None:
        """Wait for a chunk of the standard input. Its lines hold at most *limit* bytes."""
        try:
            self.take(_read_input(), limit)
        except OSError as error:
            self.stop(*exit_status.explain_read_error(error))

    def stop(self, status: int, reason: str) -> None:
        """Take no more lines. The first *reason* is the one to end with."""
        self.problem = self.problem or (status, reason)
        self.is_open = False

    def take(self, data: bytes, limit: int) -> None:
        """Take a chunk. An empty one is the end."""
        rows = (self._rest + data).splitlines(keepends=True)
        self.is_open = bool(data)
        # A CR at the very end may be the first half of a line end.
        is_partial = self.is_open and bool(rows) and not rows[-1].endswith(b"\n") and len(rows[-1]) <= limit + 1
        self._rest = rows.pop() if is_partial else b""
        for row in rows:
            self._row += 1
            text = row.rstrip(b"\r\n").decode("utf-8", "replace")
            if len(text.encode()) > limit:
                self.stop(exit_status.REFUSED, f"line {self._row} of the input holds more than {limit:,} bytes")
                break
            if text.strip():
                self.count += 1
                self.lines.append((self.count, text))


class Sender:
    """The lines of *options*, over as many connections as it takes to say them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._timeout = TIMEOUT_SECONDS if options.timeout is None else options.timeout
        self._text = options.send or ""
        self._input = Input()
        self._nicks = propose_nicknames(os.environ) if options.nick is None else iter((options.nick,))
        self._nick = next(self._nicks)
        self._password = read_password(options)
        self._room = ""
        self._limit = 0
        """The longest line that the server accepts, in bytes; 0 before the first answer to ``hello``."""
        self._window = WINDOW
        """Maximum number of lines that are sent and not confirmed."""
        self._uid = os.urandom(16).hex()
        self._unconfirmed: dict[int, str] = {}
        """The lines that were sent, by number."""
        self._stored = 0
        self._skipped = 0
        """The number of lines that the server has found empty."""
        self._token = self._journal = ""
        self._attempt = self._failures = 0
        self._progress = monotonic()
        """The time of the latest confirmation, or of the latest read of the input."""

    def run(self) -> None:
        """Say all lines. Raise ``End`` if some of them are not stored."""
        if not self._text.strip():
            raise End(exit_status.USAGE, "there is nothing to send")
        while not self._is_done:
            try:
                connection = self._connect()
                try:
                    self._greet(connection)
                    self._exchange(connection)
                except (AttributeError, KeyError, TypeError):
                    raise Lost("the server has sent a message that cannot be understood") from None
                finally:
                    connection.close()
            except Lost as lost:
                if not self._is_done:
                    self._pause(lost)
        if self._input.problem is not None:
            status, reason = self._input.problem
            raise End(status, self._add_count(reason))
        if self._text != STDIN and not self._stored:
            raise End(exit_status.USAGE, "there is nothing to send")

    @property
    def _deadline(self) -> float:
        return self._progress + self._timeout

    @property
    def _is_idle(self) -> bool:
        return not (self._unconfirmed or self._input.lines)

    @property
    def _is_done(self) -> bool:
        return self._limit > 0 and self._is_idle and not self._input.is_open

    def _add_count(self, reason: str) -> str:
        count = self._input.count - self._skipped
        lines = "line is" if count == 1 else "lines are"
        return f"{reason.rstrip('.')}; {self._stored:,} of {count:,} {lines} known to be stored" if count else reason

    def _pause(self, lost: Lost) -> None:
        """Wait before the next attempt, or give up."""
        server = self._options.server
        self._failures += 1
        # Clients that have lost their connections together must not come back together.
        jitter = int.from_bytes(os.urandom(2), "big") / 65536
        left = self._deadline - monotonic()
        pause = lost.after or min(jitter * min(LONGEST_PAUSE, 2.0 ** (self._failures - 1)), left / 2)
        is_late = lost.is_final or left < SHORTEST_ATTEMPT or pause > left
        if not self._limit and (is_late or self._options.timeout is None):
            status = exit_status.NICKNAME_REFUSED if lost.is_banned else exit_status.NO_CONNECTION
            raise End(status, f"no connection to {server}: {lost}")
        if is_late:
            raise End(exit_status.LOST, self._add_count(f"the connection to {server} was lost: {lost}"))
        sleep(pause)
        self._input.lines.extendleft(sorted(self._unconfirmed.items(), reverse=True))
        self._unconfirmed.clear()

    def _connect(self) -> Connection:
        options = self._options
        if not options.tls:
            return Connection(options.host, options.port, self._deadline)
        from broadcast.client.known_hosts import known_keys, refusal  # noqa: PLC0415 -- only TLS needs these
        from broadcast.client.tls import Trust  # noqa: PLC0415

        try:
            return Connection(options.host, options.port, self._deadline, Trust(options.host, known_keys(options)))
        except CertificateError as error:
            raise End(exit_status.UNTRUSTED, self._add_count(" ".join(refusal(error, options)))) from None

    # hello

    def _greet(self, connection: Connection) -> None:
        """Say hello until the server accepts a nickname."""
        until = min(monotonic() + GREETING_SECONDS, self._deadline)
        while True:
            connection.request(HELLO, "hello", self._hello())
            while not connection.answers:
                if monotonic() >= until:
                    raise Lost("nobody answers there, or it is no broadcast server")
                connection.wait(until)
            answer = connection.answers.pop()
            if "error" not in answer:
                self._welcome(answer["result"])
                return
            self._refuse_hello(answer["error"])

    def _hello(self) -> Message:
        params: Message = {"protocol": 1, "client": f"broadcast-client/{__version__}", "nick": self._nick}
        params |= {"replay": 0, "grace": 0}
        if self._password:
            # Private messages that wait for the account go on waiting, because nobody would read them here.
            params |= {"password": self._password, "private": False}
        if self._options.rooms:
            params["rooms"] = self._options.rooms[:1]
        if self._token:
            # The server may not have noticed yet that the last connection is lost. Then its session has the nickname.
            self._attempt += 1
            resume = {"token": self._token, "journal": self._journal, "rooms": {}, "attempt": self._attempt}
            params["resume"] = resume
        return params

    def _welcome(self, result: Message) -> None:
        self._nick = result["nick"]
        self._token = result["token"]
        self._journal = result["journal"]
        self._room = next(iter(result["rooms"]), self._room)
        is_first = not self._limit
        limits = result["limits"]
        self._limit = limits["line_bytes"]
        # A server with a rate limit goes on saying the lines that it has received after the client is interrupted.
        self._window = WINDOW if limits["lines_per_second"] is None else min(WINDOW, limits["lines_at_once"])
        if is_first and self._text != STDIN:
            # Bytes of the command line that are no UTF-8 are replaced, as those of the standard input are.
            self._input.take(self._text.encode("utf-8", "surrogateescape"), self._limit)
            self._input.take(b"", self._limit)
            if self._input.problem is not None:
                self._input.lines.clear()  # nothing of a text is said if a part of it cannot be

    def _refuse_hello(self, error: Message) -> None:
        """Prepare another hello, or raise the reason why there is none."""
        message, data = error["message"], error.get("data", {})
        reason = data.get("reason")
        if reason == "other-journal" and self._token:
            self._token = ""
        elif reason in {"nick-refused", "password-needed"} and not self._limit:
            nick = next(self._nicks, None)
            if nick is None:
                hint = f" {PASSWORD_HINT}" if reason == "password-needed" else ""
                raise End(exit_status.NICKNAME_REFUSED, f"the nickname was refused: {message}{hint}")
            self._nick = nick
        elif reason in {"password-needed", "wrong-password", "not-permitted", "banned"}:
            raise End(exit_status.NICKNAME_REFUSED, self._add_count(f"the nickname was refused: {message}"))
        elif reason in {"no-such-room", "room-refused"}:
            raise End(exit_status.REFUSED, f"the room was refused: {message}")
        else:
            raise Lost(message.rstrip("."), data.get("retry", 0.0))

    # Lines

    def _exchange(self, connection: Connection) -> None:
        """Say lines until all are confirmed or refused, and leave."""
        while not self._is_done:
            if self._is_idle:
                # No line waits for the server meanwhile, so a lost connection does not matter.
                self._input.read(self._limit)
                self._progress = monotonic()
                continue
            self._fill(connection)
            self._wait(connection)
            for answer in connection.answers:
                self._take(answer)
            connection.answers.clear()
        connection.request(QUIT, "quit", {})
        until = monotonic() + LEAVE_SECONDS
        while not connection.answers and monotonic() < until:
            connection.wait(until)

    def _fill(self, connection: Connection) -> None:
        """Send lines until the window is full."""
        lines = self._input.lines
        while lines and len(self._unconfirmed) < self._window:
            number, text = lines.popleft()
            params = {"room": self._room, "text": text, "uid": f"{self._uid}-{number}"}
            if not connection.request(number, "say", params):
                self._stop(f"that with {text[:30]!r} makes a request of more than {REQUEST_BYTES:,} bytes")
                break
            self._unconfirmed[number] = text

    def _wait(self, connection: Connection) -> None:
        """Wait for answers. Raise ``Lost`` if the server is silent for too long."""
        until = min(max(connection.heard_at, self._progress) + ANSWER_SECONDS, self._deadline)
        if monotonic() >= until:
            raise Lost("it has fallen silent")
        connection.wait(until)

    def _take(self, answer: Message) -> None:
        """Take the answer about a line."""
        error = answer.get("error", {})
        data = error.get("data", {})
        reason = data.get("reason")
        if reason in TEMPORARY or error.get("code") == INTERNAL_ERROR:
            # After a pause, the client sends again what is not confirmed.
            raise Lost(error["message"].rstrip("."))
        text = self._unconfirmed.pop(answer["id"], None)
        if text is None:
            return
        if not error:
            self._confirm(answer["result"]["seq"], text)
        elif reason == "uid-reused" and "seq" in data:
            # The line was stored under the nickname of an earlier connection.
            self._confirm(data["seq"], text)
        elif reason == "empty":
            self._skipped += 1
        else:
            self._stop(error["message"])

    def _confirm(self, seq: int, text: str) -> None:
        self._stored += 1
        self._failures = 0
        self._progress = monotonic()
        if self._options.json:
            try:
                _print(json.dumps({"seq": seq, "text": text}, ensure_ascii=False).encode() + b"\n")
            except OSError as error:
                raise End(*exit_status.explain_write_error(error)) from None

    def _stop(self, reason: str) -> None:
        """Say no more lines, because the server refuses one."""
        self._input.stop(exit_status.REFUSED, reason)
        self._input.lines.clear()
