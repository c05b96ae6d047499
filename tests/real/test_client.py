"""The installed client without a terminal, against a real server: every exit status, and what is kept."""

from __future__ import annotations

import errno
import json
import os
import shlex
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IListeningPort, IReactorTCP, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.real.programs import Program, Programs

CLIENT = Path(sys.executable).with_name("broadcast-client")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests speak to a Unix shell")


def shell(programs: Programs, port: int, command: str) -> Program:
    """Run *command*, in which CLIENT is the client on its way to *port*; its error output comes with its output."""
    client = f"{shlex.quote(str(CLIENT))} 127.0.0.1:{port}"
    return programs.run("/bin/sh", "-c", command.replace("CLIENT", client))


def waiting(pipe: int) -> int:
    """How many bytes are in *pipe*."""
    from fcntl import ioctl  # noqa: PLC0415 -- only Unix has it
    from termios import FIONREAD  # noqa: PLC0415 -- the same

    return int(struct.unpack("i", ioctl(pipe, FIONREAD, bytes(4)))[0])


async def history(programs: Programs, port: int) -> list[str]:
    """What is kept."""
    reader = await programs.talker(port, "historian")
    reader.say("/history 1000", "quit")
    await reader.lost
    return [line.partition("] ")[2] for line in reader.whole_lines() if line.startswith("-> #")]


Listen = Callable[[Callable[[], Protocol]], int]


@pytest_twisted.async_yield_fixture
async def listen(programs: Programs) -> AsyncIterator[Listen]:
    """Listens with a protocol of the test's own; returns the port."""
    ports: list[IListeningPort] = []

    def listening(make: Callable[[], Protocol]) -> int:
        factory = ServerFactory.forProtocol(make)
        factory.noisy = False
        reactor = cast(IReactorTCP, programs.reactor)
        ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))  # type: ignore[arg-type]  # forProtocol's type
        return cast(int, ports[-1].getHost().port)  # type: ignore[attr-defined]  # an address of any kind

    yield listening
    for port in ports:
        await maybeDeferred(port.stopListening)


class Scripted(Protocol):
    """A server that answers the first line that is posted with *last*, or is gone."""

    def __init__(self, last: bytes = b"") -> None:
        self._last = last

    @property
    def wire(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)

    def connectionMade(self) -> None:
        self.wire.write(b"Welcome.\r\nNickname: ")

    def dataReceived(self, data: bytes) -> None:
        for line in data.splitlines():
            if line == b"/receipts on":
                self.wire.write(b"-> receipts are on.\r\n")
            elif line == b"quit":
                self.wire.loseConnection()
            elif not line.startswith(b"/say "):
                self.wire.write(b" * You are " + line + b". Nobody else is here.\r\n")
            elif self._last:
                self.wire.write(self._last + b"\r\n")
            else:
                self.wire.abortConnection()


class Proxy(Protocol):
    """In front of a server; in place of the first receipt, *receipt* is called and the connection is gone."""

    def __init__(self, programs: Programs, port: int, receipt: Callable[[], object]) -> None:
        self._endpoint = TCP4ClientEndpoint(programs.reactor, "127.0.0.1", port)
        self.receipt = receipt
        self._early = b""
        self._server: Behind | None = None

    @property
    def wire(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)

    def connectionMade(self) -> None:
        made = connectProtocol(self._endpoint, Behind(self))  # type: ignore[no-untyped-call]
        made.addCallback(self._connected)

    def _connected(self, server: Behind) -> None:
        self._server = server
        server.wire.write(self._early)

    def dataReceived(self, data: bytes) -> None:
        if self._server is None:
            self._early += data
        else:
            self._server.wire.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._server is not None:
            self._server.wire.loseConnection()


class Behind(Protocol):
    """The proxy's own connection."""

    def __init__(self, front: Proxy) -> None:
        self._front = front

    @property
    def wire(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)

    def dataReceived(self, data: bytes) -> None:
        if b"-> #" in data:
            self._front.receipt()
            self._front.wire.abortConnection()
        else:
            self._front.wire.write(data)


# One shot


