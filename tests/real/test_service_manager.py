"""The server under a service manager: its socket, its notifications, and its signals."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from tests.real.programs import PATIENCE, TWISTD, Programs, Server, Talker

DOWN = " * The server is going down.\r\n"
ALREADY = "Going down already, in 10 seconds at most."
SOCKET_UNIT = """
import os, sys
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "broadcast.socket"}
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Start twistd as systemd does: the environment says that descriptor 3 is for this process."""


async def check_stop(server: Server, *signals: signal.Signals) -> None:
    """Check that the server ends by one of *signals*."""
    reason = await server.program.end()
    assert reason is None, "a signal ends it"
    assert server.program.signal in signals
    assert "Traceback" not in server.program.text()


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    """The socket of a service manager, and its name in the environment."""
    if sys.platform != "linux":
        pytest.skip("there are no such service managers here")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(PATIENCE)
        name = f"{folder}/notify" if request.param == "a path" else f"@broadcast-{os.getpid()}"
        listening.bind(name.replace("@", "\0"))
        yield listening, name


@ensureDeferred
async def test_manager_is_notified_of_readiness_watchdog_and_stop(
    programs: Programs, manager: tuple[socket.socket, str]
) -> None:
    listening, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"}
    server = await programs.server("--ephemeral", environment=environment)
    assert listening.recv(4096) == b"READY=1"
    await programs.talker(server.port, "ann")
    for count in (0, 1):  # The first may have been sent before she came.
        while listening.recv(4096) != f"WATCHDOG=1\nSTATUS={count} connected.".encode():
            pass
    server.program.process.signalProcess("TERM")
    while (notification := listening.recv(4096)).startswith(b"WATCHDOG=1\n"):
        pass
    assert notification == b"STOPPING=1\nSTATUS=Going down: 1 connected."
    await check_stop(server, signal.SIGTERM)


@ensureDeferred
async def test_server_that_cannot_start_is_never_ready(programs: Programs, manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await programs.start("--ephemeral", port=port, environment={"NOTIFY_SOCKET": name}).end() == 1
    listening.settimeout(0)
    with pytest.raises(BlockingIOError):
        listening.recv(4096)


@ensureDeferred
async def test_port_of_the_manager_accepts_connections_during_a_restart(programs: Programs) -> None:
    command = (sys.executable, "-c", SOCKET_UNIT, TWISTD)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port, descriptors = held.getsockname()[1], {3: held.fileno()}
        unit = {"port": "systemd:domain=INET:index=0", "command": command, "descriptors": descriptors}
        first = await programs.server("--ephemeral", **unit)
        ann = await programs.talker(port, "ann")
        assert f"Listening on 127.0.0.1 port {port}.\n" in first.program.text()
        first.program.process.signalProcess("TERM")
        await ann.until(DOWN)
        await check_stop(first, signal.SIGTERM)
        bob = Talker("bob", programs.clock)
        joined = Deferred.fromCoroutine(programs.connect(port, bob))
        second = await programs.server("--ephemeral", **unit)
        await joined
        second.program.process.signalProcess("TERM")
        await check_stop(second, signal.SIGTERM)


@pytest.mark.parametrize("second", ["TERM", "INT"])
@ensureDeferred
async def test_later_signals_change_nothing_and_are_logged_once(programs: Programs, second: str) -> None:
    (programs.folder / "motd").write_text(f"{'x' * 160}\n" * 100)
    server = await programs.server("--ephemeral", "--motd", "motd")
    ann = Talker("ann", programs.clock)
    await programs.connect(server.port, ann, narrow=True)
    ann.stop_reading()  # The server then waits for nearly all of its time.
    ann.say(*["/motd"] * 40, "/away")
    bob = await programs.talker(server.port, "bob")
    bob.say("/ping")
    await bob.until("-> pong")
    server.program.process.signalProcess("TERM")
    await server.program.until("Going down: 2 connected.")
    server.program.process.signalProcess(second)
    await server.program.until(ALREADY)
    server.program.process.signalProcess(second)
    await check_stop(server, signal.SIGTERM)
    assert server.program.text().count(ALREADY) == 1


@ensureDeferred
async def test_server_under_nohup_outlives_its_terminal_until_sigterm(programs: Programs) -> None:
    """A shell without job control lets a background job ignore SIGINT, and nohup lets it ignore SIGHUP."""
    command = ("/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh", TWISTD)
    server = await programs.server("--ephemeral", command=command)
    server.program.process.signalProcess("HUP")
    server.program.process.signalProcess("INT")
    ann = await programs.talker(server.port, "ann")
    server.program.process.signalProcess("TERM")
    await ann.until(DOWN)
    await check_stop(server, signal.SIGTERM)
    assert "SIGHUP" not in server.program.text()


@ensureDeferred
async def test_two_signals_at_once_stop_the_server_once(programs: Programs) -> None:
    server = await programs.server("--ephemeral")
    ann = await programs.talker(server.port, "ann")
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        os.kill(server.pid, number)
    await ann.until(DOWN)
    await check_stop(server, signal.SIGTERM, signal.SIGINT)
