"""The server with a log that nobody reads, and with signals that nobody expects. Nobody in the room notices."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.real.zygote import start_server

LONG = bool(os.environ.get("BROADCAST_LONG"))
TIMEOUT = 60
"""Seconds after which a test gives up waiting for another process."""
TWISTD = str(Path(sys.executable).with_name("twistd"))
DOWN = b" * The server is going down.\r\n"
VISITS = 60
"""Number of visits that log more than any of the small buffers of these tests holds."""


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def wait_until(condition: Callable[[], object], text: Callable[[], str] = str) -> None:
    deadline = monotonic() + TIMEOUT
    while not condition():
        assert monotonic() < deadline, text()
        sleep(0.01)


class Room:
    """A server on a unix socket in the current directory, and connections to it."""

    path = "chat.sock"

    def command(self, *options: str, twistd: tuple[str, ...] = ("-n", "--pidfile=")) -> list[str]:
        return [TWISTD, *twistd, "broadcast", "--ephemeral", "--port", f"unix:{self.path}", *options]

    def connect(self) -> socket.socket:
        """Connect as soon as the server listens."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)

        def connected() -> bool:
            try:
                connection.connect(self.path)
            except OSError:
                return False
            return True

        wait_until(connected)
        return connection

    def join(self, nick: str) -> socket.socket:
        connection = self.connect()
        connection.sendall(f"{nick}\n".encode())
        read_until(connection, b"quit leaves.\r\n")
        return connection

    def visit(self, count: int) -> None:
        """Come and go, which logs two lines each."""
        for number in range(count):
            with self.connect() as visitor:
                visitor.sendall(f"visitor{number}\nquit\n".encode())
                read_until(visitor, b"Goodbye, visitor%d.\r\n" % number)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = connection.recv(65536)
        assert data, received
        received += data
    return received


@pytest.fixture
def room() -> Room:
    return Room()


class Process:
    """The process of a server, which the test has started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.status: int | None = None
        """Its exit status, or minus the number of the signal that has ended it."""

    def send_signal(self, number: int) -> None:
        os.kill(self._pid, number)

    def has_ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def wait(self) -> int | None:
        wait_until(self.has_ended)
        return self.status


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers, which end with the test."""
    processes: list[Process] = []

    def start(command: list[str], output: int, **options: object) -> Process:
        if options:
            popen = subprocess.Popen(command, stdout=output, stderr=output, **options)  # type: ignore[call-overload]  # noqa: S603 -- the test's own text
            popen.returncode = 0  # so that it does not warn about a process that still runs
            processes.append(Process(popen.pid))
        else:
            processes.append(Process(start_server(command, os.environ, str(Path.cwd()), output)))
        return processes[-1]

    yield start
    for process in processes:
        if not process.has_ended():
            process.send_signal(signal.SIGKILL)
        process.wait()


# Nobody reads the log


