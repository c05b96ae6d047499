"""The client without a terminal: it sends the standard input, and writes the server's output, both unchanged.

It speaks the line protocol. At the end of the input, it leaves, and waits for the rest of the server's output. After a
lost connection, it sends nothing again, because it cannot know which lines were said.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from broadcast import standard_streams
from broadcast.client import exit_status
from broadcast.client.address import UNIX
from broadcast.client.batch.line_protocol import EMPTY_LINE_ENDS, PASSWORD, EchoFilter, Kind, Reader
from broadcast.client.certificates import CertificateError
from broadcast.client.known_hosts import known_keys, refusal
from broadcast.client.nicknames import propose_nicknames
from broadcast.client.password_file import PASSWORD_HINT, read_password
from broadcast.client.protocol.greeting import BAN, TLS_HINT
from broadcast.client.streams import describe_failure, open_stream
from broadcast.client.text import printable
from broadcast.client.tls import Trust
from broadcast.keepalive import set_keepalive

if TYPE_CHECKING:
    from broadcast.client.options import Options
    from broadcast.client.streams import Stream

CHUNK_BYTES: Final = 65536
PROMPT_SECONDS: Final = 30.0
"""The longest silence of a server, in seconds, before it asks for a nickname and before it accepts or refuses it."""
KEEPALIVE: Final = (60, 15, 4)
"""Idle time and interval in seconds, and number of probes. They detect a dead idle connection after two minutes.

There is no ``TCP_USER_TIMEOUT``, because it ends a connection whose other side does not read for that time. A server
with rate limits reads slowly. (Linux 6.18: with 120 s, it ended the connection of a pipe of 22 MB to a healthy server.)
"""


class Cleaner:
    """Makes the server's output, fed in chunks, harmless for a terminal with *encoding*."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._encoding = encoding
        self._held = ""

    def clean(self, data: bytes) -> bytes:
        """Return the text to write for *data*."""
        text = self._held + self._decode(data)
        self._held = "\r" if text.endswith("\r") else ""
        *whole, rest = text.removesuffix("\r").split("\n")
        lines = [printable(line.removesuffix("\r"), self._encoding) for line in whole]
        return "\n".join([*lines, printable(rest, self._encoding)]).encode(self._encoding, "replace")


class State(Enum):
    """The state of a visit."""

    GREETING = "greeting"
    """The server has not asked for a nickname yet."""
    PROPOSED = "proposed"
    """The client has proposed a nickname."""
    JOINING = "joining"
    """The server has accepted the nickname, and the client joins its room."""
    READY = "ready"
    """The client is in its room, and may send its input."""
    LEAVING = "leaving"
    """The server has refused the room."""


@dataclass(eq=False)
class Visit:
    """The visit to *server*, its name for people, without I/O. *send_bytes* sends bytes.

    The client proposes the *nicks* in order, logs in if there is a *password*, and joins *room*, unless that is empty.
    *hint* is the end of the reason for a failure, as long as the server has sent nothing.
    """

    server: str
    nicks: Iterator[str]
    room: str
    send_bytes: Callable[[bytes], object]
    password: str = ""
    hint: str = ""
    is_over: bool = False
    """Whether the client waits for nothing more, because the server refuses all nicknames, or the password."""
    _reader: Reader = field(default_factory=Reader)
    _outcome: tuple[int, str] | None = None
    _state: State = State.GREETING
    _refusal: str = ""
    _notice: str = ""
    _has_line_end: bool = True
    """Whether the input so far ends with a line end."""

    @property
    def is_ready(self) -> bool:
        """Whether the input can be sent. Before, the server would take a line for a nickname, or say it elsewhere."""
        return self._state is State.READY

    def receive(self, data: bytes) -> None:
        """Take a chunk of the server's output, and send the answers to it."""
        self.hint = ""
        for kind, text in self._reader.feed(data):
            match kind:
                case Kind.PROMPT:
                    self._log_in() if text == PASSWORD else self._propose()
                case Kind.ARRIVED if self.room:
                    self._state = State.JOINING
                    self._send(f"/join {self.room}")
                case Kind.ARRIVED:
                    self._state = State.READY
                case Kind.MOVED if self._state is State.JOINING:
                    self._state = State.READY
                case Kind.ERROR if self._state is State.JOINING:
                    self._state = State.LEAVING
                    self.finish(exit_status.REFUSED, f"the room was refused: {text}")
                    self._send("quit")
                case Kind.ERROR:
                    self._refusal = text.removesuffix(EMPTY_LINE_ENDS)
                case Kind.NOTICE:
                    self._notice = text
                case Kind.GOODBYE:
                    self.finish(exit_status.DONE)  # the server has answered all lines before it
                case _:
                    pass

    def _propose(self) -> None:
        """Answer a prompt with the next nickname."""
        if self._state is not State.GREETING and not self._refusal:
            return  # it is a line of the message of the day that looks like a prompt
        nick = next(self.nicks, None)
        if nick is None:
            self.is_over = True  # the refusal is the reason
            return
        self._state = State.PROPOSED
        self._refusal = ""
        self._send(f"/login {nick}" if self.password else nick)

    def _log_in(self) -> None:
        """Answer a prompt for a password. An empty line goes back to the nickname."""
        if self._state is State.GREETING:
            return  # it is a line of the message of the day
        if self._refusal:
            self.is_over = True  # the refusal is the reason
            return
        if not self.password:
            self._refusal = f"it is registered, and needs its password. {PASSWORD_HINT}"
        self._send(self.password)

    def _send(self, line: str) -> None:
        self.send_bytes(line.encode("utf-8", "replace") + b"\r\n")

    def send_input(self, data: bytes) -> None:
        """Send a chunk of the input. At its end, leave: the server answers all earlier lines first."""
        if data:
            self._has_line_end = data.endswith((b"\n", b"\r"))
            self.send_bytes(data)
        else:
            self.send_bytes(b"quit\r\n" if self._has_line_end else b"\r\nquit\r\n")

    def finish(self, status: int, why: str = "") -> None:
        """Set the exit status and its reason, unless they are set."""
        self._outcome = self._outcome or (status, why)

    def give_up(self) -> tuple[int, str]:
        """Return the exit status and its reason if the server is silent for too long."""
        was_asked = self._state is not State.GREETING
        problem = "the server does not answer" if was_asked else "nobody asks for a nickname there"
        self.finish(exit_status.NO_CONNECTION, f"no connection to {self.server}: {problem}{self.hint}")
        return self.end("")

    def end(self, why: str) -> tuple[int, str]:
        """Return the exit status and its reason for people. *why* is the reason for the end of the connection."""
        if self._outcome is not None:
            return self._outcome
        if self._reader.arrived:
            return exit_status.LOST, f"the connection to {self.server} was lost: {why}"
        if self._refusal:
            return exit_status.NICKNAME_REFUSED, f"the nickname was refused: {self._refusal}"
        status = exit_status.NICKNAME_REFUSED if self._notice.startswith(BAN) else exit_status.NO_CONNECTION
        return status, f"no connection to {self.server}: {self._notice.rstrip('.') or why}{self.hint}"