@ensureDeferred
async def test_text_is_posted_as_it_is_and_nothing_is_printed(programs: Programs) -> None:
    port = programs.room()
    shot = shell(programs, port, "CLIENT --nick builder --send 'quit\n\n/names'")
    assert await shot.end() == 0
    assert shot.text() == ""
    assert await history(programs, port) == ["builder: quit", "builder: /names"]


@ensureDeferred
async def test_text_is_posted_over_a_unix_socket(programs: Programs, tmp_path: Path) -> None:
    place = f"unix:{tmp_path / 'chat.sock'}"
    server = await programs.server("--ephemeral", "--port", place)
    ann = await programs.talker(server.port, "ann")
    shot = programs.run(str(CLIENT), place, "--nick", "builder", "--send", "done")
    assert (await shot.end(), shot.text()) == (0, "")
    await ann.until("builder: done\r\n")


@ensureDeferred
async def test_json_output_has_the_number_of_each_line(programs: Programs) -> None:
    port = programs.room()
    shot = shell(programs, port, "printf 'caf\\303\\251\\n\\nb' | CLIENT --nick builder --json --send -")
    assert await shot.end() == 0
    assert [json.loads(line) for line in shot.text().splitlines()] == [
        {"seq": 1, "text": "café"},
        {"seq": 2, "text": "b"},
    ]


@ensureDeferred
async def test_ten_thousand_lines_are_stored_in_order(programs: Programs) -> None:
    port = programs.room("--limits", "off")
    shot = shell(programs, port, "seq 10000 | CLIENT --nick builder --json --send -")
    assert await shot.end() == 0
    lines = [json.loads(line) for line in shot.text().splitlines()]
    assert lines == [{"seq": number, "text": str(number)} for number in range(1, 10001)]


@ensureDeferred
async def test_posting_a_text_reads_nothing_from_the_standard_input(programs: Programs) -> None:
    port = programs.room()
    loop = 'printf "a\\nb\\nc\\n" | while read x; do CLIENT --nick builder --send "$x" || exit; done'
    assert await shell(programs, port, loop).end() == 0
    assert await history(programs, port) == ["builder: a", "builder: b", "builder: c"]


@pytest.mark.parametrize(
    "arguments", ["--send ''", "--json", "--nick ''", "--no-such-option", "--send $(printf '%05000d')"]
)
@ensureDeferred
async def test_wrong_usage_is_status_1(programs: Programs, arguments: str) -> None:
    wrong = shell(programs, 1, f"CLIENT {arguments}")
    assert await wrong.end() == 1
    assert wrong.text().startswith("broadcast-client: ")
    assert wrong.text().count("\n") == 1


@pytest.mark.parametrize("arguments", ["--send x", "--send -", ""])
@ensureDeferred
async def test_no_connection_is_status_2(programs: Programs, listen: Listen, arguments: str) -> None:
    nobody = shell(programs, 1, f"CLIENT {arguments} < /dev/null")
    assert await nobody.end() == 2
    assert nobody.text() == "broadcast-client: no connection to 127.0.0.1:1: Connection refused\n"


@pytest.mark.parametrize("arguments", ["--send x", ""])
@ensureDeferred
async def test_rejected_nickname_of_the_option_is_status_3(programs: Programs, arguments: str) -> None:
    port = programs.room()
    await programs.talker(port, "ann")
    refused = shell(programs, port, f"CLIENT --nick ann {arguments} < /dev/null > /dev/null")
    assert await refused.end() == 3
    assert refused.text() == "broadcast-client: the nickname was refused: ann is taken.\n"


@ensureDeferred
async def test_user_name_that_is_taken_gets_digits(programs: Programs) -> None:
    port = programs.room()
    await programs.talker(port, "ann")
    assert await shell(programs, port, "USER=ann CLIENT --send x").end() == 0
    assert await history(programs, port) == ["ann2: x"]


@ensureDeferred
async def test_connection_lost_before_the_receipt_is_status_4(programs: Programs, listen: Listen) -> None:
    shot = shell(programs, listen(Scripted), "CLIENT --nick ann --send 'one\ntwo'")
    assert await shot.end() == 4
    assert shot.text().startswith("broadcast-client: the connection to 127.0.0.1:")
    assert shot.text().endswith("; 0 of 2 lines are known to be kept\n")


