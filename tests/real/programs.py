"""Real processes: the installed server, and the programs that people connect with."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import (
    IAddress,
    IProcessTransport,
    IReactorProcess,
    IReactorSocket,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol, Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from broadcast.server.lifecycle import Server as Room
from broadcast.server.options import Options
from broadcast.service import makeService

if sys.platform == "linux":
    from tests.real.zygote import ForkedProcess

TWISTD = str(Path(sys.executable).with_name("twistd"))
PATIENCE = 60
"""Maximum number of seconds for anything that takes milliseconds. Only a hang or a bug takes longer."""


def found(program: str) -> str:
    """Return the path of *program*. Without it, skip the test, or let it fail where that is not accepted."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed"
        if os.environ.get("BROADCAST_REQUIRE_PROGRAMS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


class Conditions:
    """Awaited conditions. ``check`` checks them again."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._awaited: list[tuple[Callable[[], bool], Callable[[], str], Deferred[None]]] = []

    def add(self, is_true: Callable[[], bool], problem: Callable[[], str]) -> Deferred[None]:
        """Return a Deferred that fires once *is_true*, and fails with *problem* after ``PATIENCE``."""
        waiting: Deferred[None] = Deferred()
        if is_true():
            waiting.callback(None)
            return waiting
        self._awaited.append((is_true, problem, waiting))

        def explain(result: Failure | None, _seconds: float) -> Failure | None:
            return Failure(AssertionError(problem())) if isinstance(result, Failure) else result  # type: ignore[no-untyped-call]  # Twisted's own is not annotated

        return waiting.addTimeout(PATIENCE, self._clock, explain)

    def check(self) -> None:
        """Fire the Deferreds of all conditions that have become true."""
        for condition in list(self._awaited):
            is_true, _problem, waiting = condition
            if is_true():
                self._awaited.remove(condition)
                waiting.callback(None)

    def fail(self) -> None:
        """Fail all conditions: nothing more will come."""
        awaited, self._awaited = self._awaited, []
        for _is_true, problem, waiting in awaited:
            waiting.errback(AssertionError(problem()))


class Program(ProcessProtocol):
    """A running program, its output and its end."""

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self.name = name
        self.output = b""
        self.ended: Deferred[int | None] = Deferred()
        """Fires with its exit status; None if a signal ended it."""
        self.signal: int | None = None
        """The number of that signal."""
        self._clock = clock
        self._conditions = Conditions(clock)
        self._over = False

    @property
    def process(self) -> IProcessTransport:
        """The transport, with its real type."""
        return cast(IProcessTransport, self.transport)

    def outReceived(self, data: bytes) -> None:
        self.output += data
        self._conditions.check()

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self._over = True
        self._conditions.fail()
        self.signal = cast(ProcessTerminated, reason.value).signal
        self.ended.callback(cast(ProcessTerminated, reason.value).exitCode)

    def write(self, text: str) -> None:
        """Type *text*."""
        self.process.write(text.encode())

    def close_input(self) -> None:
        """Close its standard input."""
        self.process.closeStdin()

    def until(self, text: str) -> Deferred[None]:
        """Return a Deferred that fires once it has written *text*; it fails at its end, and after ``PATIENCE``."""
        wanted = text.encode()
        return self._when(lambda: wanted in self.output, lambda: repr(text))

    def when(self, is_true: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires once *is_true* after an output; it fails as that of ``until`` does."""
        return self._when(is_true, lambda: "the awaited text")

    def _when(self, is_true: Callable[[], bool], what: Callable[[], str]) -> Deferred[None]:
        waiting = self._conditions.add(
            is_true, lambda: f"{self.name}{' ended and' * self._over} did not write {what()} but {self.output!r}"
        )
        if self._over:
            self._conditions.fail()
        return waiting

    def end(self) -> Deferred[int | None]:
        """Wait until it has ended by itself, for ``PATIENCE`` at most."""
        # A time-out must not end ``ended`` itself: ``stop`` still has to kill the process and wait for its end.
        waiting: Deferred[int | None] = Deferred()

        def pass_on(status: int | None) -> int | None:
            if not waiting.called:
                waiting.callback(status)
            return status

        self.ended.addCallback(pass_on)
        if not waiting.called:
            waiting.addTimeout(PATIENCE, self._clock)
        return waiting

    async def stop(self, signal: str = "KILL") -> int | None:
        """End it with *signal*, unless it has ended."""
        if not self._over:
            self.process.signalProcess(signal)
            return await self.end()
        return None

    def text(self) -> str:
        """Return its output, with each line end as a single character."""
        return self.output.decode(errors="replace").replace("\r\n", "\n")


class Talker(Protocol):
    """A client on a socket of the test's own."""

    def __init__(self, nick: str, clock: IReactorTime) -> None:
        self.nick = nick
        self.seen = b""
        self._is_lost = False
        self._conditions = Conditions(clock)

    def say(self, *lines: str) -> None:
        """Send whole lines."""
        self.tcp.write("".join(line + "\n" for line in lines).encode())

    @property
    def tcp(self) -> Any:  # noqa: ANN401 -- no interface has all methods that the tests use
        """The transport."""
        return self.transport

    def stop_reading(self) -> None:
        """Read nothing until ``read_on``."""
        self.tcp.pauseProducing()

    def read_on(self) -> None:
        """Read again."""
        self.tcp.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
        self._conditions.check()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        self._conditions.check()

    @property
    def lost(self) -> Deferred[None]:
        """Fires when the connection is gone; it fails after ``PATIENCE``."""
        return self._conditions.add(lambda: self._is_lost, lambda: f"{self.nick} is still connected")

    async def until(self, text: str) -> None:
        """Wait until *text* has been received."""
        await self.when(lambda: text.encode() in self.seen)

    async def lines_seen(self, count: int) -> None:
        """Wait until *count* more lines have been received."""
        wanted = self.seen.count(b"\n") + count
        await self.when(lambda: self.seen.count(b"\n") >= wanted)

    def text(self) -> str:
        """Return everything received, with each line end as a single character."""
        return self.seen.decode().replace("\r\n", "\n")

    def whole_lines(self) -> list[str]:
        """Return all received lines, without an unfinished last one."""
        return self.seen.decode().split("\r\n")[:-1]

    def when(self, is_true: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires once *is_true* after an input; it fails after ``PATIENCE``."""
        return self._conditions.add(is_true, lambda: f"{self.nick} has seen only {self.seen[-1000:]!r}")


class Given(ServerFactory):
    """A factory that returns an existing protocol."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, address: IAddress | None) -> Protocol:
        return self._protocol


def make_narrow(connection: socket.socket) -> None:
    """Let the system hold little of the data that *connection* does not read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # the sender's system would hold megabytes


def connect_narrow(reactor: object, port: int, protocol: Protocol) -> None:
    """Connect *protocol* to *port* with small socket buffers."""
    with socket.socket() as connection:
        make_narrow(connection)
        connection.connect(("127.0.0.1", port))
        connection.setblocking(False)
        cast(IReactorSocket, reactor).adoptStreamConnection(connection.fileno(), socket.AF_INET, Given(protocol))


class Programs:
    """Starts programs that end with the test."""

    def __init__(self, reactor: object, folder: Path) -> None:
        self.folder = folder
        self.reactor = reactor
        self._all: list[Program] = []
        self._rooms: list[Room] = []
        self._talkers: list[Talker] = []

    @property
    def clock(self) -> IReactorTime:
        """The clock of all time-outs."""
        return cast(IReactorTime, self.reactor)

    def run(
        self,
        *command: str,
        pty: bool = False,
        environment: Mapping[str, str] | None = None,
        descriptors: Mapping[int, int] | None = None,
    ) -> Program:
        """Start *command* in the test's folder.

        It gets a terminal of its own if *pty*, the additional *environment*, and those of this process's files that
        *descriptors* gives by its numbers.
        """
        program = Program(command[0], self.clock)
        env = {**self._environment(), **(environment or {})}
        files: dict[int, int | str] | None = {0: "w", 1: "r", 2: "r", **descriptors} if descriptors else None
        cast(IReactorProcess, self.reactor).spawnProcess(
            program, command[0], command, env=env, path=str(self.folder), usePTY=pty, childFDs=files
        )
        self._all.append(program)
        return program

    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return {**os.environ, **home, "TERM": "dumb", "PYTHONUNBUFFERED": "1"}

    def own(self, program: Program) -> None:
        """End *program* with the test."""
        self._all.append(program)

    def start(
        self,
        *options: str,
        port: int | str = 0,
        command: Sequence[str] = (TWISTD,),
        environment: Mapping[str, str] | None = None,
        descriptors: Mapping[int, int] | None = None,
    ) -> Program:
        """Start the installed server; *command* runs twistd. See ``run`` for *environment* and *descriptors*.

        Without *command*, *descriptors* and variables of Python, the server comes from the zygote, if this is Linux.
        """
        arguments = ("-n", "--pidfile=", "broadcast", "--port", str(port), *options)
        changed = {**(environment or {})}
        is_usual = command == (TWISTD,) and not descriptors and not any(name.startswith("PYTHON") for name in changed)
        if sys.platform == "linux" and is_usual:
            program = Program(TWISTD, self.clock)
            environment = {**self._environment(), **changed}
            ForkedProcess(self.reactor, TWISTD, (TWISTD, *arguments), environment, str(self.folder), program)  # type: ignore[no-untyped-call]
            self._all.append(program)
            return program
        return self.run(*command, *arguments, environment=environment, descriptors=descriptors)

    async def server(self, *options: str, **how: Any) -> Server:  # noqa: ANN401 -- the arguments of ``start``
        """Start the installed server, and wait until it listens. See ``start``."""
        program = self.start(*options, **how)
        await program.until("Listening on 127.0.0.1 port ")
        listening = re.search(rb"Listening on 127\.0\.0\.1 port (\d+)", program.output)
        assert listening is not None
        return Server(program, int(listening[1]))

    def room(self, *options: str) -> int:
        """Start a server in this process, without a journal on disk, and return its port.

        A process of its own takes about a second to start. Use ``server`` if the test is about that process.
        """
        parsed = Options()
        parsed.parseOptions(["--port", "tcp:0:interface=127.0.0.1", "--ephemeral", *options])
        service = makeService(parsed)
        # The signals and the garbage collector of this process are pytest's.
        service._context = replace(service._context, filter_shutdown_signals=lambda: None, limit_gc_pauses=lambda: None)
        self._rooms.append(service)
        service.privilegedStartService()
        service.startService()
        (port,) = service._ports
        return cast(IPv4Address, port.getHost()).port

    async def talker(self, port: int, nick: str = "") -> Talker:
        """Connect a client with *nick*, or without a nickname."""
        (talker,) = await self.talkers(port, nick)
        return talker

    async def talkers(self, port: int, *nicks: str, narrow: bool = False) -> list[Talker]:
        """Connect clients, at the same time. See ``make_narrow`` for *narrow*."""
        talkers = [Talker(nick, self.clock) for nick in nicks]
        await gatherResults([
            Deferred.fromCoroutine(self.connect(port, talker, narrow=narrow)) for talker in talkers
        ])  # fmt: skip
        return talkers

    async def connect(self, port: int, talker: Talker, *, narrow: bool = False) -> None:
        """Connect *talker* and take its nickname, if it has one. See ``make_narrow`` for *narrow*."""
        self._talkers.append(talker)
        if narrow:
            connect_narrow(self.reactor, port, talker)
        else:
            endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port)
            await connectProtocol(endpoint, talker)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        if talker.nick:
            talker.say(talker.nick)
            await talker.until(f"You are {talker.nick}.")

    async def stop(self) -> None:
        """End all connections, programs and servers."""
        for talker in self._talkers:
            if talker.transport is not None:
                talker.tcp.abortConnection()
                await talker.lost
        for program in self._all:
            await program.stop()
        for room in self._rooms:
            await room.stopService()


class Server:
    """A running server."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    @property
    def pid(self) -> int:
        """The number of its process."""
        return cast(int, self.program.process.pid)
