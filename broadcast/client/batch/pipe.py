"""The client without a terminal: it sends the standard input, and writes the server's output, both unchanged.

It speaks the line protocol. At the end of the input, it leaves, and waits for the rest of the server's output. After a
lost connection, it sends nothing again, because it cannot know which lines were said.
"""

from __future__ import annotations

import os
import signal
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol

from broadcast.client.batch.endpoint import because, keep_alive, server_endpoint
from broadcast.client.batch.line_protocol import EMPTY_LINE_ENDS, PASSWORD, EchoFilter, Kind, Reader
from broadcast.client.batch.stdio import Console, Stream, attach, needs_threads
from broadcast.client.certificates import CertificateError
from broadcast.client.known_hosts import known_keys, refusal
from broadcast.client.nicknames import of_user
from broadcast.client.password_file import PASSWORD_HINT, read_password
from broadcast.client.protocol.greeting import BAN, TLS_HINT
from broadcast.client.status import (
    DONE,
    INTERRUPTED,
    LOST,
    NICKNAME_REFUSED,
    NO_CONNECTION,
    REFUSED,
    TERMINATED,
    UNTRUSTED,
    unread,
    unwritten,
)
from broadcast.client.text import printable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProducer, IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from broadcast.client.options import Options

PROMPT_SECONDS: Final = 30
"""The time limit of a server to ask for a nickname, and then to accept or refuse it."""

Ended = Callable[[int, str], None]
"""Takes the exit status, and the reason in one line for people, empty for 0."""


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