def run(options: Options) -> tuple[int, str]:
    """Connect the standard input and output to the server. Return the exit status and its reason.

    A thread may still read the input after that.
    """
    for number, status in ((signal.SIGINT, exit_status.INTERRUPTED), (signal.SIGTERM, exit_status.TERMINATED)):
        # A shell lets a background process of a script ignore SIGINT. It must go on to do so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, partial(_exit, status))
    # asyncio.run would wait for the thread that reads the input.
    return asyncio.new_event_loop().run_until_complete(_run(options, read_password(options), known_keys(options)))


def _exit(status: int, _number: int, _frame: object) -> None:
    """End the process at once, even if a thread waits for the output or for the address of the host."""
    os._exit(status)


async def _run(options: Options, password: str, known: tuple[str, ...]) -> tuple[int, str]:
    trust = Trust(options.host, known) if options.tls else None
    try:
        reader, writer = await open_stream(options.host, options.port, trust)
    except CertificateError as error:
        return exit_status.UNTRUSTED, " ".join(refusal(error, options))
    except OSError as error:
        return exit_status.NO_CONNECTION, f"no connection to {options.server}: {describe_failure(error)}"
    set_keepalive(writer.get_extra_info("socket"), *KEEPALIVE)
    visit = Visit(
        options.server,
        propose_nicknames(os.environ) if options.nick is None else iter((options.nick,)),
        next(iter(options.rooms), ""),
        writer.write,
        password=password,
        hint="" if trust or options.host.startswith(UNIX) else TLS_HINT,
    )
    loop = asyncio.get_running_loop()
    receiving = asyncio.ensure_future(_receive(visit, (reader, writer)))
    if sys.platform != "win32" and stat.S_ISFIFO(os.fstat(1).st_mode):
        loop.add_reader(1, receiving.cancel)  # nobody reads the standard output any more
    try:
        return await receiving
    except asyncio.CancelledError:
        return exit_status.CLOSED_OUTPUT, ""
    finally:
        writer.transport.abort()


async def _receive(visit: Visit, stream: Stream) -> tuple[int, str]:
    """Write the server's output, until it ends. Return the exit status and its reason."""
    reader, writer = stream
    clean = Cleaner(sys.stdout.encoding if sys.stdout else "utf-8").clean if os.isatty(1) else bytes
    remove_echo = EchoFilter().remove
    sending: asyncio.Future[None] | None = None
    while not visit.is_over:
        try:
            async with asyncio.timeout(None if sending else PROMPT_SECONDS):
                data = await reader.read(CHUNK_BYTES)
        except TimeoutError:
            return visit.give_up()
        except OSError as error:
            return visit.end(describe_failure(error))
        if not data:
            return visit.end("the server closed the connection")
        data = remove_echo(data)
        try:
            await asyncio.to_thread(_write, clean(data))
        except OSError as error:
            return exit_status.explain_write_error(error)
        visit.receive(data)
        if visit.is_ready and sending is None:
            sending = asyncio.ensure_future(_send_input(visit, writer))
    return visit.end("")


def _write(data: bytes) -> None:
    """Write all of *data* to the standard output. Another program may have left it in non-blocking mode."""
    while data:
        try:
            data = data[standard_streams.write(1, data) :]
        except BlockingIOError:
            select.select([], [1], [])


async def _send_input(visit: Visit, writer: asyncio.StreamWriter) -> None:
    """Send the standard input, as fast as the server takes it."""
    data = b"-"
    while data:
        try:
            data = await asyncio.to_thread(_read)
        except OSError as error:
            visit.finish(*exit_status.explain_read_error(error))
            data = b""
        visit.send_input(data)
        with suppress(OSError):  # the end of the connection has its own reason
            await writer.drain()


def _read() -> bytes:
    while True:
        try:
            return standard_streams.read(0, CHUNK_BYTES)
        except BlockingIOError:
            select.select([0], [], [])
