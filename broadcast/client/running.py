"""Starts a visit without anybody at the keyboard on a reactor, with the standard input and output of this process."""

from __future__ import annotations

import os
import signal
import stat
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.protocol import Factory

from broadcast.client.endpoint import server_endpoint
from broadcast.client.lines import printable
from broadcast.client.nicknames import of_user
from broadcast.client.pipe import Pipe
from broadcast.client.reasons import because
from broadcast.client.status import INTERRUPTED, NO_CONNECTION, TERMINATED
from broadcast.client.stdio import Descriptor, ThreadedIO, attach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IProtocol, IReactorFromThreads, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.client.options import Options
    from broadcast.client.stdio import Stdio
    from broadcast.client.visitor import Ended, Visitor


class Reactor(Protocol):
    """What is needed of a reactor, beside its clock."""

    running: bool

    def callLater(self, delay: float, function: Callable[..., object]) -> object:  # noqa: N802 -- Twisted's name
        """Call *function* in *delay* seconds."""

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> object:  # noqa: N802 -- the same
        """Call *function* in the reactor's thread."""

    def run(self) -> object:
        """Run until it is stopped."""

    def stop(self) -> object:
        """Stop."""


def pipe(options: Options, reactor: Reactor) -> tuple[int, str]:
    """Pass on what comes on either side, until both are through; the exit status, and why."""
    clock = cast("IReactorTime", reactor)
    threads = needs_threads(0, 1)
    kind = ShownPipe if os.isatty(1) else Pipe

    def begin(protocol: IProtocol) -> Stdio:
        return connected(protocol, reactor, threads=threads)

    visit = partial(_visit, lambda told: kind(options.server, nicks(options), clock, begin, told), options, reactor)
    return _blocking(visit, 0, 1) if threads else _restored(visit)


def connected(protocol: IProtocol, reactor: Reactor, *, threads: bool) -> Stdio:
    """The standard input and output, connected to *protocol*."""
    threader = cast("IReactorFromThreads", reactor)
    if not threads:
        return attach(protocol, threader, threads=False)
    # Not what sys has: its streams differ with Python's options, and are none where a descriptor was closed.
    return cast("Stdio", ThreadedIO(protocol, threader, Descriptor(0), Descriptor(1)))


def nicks(options: Options) -> Iterator[str]:
    """The nicknames to try."""
    return of_user(os.environ) if options.nick is None else iter((options.nick,))


def needs_threads(stdin: int, stdout: int) -> bool:
    """Whether the reactor cannot wait for these: on Windows, and for files and terminals.

    (A terminal that does not block would do so for the shell, too.)
    """
    if sys.platform == "win32":
        return True
    return not all(
        stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) for mode in (os.fstat(stdin).st_mode, os.fstat(stdout).st_mode)
    )


class Cleaner:
    """What comes from the server, as it may be written to a terminal; fed in chunks."""

    def __init__(self) -> None:
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._held = ""

    def clean(self, data: bytes) -> bytes:
        """What to write for *data*."""
        text = self._held + self._decode(data)
        self._held = "\r" if text.endswith("\r") else ""
        *whole, rest = text.removesuffix("\r").split("\n")
        lines = [printable(line.removesuffix("\r")) for line in whole]
        return "\n".join([*lines, printable(rest)]).encode("utf-8", "replace")


class ShownPipe(Pipe):
    """A pipe whose output is a terminal: what comes is shown as text, whatever it is."""

    _cleaner: Cleaner | None = None

    def came(self, data: bytes) -> None:
        """Write it out, made harmless."""
        self._cleaner = self._cleaner or Cleaner()
        super().came(self._cleaner.clean(data))


def _restored(visit: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Make *visit*; pipes are as before afterwards, because others may go on with them."""
    before = [os.get_blocking(descriptor) for descriptor in (0, 1)]
    try:
        return visit()
    finally:
        for descriptor, blocking in enumerate(before):
            os.set_blocking(descriptor, blocking)


def _blocking(visit: Callable[[], tuple[int, str]], *descriptors: int) -> tuple[int, str]:
    """Make *visit*, whose threads wait for *descriptors*: others may have left them so that nobody waits."""
    if sys.platform != "win32":
        for descriptor in descriptors:
            os.set_blocking(descriptor, True)
    return visit()


def _visit(make: Callable[[Ended], Visitor], options: Options, reactor: Reactor) -> tuple[int, str]:
    """Connect, run *reactor* until the visit is over, and return how it ended."""
    outcome: list[tuple[int, str]] = []

    def told(status: int, why: str) -> None:
        if not outcome:
            outcome.append((status, why))
            reactor.stop()

    def failed(failure: Failure) -> None:
        told(NO_CONNECTION, f"no connection to {options.server}: {because(failure, 'the connection was closed')}")

    def end_with(status: int) -> Callable[[int, object], None]:
        def end(number: int, _frame: object) -> None:
            # The second one ends it at once, even where the reactor waits: for who reads the output, or for a name.
            signal.signal(number, signal.SIG_DFL)
            reactor.callFromThread(told, status, "")

        return end

    # What a shell puts into the background of a script ignores SIGINT, and is to go on doing so.
    endings = {
        number: end_with(status) if signal.getsignal(number) is not signal.SIG_IGN else signal.SIG_IGN
        for number, status in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED))
    }

    def begin() -> None:
        # How it ends must be known before the reactor stops: that breaks the connection, which is another end.
        for number, ending in endings.items():
            signal.signal(number, ending)
        # The visit is made when there is a connection: nothing is read before that.
        factory = Factory.forProtocol(lambda: make(told))
        factory.noisy = False
        server_endpoint(reactor, options.host, options.port).connect(factory).addErrback(failed)

    # Not before the reactor has installed its handlers: ours take their place.
    reactor.callLater(0, begin)
    reactor.run()
    return outcome[0] if outcome else (TERMINATED, "")