@pytest.fixture(params=["pipe", "terminal", "stopped terminal", "full disk", "closed pipe"])
def unread(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return a descriptor for the standard output that accepts little or nothing."""
    others: list[int] = []
    if request.param == "full disk":
        if not Path("/dev/full").exists():
            pytest.skip("there is no /dev/full here")
        descriptor = os.open("/dev/full", os.O_WRONLY)
    elif "terminal" in request.param:
        master, descriptor = pty.openpty()
        others.append(master)
        if "stopped" in request.param:
            termios.tcflow(descriptor, termios.TCOOFF)  # Ctrl-S
    else:
        reader, descriptor = os.pipe()
        if request.param == "pipe":
            others.append(reader)
            os.set_blocking(descriptor, False)
            while True:
                try:
                    os.write(descriptor, b"x" * 4096)
                except BlockingIOError:
                    break
            os.set_blocking(descriptor, True)
        else:
            os.close(reader)
    yield descriptor
    for other in (descriptor, *others):
        os.close(other)


@pytest.mark.parametrize("log_format", ["text", "json"] if LONG else ["json"])
def test_log_that_nobody_reads_delays_neither_the_room_nor_the_end(
    room: Room, start: Start, unread: int, log_format: str
) -> None:
    server = start(room.command("--log-format", log_format), unread)
    with room.join("ann") as ann, room.join("bob") as bob:
        room.visit(VISITS)
        ann.sendall(b"still here\n")
        read_until(bob, b"ann: still here\r\n")
        server.send_signal(signal.SIGTERM)
        read_until(bob, DOWN)
    assert server.wait() == -signal.SIGTERM


def test_line_that_the_encoding_lacks_is_logged_with_escapes(room: Room, start: Start) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with Path("out").open("wb") as output:
        server = start(room.command("--unicode-nicknames"), output.fileno(), env=environment)
    with room.connect() as person:
        person.sendall("zoë\n/quit müde\n".encode())
        read_until(person, "Goodbye, zoë.\r\n".encode())
    server.send_signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    log = Path("out").read_bytes()
    assert rb"] zo\xeb joined from a local socket" in log
    assert rb"] zo\xeb left: m\xfcde (a local socket)" in log
    assert log.endswith(b"Server Shut Down.\n"), "the last lines are written, too"


# Signals


@pytest.fixture
def daemon(room: Room) -> Iterator[Callable[..., int]]:
    """Start a daemon, which ends with the test, and return its process number."""

    def start(*options: str, prefix: tuple[str, ...] = ()) -> int:
        done = subprocess.run(  # noqa: S603 -- the test's own text
            [*prefix, *room.command(*options, twistd=())], capture_output=True, check=False, timeout=TIMEOUT
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return int(Path("twistd.pid").read_text())

    yield start
    pid_file = Path("twistd.pid")
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        wait_until(lambda: not pid_file.exists())


@pytest.mark.parametrize("prefix", [(), ("nohup",)])
def test_daemon_reopens_its_log_and_reads_the_motd_again_on_sighup(
    room: Room, daemon: Callable[..., int], prefix: tuple[str, ...]
) -> None:
    motd, log = Path("motd"), Path("twistd.log")
    motd.write_text("First.\n")
    pid = daemon("--motd", "motd", prefix=prefix)
    with room.join("ann") as ann:
        motd.write_text("Second.\n")
        log.rename("twistd.log.1")
        os.kill(pid, signal.SIGHUP)
        wait_until(log.exists)
        wait_until(lambda: "SIGHUP: the log is reopened" in log.read_text(), log.read_text)

        def shown() -> bytes:
            ann.sendall(b"/motd\n/ping\n")
            return read_until(ann, b"-> pong\r\n")

        wait_until(lambda: b"Second." in shown())
        motd.unlink()
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "The message of the day stays as it is: --motd: cannot read" in log.read_text())
        assert b"Second." in shown()
        room.visit(1)
        os.kill(pid, signal.SIGTERM)
        read_until(ann, DOWN)
    wait_until(lambda: not Path("twistd.pid").exists())
    wait_until(lambda: log.read_text().endswith("Server Shut Down.\n"), log.read_text)
    assert "visitor0" in log.read_text()
    assert "visitor0" not in Path("twistd.log.1").read_text()


def test_foreground_server_ends_in_order_when_its_terminal_is_closed(room: Room) -> None:
    with Path("out").open("wb") as output:
        child, master = pty.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.execv(TWISTD, room.command())  # noqa: S606 -- the test's own text
    with room.join("ann") as ann:
        os.close(master)
        read_until(ann, DOWN)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    log = Path("out").read_text()
    assert "The terminal of the server is gone (SIGHUP)." in log
    assert log.endswith("Server Shut Down.\n")


def test_foreground_server_without_terminal_reloads_on_sighup(room: Room, start: Start) -> None:
    with Path("out").open("wb") as output:
        server = start(room.command(), output.fileno(), start_new_session=True)
    with room.join("ann") as ann:
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: the log is reopened" in Path("out").read_text())
        ann.sendall(b"quit\n")
        read_until(ann, b"Goodbye, ann.\r\n")


def test_stray_signals_are_logged_or_ignored(room: Room, start: Start) -> None:
    with Path("out").open("wb") as output:
        server = start(room.command(), output.fileno())
    with room.join("ann") as ann:
        for name in ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGXFSZ", "SIGCONT", "SIGCHLD", "SIGWINCH"):
            server.send_signal(getattr(signal, name))
        wait_until(lambda: Path("out").read_text().count("Ignoring SIG") == 2, Path("out").read_text)
        ann.sendall(b"quit\n")
        read_until(ann, b"Goodbye, ann.\r\n")


def test_log_file_is_rotated_on_sigusr1(room: Room, daemon: Callable[..., int]) -> None:
    pid = daemon()
    with room.join("ann"):
        wait_until(lambda: "ann joined" in Path("twistd.log").read_text())
        os.kill(pid, signal.SIGUSR1)
        wait_until(Path("twistd.log.1").exists)
        wait_until(Path("twistd.log").exists)
    assert "ann joined" in Path("twistd.log.1").read_text()


def test_nobody_is_timed_out_because_the_process_was_stopped(room: Room, start: Start) -> None:
    with Path("out").open("wb") as output:
        server = start(room.command("--nickname-seconds", "3", "--probe", "1", "--gone", "2"), output.fileno())
    with room.join("ann") as ann, room.connect() as bob:
        read_until(bob, b"Nickname: ")
        server.send_signal(signal.SIGSTOP)
        bob.sendall(b"bob\n")
        sleep(5)  # the time that is tested
        server.send_signal(signal.SIGCONT)
        read_until(bob, b"quit leaves.\r\n")
        bob.sendall(b"hello\n")
        read_until(ann, b"bob: hello\r\n")
        wait_until(lambda: re.search(r"The server stood still for \d+ seconds", Path("out").read_text()))
