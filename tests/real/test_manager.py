"""The server as a service: what its manager gives it and is told, and what signals do to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

PATIENCE = 60
"""How long, in seconds, anything may take that takes milliseconds; only a hang or a bug takes longer."""
TWISTD = str(Path(sys.executable).with_name("twistd"))
DOWN = b" * The server is going down.\r\n"
ALREADY = "Going down already, in 10 seconds at most."

# As systemd does: the socket is descriptor 3, and who it is for stands in the environment.
HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "broadcast.socket"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Service:
    """The installed server in a process of its own, that a manager has started."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: dict[str, str],
        socket: int | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._log = folder / "log"
        command = [*prefix, TWISTD, "-n", "--pidfile=", "broadcast", "--ephemeral", *options]
        if socket is not None:
            command = [sys.executable, "-c", HANDED_OVER, str(socket), *command]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 -- what the test says
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **environment},
                pass_fds=() if socket is None else (socket,),
            )

    def text(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def until(self, text: str) -> str:
        """Wait until it has written *text*; all that it has written."""
        end = monotonic() + PATIENCE
        while text not in (written := self.text()):
            assert self.process.poll() is None, written
            assert monotonic() < end, written
            sleep(0.01)
        return written

    def port(self) -> int:
        """The port on which it listens, once it does."""
        found = re.search(r"127\.0\.0\.1 port (\d+)", self.until(": this machine only."))
        assert found is not None
        return int(found[1])

    def stop(self) -> str:
        """End it as a manager does; what it has written."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == -signal.SIGTERM
        return self.text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services that end with the test."""
    started: list[Service] = []

    def begin(
        *options: str,
        environment: dict[str, str] | None = None,
        socket: int | None = None,
        prefix: Sequence[str] = (),
    ) -> Service:
        started.append(Service(tmp_path, *options, environment=environment or {}, socket=socket, prefix=prefix))
        return started[-1]

    yield begin
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait(PATIENCE)


@pytest.fixture(params=["a path", "an abstract name"])
def notified(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    """Where a manager listens, and how it says so."""
    if sys.platform != "linux":
        pytest.skip("there are no such service managers here")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(PATIENCE)
        if request.param == "a path":
            listening.bind(f"{folder}/notify")
            yield listening, f"{folder}/notify"
        else:
            listening.bind(f"\0broadcast-{os.getpid()}")
            yield listening, f"@broadcast-{os.getpid()}"


def come(port: int, nick: str) -> socket.socket:
    """Somebody who has taken *nick*."""
    person = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    person.sendall(f"{nick}\n".encode())
    read_until(person, b"quit leaves.\r\n")
    return person


def read_until(person: socket.socket, end: bytes) -> bytes:
    """What comes, up to *end*."""
    seen = b""
    while not seen.endswith(end):
        data = person.recv(4096)
        assert data, seen
        seen += data
    return seen


def test_manager_is_notified_of_readiness_watchdog_and_stop(
    start: Callable[..., Service], notified: tuple[socket.socket, str]
) -> None:
    manager, name = notified
    service = start("--port", "0", environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"})
    assert manager.recv(4096) == b"READY=1"
    assert "Nothing is kept" in service.text()
    with come(service.port(), "ann"):
        for count in (0, 1):  # the first may have been sent before she came
            while manager.recv(4096) != f"WATCHDOG=1\nSTATUS={count} connected.".encode():
                pass
        service.process.send_signal(signal.SIGTERM)
        while (told := manager.recv(4096)).startswith(b"WATCHDOG=1\n"):
            pass
        assert told == b"STOPPING=1\nSTATUS=Going down: 1 connected."
    assert service.process.wait(PATIENCE) == -signal.SIGTERM


def test_server_that_cannot_start_is_never_ready(
    start: Callable[..., Service], notified: tuple[socket.socket, str]
) -> None:
    manager, name = notified
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = start("--port", str(taken.getsockname()[1]), environment={"NOTIFY_SOCKET": name})
        assert service.process.wait(PATIENCE) == 1
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_port_of_the_manager_accepts_connections_during_a_restart(start: Callable[..., Service]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        number = held.getsockname()[1]
        first = start("--port", "systemd:domain=INET:index=0", socket=held.fileno())
        ann = come(number, "ann")
        assert f"Listening on 127.0.0.1 port {number}.\n" in first.text()
        first.process.send_signal(signal.SIGTERM)
        read_until(ann, DOWN)
        ann.close()
        assert first.process.wait(PATIENCE) == -signal.SIGTERM
        with socket.create_connection(("127.0.0.1", number), timeout=PATIENCE) as bob:
            bob.sendall(b"bob\n")
            second = start("--port", "systemd:domain=INET:index=0", socket=held.fileno())
            assert b"You are bob." in read_until(bob, b"quit leaves.\r\n")
        assert "Traceback" not in first.text() + second.stop()


def test_start_without_the_socket_of_the_manager_fails_in_one_line(start: Callable[..., Service]) -> None:
    service = start("--port", "systemd:domain=INET:index=0")
    assert service.process.wait(PATIENCE) == 1
    assert service.text() == (
        "broadcast: --port systemd:domain=INET:index=0 is a socket that systemd hands over, and it has handed over "
        "none of this index or name. Give it a number, or start the server through its socket unit.\n"
    )


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_later_signals_change_nothing_and_are_logged_once(
    start: Callable[..., Service], tmp_path: Path, second: signal.Signals
) -> None:
    (tmp_path / "motd").write_text(f"{'x' * 160}\n" * 100)
    service = start("--port", "0", "--motd", "motd")
    # Who does not read what they are sent has the server wait for nearly all of its time. Of small segments, the system
    # takes little.
    with socket.socket() as ann:
        ann.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ann.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        ann.settimeout(PATIENCE)
        ann.connect(("127.0.0.1", service.port()))
        ann.sendall(b"ann\n" + b"/motd\n" * 40)
        service.until("ann joined from")
        service.process.send_signal(signal.SIGTERM)
        service.until("Going down: 1 connected.")
        service.process.send_signal(second)
        service.until(ALREADY)
        service.process.send_signal(second)
    assert service.process.wait(PATIENCE) == -signal.SIGTERM
    assert service.text().count(ALREADY) == 1
    assert "Traceback" not in service.text()


def test_server_under_nohup_outlives_its_terminal_until_sigterm(
    start: Callable[..., Service],
) -> None:
    """A shell without job control lets a background job ignore SIGINT, and nohup lets it ignore SIGHUP."""
    service = start("--port", "0", prefix=("/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh"))
    port = service.port()
    service.process.send_signal(signal.SIGHUP)
    service.process.send_signal(signal.SIGINT)
    with come(port, "ann") as ann:
        service.process.send_signal(signal.SIGTERM)
        read_until(ann, DOWN)
    assert service.process.wait(PATIENCE) == -signal.SIGTERM
    assert "Traceback" not in service.text()


def test_two_signals_at_once_stop_the_server_once(start: Callable[..., Service]) -> None:
    service = start("--port", "0")
    with come(service.port(), "ann") as ann:
        service.process.send_signal(signal.SIGSTOP)
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGINT)
        service.process.send_signal(signal.SIGCONT)
        read_until(ann, DOWN)
    assert service.process.wait(PATIENCE) in (-signal.SIGTERM, -signal.SIGINT)
    assert "Traceback" not in service.text()