@ensureDeferred
async def test_line_without_receipt_is_stored_once_each_time_it_is_sent(programs: Programs, listen: Listen) -> None:
    room = programs.room()
    port = listen(lambda: Proxy(programs, room, lambda: None))
    assert await shell(programs, port, "CLIENT --nick ann --send once").end() == 4
    before = await history(programs, room)
    assert before == ["ann: once"], "kept, though nobody could tell"
    assert await shell(programs, room, "CLIENT --nick ann --send once").end() == 0
    assert await history(programs, room) == [*before, "ann: once"]


@ensureDeferred
async def test_server_killed_before_the_receipt_stores_the_line_at_most_once(
    programs: Programs, listen: Listen
) -> None:
    server = await programs.server()
    port = listen(lambda: Proxy(programs, server.port, lambda: server.program.process.signalProcess("KILL")))
    assert await shell(programs, port, "CLIENT --nick ann --send once").end() == 4
    await server.program.end()
    again = await programs.server()
    before = await history(programs, again.port)
    assert before in ([], ["ann: once"])
    assert await shell(programs, again.port, "CLIENT --nick ann --send once").end() == 0
    assert await history(programs, again.port) == [*before, "ann: once"]


@ensureDeferred
async def test_rejected_line_is_status_5(programs: Programs, listen: Listen) -> None:
    port = listen(lambda: Scripted(b"-> Error: not kept: the disk is full."))
    shot = shell(programs, port, "CLIENT --nick ann --send one")
    assert await shot.end() == 5
    assert shot.text() == "broadcast-client: not kept: the disk is full; 0 of 1 line is known to be kept\n"


# In a pipe


@pytest.mark.parametrize("command", ["cat notes | CLIENT --nick ann | cat", "CLIENT --nick ann < notes"])
@ensureDeferred
async def test_piped_lines_are_said_and_every_answer_is_printed(programs: Programs, command: str) -> None:
    """The first with Twisted's own way to read and write, the second with threads, as on Windows."""
    (programs.folder / "notes").write_text("one\n/names\nlast words")
    port = programs.room()
    ann = shell(programs, port, command)
    assert await ann.end() == 0
    assert ann.text() == (
        "Welcome to Broadcast.\n"
        "Nickname:  * You are ann. Nobody else is here. /help lists the commands, quit leaves.\n"
        "-> 1 here: ann\n * Goodbye, ann.\n"
    )
    assert await history(programs, port) == ["ann: one", "ann: last words"]


@ensureDeferred
async def test_output_file_has_everything_until_the_server_stops(programs: Programs) -> None:
    server = await programs.server("--ephemeral")
    bob = await programs.talker(server.port, "bob")
    logger = shell(programs, server.port, "CLIENT --nick logger > log")
    await bob.until("logger joined.")
    bob.say("hi")
    bob.say("/names")
    await bob.until("-> 2 here")
    await server.program.stop("TERM")
    assert await logger.end() == 4
    assert logger.text().startswith("broadcast-client: the connection to 127.0.0.1:")
    log = (programs.folder / "log").read_bytes()
    assert b"bob: hi\r\n" in log
    assert log.endswith(b" * The server is going down.\r\n")


@ensureDeferred
async def test_closed_output_pipe_ends_the_client_without_a_message(programs: Programs) -> None:
    port = programs.room()
    piped = shell(programs, port, "{ CLIENT --nick ann; echo status $? >&2; } | head -1")
    await piped.until("status 141\n")
    assert await piped.end() == 0
    assert "Traceback" not in piped.text()
    assert piped.text().count("\n") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("how", ["--nick ann < notes", "--nick ann --json --send x", "--help"])
@ensureDeferred
async def test_full_disk_is_status_6_with_the_reason(programs: Programs, how: str) -> None:
    (programs.folder / "notes").write_text("one\n/names\n")
    port = programs.room()
    # (Where Python does not buffer, argparse does not care whether --help can be written.)
    full = shell(programs, port, f"PYTHONUNBUFFERED= CLIENT {how} > /dev/full")
    assert await full.end() == 6
    reason = os.strerror(errno.ENOSPC)
    assert full.text() == f"broadcast-client: the standard output cannot be written: {reason}\n"