class Pipe(TwistedProtocol):
    """The standard input and output, connected to *server*, its name for people.

    The client proposes the *nicks* in order, and then joins *room*, unless that is empty. It calls *ended* once, when
    the connection is closed and everything is written. *clean* changes the server's output before it is written. With a
    *password*, the client logs in.
    """

    def __init__(  # noqa: PLR0913 -- each is a part of the surroundings
        self,
        server: str,
        nicks: Iterator[str],
        room: str,
        clock: IReactorTime,
        attach_to: Callable[[TwistedProtocol], Stream],
        ended: Ended,
        clean: Callable[[bytes], bytes] | None = None,
        *,
        password: str = "",
    ) -> None:
        self._server = server
        self._nicks = nicks
        self._room = room
        self._clock = clock
        self._ended = ended
        self._clean = clean
        self._password = password
        self._reader = Reader()
        self._filter = EchoFilter()
        self._result: tuple[int, str] | None = None
        self._proposed = self._is_joining = self._goodbye = False
        self._refusal = self._notice = ""
        self.hint = ""
        """The end of the reason for a failure, as long as the server has sent nothing."""
        self._whole = True
        """Whether the input so far ends with a line end."""
        self._console = Console(self, attach_to)

    @property
    def _stream(self) -> Stream:
        return cast(Stream, self.transport)

    # Calls of the connection

    def connectionMade(self) -> None:
        """Wait for the prompt. Pause the server while the output is full."""
        keep_alive(self.transport)
        self._timeout = self._clock.callLater(PROMPT_SECONDS, self._give_up)
        self._console.stdio.registerProducer(self._stream, streaming=True)

    def dataReceived(self, data: bytes) -> None:
        """Write *data* to the output, and handle its parts."""
        data = self._filter.remove(data)
        self.hint = ""
        self._console.stdio.write(self._clean(data) if self._clean else data)
        for kind, text in self._reader.feed(data):
            match kind:
                case Kind.PROMPT:
                    self._log_in() if text == PASSWORD else self._propose()
                case Kind.ARRIVED if self._room:
                    self._is_joining = True
                    self._send(f"/join {self._room}")
                case Kind.ARRIVED:
                    self._begin()
                case Kind.MOVED if self._is_joining:
                    self._is_joining = False
                    self._begin()
                case Kind.ERROR if self._is_joining:
                    self._is_joining = False
                    self._finish(REFUSED, f"the room was refused: {text}")
                    self._send("quit")
                case Kind.ERROR:
                    self._refusal = text.removesuffix(EMPTY_LINE_ENDS)
                case Kind.NOTICE:
                    self._notice = text
                case Kind.GOODBYE:
                    # The server has answered all lines before it.
                    self._goodbye = True
                case _:
                    pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Write the rest of the output, and report the exit status with its reason."""
        if self._timeout.active():
            self._timeout.cancel()
        why = because(reason, "the server closed the connection")
        if self._result is None:
            if self._goodbye:
                self._result = DONE, ""
            elif self._reader.arrived:
                self._result = LOST, f"the connection to {self._server} was lost: {why}"
            elif self._refusal:
                self._result = NICKNAME_REFUSED, f"the nickname was refused: {self._refusal}"
            else:
                self._result = (
                    NICKNAME_REFUSED if self._notice.startswith(BAN) else NO_CONNECTION,
                    f"no connection to {self._server}: {self._notice.rstrip('.') or why}{self.hint}",
                )
        self._console.close(self._report)

    def _report(self) -> None:
        assert self._result is not None
        failure = getattr(self._console.stdio, "failure", None)
        if self._result[0] == DONE and failure is not None and not isinstance(failure, BrokenPipeError):
            # The end of the output is missing.
            self._result = unwritten(failure)
        self._ended(*self._result)

    # The arrival

    def _propose(self) -> None:
        """Answer a prompt with the next nickname."""
        if self._proposed and not self._refusal:
            # It is a line of the message of the day that looks like a prompt.
            return
        nick = next(self._nicks, None)
        if nick is None:
            self._stream.loseConnection()  # the refusal is the reason
            return
        self._proposed = True
        self._refusal = ""
        self._send(f"/login {nick}" if self._password else nick)

    def _log_in(self) -> None:
        """Answer a prompt for a password. An empty line goes back to the nickname."""
        if not self._proposed:
            # It is a line of the message of the day.
            return
        if self._refusal:
            self._stream.loseConnection()  # the refusal is the reason
            return
        if not self._password:
            self._refusal = f"it is registered, and needs its password. {PASSWORD_HINT}"
        self._send(self._password)

    def _send(self, line: str) -> None:
        """Send a line that the server has to answer soon."""
        self._stream.write(line.encode("utf-8", "replace") + b"\r\n")
        self._timeout.reset(PROMPT_SECONDS)

    def _give_up(self) -> None:
        problem = "the server does not answer" if self._proposed else "nobody asks for a nickname there"
        self._finish(NO_CONNECTION, f"no connection to {self._server}: {problem}{self.hint}")
        self._stream.abortConnection()

    def _finish(self, status: int, why: str) -> None:
        """Set the exit status and its reason, unless they are set."""
        self._result = self._result or (status, why)

    # The input

    def _begin(self) -> None:
        """Begin to read. Before, the server would take a line for a nickname, or say it in another room."""
        self._timeout.cancel()
        self._stream.registerProducer(cast("IProducer", self._console.stdio), streaming=True)
        self._console.stdio.resumeProducing()

    def input_received(self, data: bytes) -> None:
        """Send *data*."""
        self._whole = data.endswith((b"\n", b"\r"))
        self._stream.write(data)

    def input_ended(self) -> None:
        """Leave. The server answers all earlier lines first."""
        if (error := getattr(self._console.stdio, "unreadable", None)) is not None:
            self._finish(*unread(error))
        self._stream.unregisterProducer()
        self._stream.write(b"quit\r\n" if self._whole else b"\r\nquit\r\n")

    def output_failed(self, error: OSError) -> None:
        """End. If nobody reads the output, end without a message, like other filters."""
        self._finish(*unwritten(error))
        if self.connected:
            self._stream.abortConnection()


def run(options: Options, reactor: Any) -> tuple[int, str]:  # noqa: ANN401 -- no interface has all
    """Connect the standard input and output to the server until both have ended. Return the exit status and why."""
    threads = needs_threads(0, 1)
    clean = Cleaner(sys.stdout.encoding if sys.stdout else "utf-8").clean if os.isatty(1) else None
    password = read_password(options)
    nicks = of_user(os.environ) if options.nick is None else iter((options.nick,))
    outcome: list[tuple[int, str]] = []

    def end(status: int, why: str) -> None:
        if not outcome:
            outcome.append((status, why))
            reactor.stop()

    def fail(failure: Failure) -> None:
        if isinstance(failure.value, CertificateError):
            end(UNTRUSTED, " ".join(refusal(failure.value, options)))
        else:
            end(NO_CONNECTION, f"no connection to {options.server}: {because(failure, 'the connection was closed')}")

    def begin() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        attach_to = partial(attach, reactor=reactor, threads=threads)
        room = next(iter(options.rooms), "")

        def make() -> Pipe:
            pipe = Pipe(options.server, nicks, room, reactor, attach_to, end, clean, password=password)
            pipe.hint = "" if options.tls else TLS_HINT
            return pipe

        endpoint = server_endpoint(reactor, options.host, options.port)
        _connect(endpoint, make, options, known, reactor).addErrback(fail)

    known = known_keys(options)
    handlers = _handlers(reactor, end)
    # The reactor installs its signal handlers first; those of begin replace them.
    reactor.callLater(0, begin)
    with _restored_modes(blocking=threads):
        reactor.run()
    return outcome[0] if outcome else (TERMINATED, "")


def _connect(
    endpoint: IStreamClientEndpoint,
    make: Callable[[], Pipe],
    options: Options,
    known: tuple[str, ...],
    reactor: Any,  # noqa: ANN401 -- no interface has all
) -> Deferred[Any]:
    if options.tls:
        from broadcast.client.batch.tls_protocol import connect_tls  # noqa: PLC0415 -- only if it is wanted
        from broadcast.client.tls import Trust  # noqa: PLC0415

        return Deferred.fromCoroutine(connect_tls(endpoint, make, Trust(options.host, known), reactor))
    factory: Any = Factory.forProtocol(make)
    factory.noisy = False
    return endpoint.connect(factory)


def _handlers(reactor: Any, end: Ended) -> dict[int, Any]:  # noqa: ANN401 -- the same
    """Return the handlers of signals. Stopping the reactor breaks the connection, so they set the status before."""

    def handler(status: int) -> Callable[[int, object], None]:
        def handle(number: int, _frame: object) -> None:
            # The second signal ends the process at once, even if the reactor waits for an output or a name.
            signal.signal(number, signal.SIG_DFL)
            reactor.callFromThread(end, status, "")

        return handle

    # A shell lets a background process of a script ignore SIGINT. It must go on to do so.
    return {
        number: signal.SIG_IGN if signal.getsignal(number) is signal.SIG_IGN else handler(status)
        for number, status in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED))
    }


@contextmanager
def _restored_modes(*, blocking: bool) -> Iterator[None]:
    """Let reads and writes of the standard input and output be *blocking*, and restore the modes for other programs."""
    if sys.platform == "win32":
        yield
    else:
        before = [os.get_blocking(descriptor) for descriptor in (0, 1)]
        for descriptor in (0, 1):
            os.set_blocking(descriptor, blocking)
        try:
            yield
        finally:
            for descriptor, mode in enumerate(before):
                os.set_blocking(descriptor, mode)