@ensureDeferred
async def test_ctrl_c_is_status_130_without_a_message(programs: Programs) -> None:
    port = programs.room()
    ann = programs.run(str(CLIENT), f"127.0.0.1:{port}", "--nick", "ann")
    await ann.until("You are ann.")
    ann.process.signalProcess("INT")
    assert await ann.end() == 130
    assert "Traceback" not in ann.text()


@ensureDeferred
async def test_pipes_are_blocking_again_afterwards(programs: Programs) -> None:
    port = programs.room()
    check = f"{shlex.quote(sys.executable)} -c 'import os; print(os.get_blocking(0), os.get_blocking(1))'"
    both = shell(programs, port, f"printf x | {{ CLIENT --nick ann; {check}; }} | cat")
    assert await both.end() == 0
    assert both.text().endswith("\nTrue True\n")


@ensureDeferred
async def test_client_works_with_closed_standard_descriptors(programs: Programs) -> None:
    port = programs.room()
    assert await shell(programs, port, "CLIENT --nick ann --send x <&- >&- 2>&-").end() == 0
    assert await shell(programs, port, "CLIENT --nick ann <&- >&- 2>&-").end() == 0


@ensureDeferred
async def test_non_blocking_input_is_waited_for(programs: Programs) -> None:
    port = programs.room()
    unblock = f"{shlex.quote(sys.executable)} -c 'import os; os.set_blocking(0, False)'"
    client = shell(programs, port, f"{{ {unblock}; CLIENT --nick ann --json --send -; }}")
    talker = await programs.talker(port, "bob")
    await talker.until("ann joined.")
    client.write("late\n")
    await client.until('{"seq": 1, "text": "late"}')
    client.close_input()
    assert await client.end() == 0


@ensureDeferred
async def test_second_signal_ends_a_client_whose_output_nobody_reads(programs: Programs) -> None:
    port = programs.room("--limits", "off")
    (programs.folder / "notes").write_text(("x" * 1000 + "\n") * 100)
    unread = programs.folder / "unread"
    os.mkfifo(unread)
    descriptor = os.open(unread, os.O_RDWR)
    try:
        client = shell(programs, port, "exec CLIENT --nick ann --json --send - < notes > unread")
        ended = client.end()
        seen = 0
        while not ended.called and (not seen or waiting(descriptor) > seen):  # until no more fits into it
            seen = waiting(descriptor)
            await deferLater(programs.clock, 0.5)
        while not ended.called:
            with suppress(ProcessExitedAlready):
                client.process.signalProcess("TERM")
            await deferLater(programs.clock, 0.1)  # two at once would be one
        # The signal's own end; 143 where this machine was so slow that it was not blocked yet.
        assert await ended in {None, 143}
    finally:
        os.close(descriptor)


@ensureDeferred
async def test_ignored_sigint_stays_ignored(programs: Programs) -> None:
    port = programs.room()
    client = shell(programs, port, "trap '' INT; exec CLIENT --nick ann")
    await client.until("You are ann.")
    client.process.signalProcess("INT")
    client.write("still here\nquit\n")
    assert await client.end() == 0


@pytest.mark.parametrize(("signal", "status"), [("INT", 130), ("TERM", 143)])
@pytest.mark.parametrize("how", [("--send", "-", "--json"), ()], ids=["one shot", "pipe"])
@ensureDeferred
async def test_signal_ends_the_client_at_any_time(
    programs: Programs, signal: str, status: int, how: tuple[str, ...]
) -> None:
    port = programs.room()
    client = programs.run(str(CLIENT), f"127.0.0.1:{port}", "--nick", "ann", *how)
    client.write("one\n")
    await client.until('{"seq": 1, "text": "one"}' if how else " * You are ann.")
    client.process.signalProcess(signal)
    assert await client.end() == status
    assert "Traceback" not in client.text()
    assert "broadcast-client: " not in client.text()
