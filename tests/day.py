"""``python -m tests.day``: an hour of faults, one after the other, while 50 people talk to the installed daemon.

At the end, each confirmed line must be in the journal, and the log must name each fault.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from statistics import quantiles
from tempfile import mkdtemp
from time import monotonic, strftime
from typing import NamedTuple

from benchmarks.processes import free_port

PEOPLE = 50
PAUSE = 0.5
"""Seconds between two lines of one person."""
PATIENCE = 90.0
"""Maximum number of seconds for anything that takes less than a second, or for a summary of a minute in the log."""
DISK = "24m"
"""Size of the file system that holds the journal and the log."""
FLOODERS = 60
"""Number of connections at a time in the floods."""
SLOW_READERS = 20

DAEMON = """
import signal, sys, time
real, ahead = time.time, 0
def jump(number, frame):
    global ahead
    ahead += 3600 if number == signal.SIGRTMIN else -3600
time.time = lambda: real() + ahead
signal.signal(signal.SIGRTMIN, jump)
signal.signal(signal.SIGRTMIN + 1, jump)
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""
"""The installed server. SIGRTMIN sets its wall clock an hour ahead, SIGRTMIN+1 sets it back."""


class DayError(Exception):
    """A promise of the server that did not hold. The text says which."""


class Daemon:
    """The server in the background, with its log and journal on a small file system of its own in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._metrics_port = free_port()
        self._disk = folder / "disk"
        self._disk.mkdir()
        mount = f'mount -t tmpfs -o size={DISK} tmpfs "$0" && echo mounted && exec sleep infinity'
        unshare = ["unshare", "-rm", "sh", "-c", mount, str(self._disk)]
        self._holder = subprocess.Popen(unshare, stdout=subprocess.PIPE)  # noqa: S603 - a fixed command
        if self._holder.stdout is None or self._holder.stdout.readline() != b"mounted\n":
            raise DayError("no file system can be mounted here: unshare -rm must be allowed")
        self.disk = Path(f"/proc/{self._holder.pid}/root{self._disk}")
        self.pid = 0

    def start(self) -> None:
        """Start the server and wait until its port answers."""
        options = ["--port", f"tcp:{self.port}:interface=127.0.0.1", "--data", f"{self._disk}/data", "--name", "Day"]
        options += ["--metrics", f"tcp:{self._metrics_port}:interface=127.0.0.1"]
        enter = ["nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials", f"--wd={self._disk}"]
        command = [*enter, sys.executable, "-c", DAEMON, "broadcast", *options]
        subprocess.run(command, check=True, timeout=PATIENCE)  # noqa: S603 - a fixed command
        self.pid = int((self.disk / "twistd.pid").read_text())
        end = monotonic() + PATIENCE
        while monotonic() < end:
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
        raise DayError("the port of the server does not answer")

    def send_signal(self, number: int) -> None:
        """Send the signal *number* to the server."""
        os.kill(self.pid, number)

    def is_running(self) -> bool:
        """Return whether the process exists."""
        return Path(f"/proc/{self.pid}").exists()

    async def wait_for_end(self) -> None:
        """Wait until the process has ended."""
        await until(lambda: not self.is_running(), "the end of the server")

    def is_healthy(self) -> bool:
        """Return whether ``/healthz`` answers with status 200."""
        with socket.create_connection(("127.0.0.1", self._metrics_port), PATIENCE) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(4096).split()[1] == b"200"

    def log(self) -> str:
        """Return the log from its beginning, with the files that were rotated."""
        files = sorted(self.disk.glob("twistd.log*"), key=lambda path: path.stat().st_mtime)
        return "".join(path.read_text(errors="replace") for path in files)

    def stored(self) -> dict[int, str]:
        """Return the text of each stored line by its number. The server must have ended."""
        copy = shutil.copytree(self.disk / "data", self._folder / "data")  # SQLite cannot follow a path in /proc
        with closing(sqlite3.connect(copy / "journal.sqlite")) as journal:
            return dict(journal.execute("SELECT seq, text FROM events"))

    def close(self) -> None:
        """End the server, if it runs, and unmount its file system."""
        with suppress(OSError):
            if self.pid:
                self.send_signal(signal.SIGCONT)
                self.send_signal(signal.SIGKILL)
        self._holder.kill()
        self._holder.wait()


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def until(is_true: Callable[[], bool], what: str) -> None:
    """Wait until *is_true*, or raise ``DayError``, which names *what* was expected."""
    end = monotonic() + PATIENCE
    while not is_true():
        if monotonic() > end:
            raise DayError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(0.05)


class Person:
    """A talker with receipts. The next line follows the answer to the last one."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.confirmed: dict[int, str] = {}
        """Text by number of the lines that the server has confirmed."""
        self.errors: list[str] = []
        """Reasons why lines were not kept."""
        self.delays: list[float] = []
        """Seconds until each confirmation."""
        self.losses = 0
        """Number of lost connections."""
        self._port = port
        self._count = 0
        self._heard: dict[str, int] = {}
        """Number of the last line heard, by author."""

    async def talk(self) -> None:
        """Talk until cancelled. A lost connection is opened again."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._visit()
            self.losses += 1
            await asyncio.sleep(1)

    async def _visit(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            answers: asyncio.Queue[str] = asyncio.Queue()
            writer.write(f"{self.name}\n/receipts on\n".encode())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(reader, answers))
                tasks.create_task(self._say_lines(writer, answers))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, answers: asyncio.Queue[str]) -> None:
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().rstrip()
            if line.startswith("-> "):
                answers.put_nowait(line)
            elif said := re.fullmatch(r"(p\d+): \1 says (\d+)", line):
                author, number = said[1], int(said[2])
                if number <= self._heard.get(author, 0):
                    raise DayError(f"{self.name} heard {line!r} after {self._heard[author]}")
                self._heard[author] = number

    async def _say_lines(self, writer: asyncio.StreamWriter, answers: asyncio.Queue[str]) -> None:
        while await answers.get() != "-> receipts are on.":
            pass
        while True:
            self._count += 1
            text = f"{self.name} says {self._count}"
            began = monotonic()
            writer.write(f"{text}\n".encode())
            answer = await answers.get()
            if receipt := re.fullmatch(r"-> #(\d+)", answer):
                if int(receipt[1]) in self.confirmed:
                    raise DayError(f"{self.name} received {answer!r} twice")
                self.confirmed[int(receipt[1])] = text
                self.delays.append(monotonic() - began)
            else:
                self.errors.append(answer)
            await asyncio.sleep(PAUSE)


class Fault(NamedTuple):
    """One part of the day."""

    title: str
    happen: Callable[[Day], Awaitable[None]]
    log_line: str
    """A regular expression that the log must match because of it."""


class Day:
    """The daemon, the people, and the faults."""

    def __init__(self, daemon: Daemon, seconds: float) -> None:
        self.daemon = daemon
        self.people = [Person(f"p{number}", daemon.port) for number in range(PEOPLE)]
        self.hold = seconds / len(FAULTS) / 2
        """Seconds that each fault lasts, and each pause after it."""
        self._problems: list[str] = []

    async def run(self) -> list[str]:
        """Let everything happen. Return the promises that did not hold."""
        self.daemon.start()
        async with asyncio.TaskGroup() as tasks:
            talkers = [tasks.create_task(person.talk()) for person in self.people]
            await self._recover()
            for fault in FAULTS:
                await self._run_fault(fault)
            for talker in talkers:
                talker.cancel()
        self.daemon.send_signal(signal.SIGTERM)
        await self.daemon.wait_for_end()
        self._check_end()
        return self._problems

    async def _run_fault(self, fault: Fault) -> None:
        for person in self.people:
            person.delays.clear()
            person.errors.clear()
            person.losses = 0
        confirmed = self._confirmed()
        began = monotonic()
        try:
            await fault.happen(self)
            await self._recover()
            await until(lambda: bool(re.search(fault.log_line, self.daemon.log())), f"{fault.log_line!r} in the log")
        except DayError as error:
            self._problems.append(f"{fault.title}: {error}")
        if not self.daemon.is_running():
            raise DayError(f"{fault.title}: the server has ended")
        delays = [delay for person in self.people for delay in person.delays]
        errors = [error for person in self.people for error in person.errors]
        p99 = f"{quantiles(delays, n=100)[98] * 1000:.0f} ms" if len(delays) > 1 else "-"
        losses = sum(person.losses for person in self.people)
        _write(
            f"{fault.title:24}{monotonic() - began:6.0f} s{self._confirmed() - confirmed:8} lines confirmed, "
            f"p99 {p99:>8}, {len(errors)} not kept, {losses} connections lost"
        )
        for reason in sorted(set(errors)):
            _write(f"    {reason}")
        await asyncio.sleep(self.hold)

    def _confirmed(self) -> int:
        return sum(len(person.confirmed) for person in self.people)

    async def _recover(self) -> None:
        """Wait until a new line of each person is confirmed, and the server is healthy."""
        counts = [len(person.confirmed) for person in self.people]
        await until(
            lambda: all(len(person.confirmed) > count for person, count in zip(self.people, counts, strict=True)),
            "a line of each person is confirmed",
        )
        await until(self.daemon.is_healthy, "/healthz is well again")

    async def expect_not_kept(self, reason: str) -> None:
        """Wait until a line was not kept for *reason*, and the server is unhealthy."""
        error = re.compile(rf"-> Error: not kept: .*{reason}")
        await until(
            lambda: any(map(error.match, [line for person in self.people for line in person.errors])),
            f"an author reads {error.pattern!r}",
        )
        await until(lambda: not self.daemon.is_healthy(), "/healthz reports the fault")

    def check_no_loss(self) -> None:
        """Check that nobody was disconnected."""
        if any(person.losses for person in self.people):
            raise DayError("people were disconnected")

    def _check_end(self) -> None:
        stored = self.daemon.stored()
        confirmed = {seq: text for person in self.people for seq, text in person.confirmed.items()}
        lost = [seq for seq, text in confirmed.items() if stored.get(seq) != text]
        _write(f"{len(confirmed)} lines confirmed, {len(stored)} stored, {len(lost)} lost")
        if lost:
            self._problems.append(f"confirmed, but not stored: {lost[:10]}")
        if len(confirmed) != self._confirmed():
            self._problems.append("two lines were confirmed under the same number")
        if sorted(stored) != list(range(1, len(stored) + 1)):
            self._problems.append("the numbers of the stored lines are not dense")
        if "Traceback" in self.daemon.log():
            self._problems.append("the log holds a traceback")


# The faults


async def rotate_log(day: Day) -> None:
    """Move the log away and send SIGHUP, as logrotate does."""
    log = day.daemon.disk / "twistd.log"
    log.rename(log.with_name("twistd.log.rotated"))
    day.daemon.send_signal(signal.SIGHUP)
    await until(log.exists, "a new log file")
    await asyncio.sleep(day.hold)
    day.check_no_loss()


async def fill_disk(day: Day) -> None:
    """Let another program use all of the disk that holds the journal and the log."""
    filler = day.daemon.disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    await day.expect_not_kept("the disk is full")
    await asyncio.sleep(day.hold)
    day.check_no_loss()
    filler.unlink()


async def move_folder(day: Day) -> None:
    """Move the data folder away, and back."""
    data = day.daemon.disk / "data"
    away = data.rename(data.with_name("away"))
    await day.expect_not_kept("")
    await asyncio.sleep(day.hold)
    day.check_no_loss()
    away.rename(data)


async def suspend(day: Day) -> None:
    """Stop the process, and let it continue."""
    day.daemon.send_signal(signal.SIGSTOP)
    await asyncio.sleep(day.hold)
    day.daemon.send_signal(signal.SIGCONT)
    await asyncio.sleep(5)
    day.check_no_loss()


async def change_clock(day: Day) -> None:
    """Set the server's wall clock an hour ahead, and back."""
    for number in (signal.SIGRTMIN, signal.SIGRTMIN + 1):
        day.daemon.send_signal(number)
        await asyncio.sleep(day.hold / 2)
    day.check_no_loss()


async def flood_with_joins(day: Day) -> None:
    """Let clients take a nickname and quit, without a pause."""
    await flood(day, b"quit\n", reset=False)


async def flood_with_resets(day: Day) -> None:
    """Let clients take a nickname and reset their connection, without a pause."""
    await flood(day, b"", reset=True)


async def flood(day: Day, goodbye: bytes, *, reset: bool) -> None:
    """Keep ``FLOODERS`` connections at a time, each with a nickname, then *goodbye*."""

    async def come_and_go(number: int) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", day.daemon.port)
                writer.write(f"flooder{number}\n".encode() + goodbye)
                if reset:
                    with suppress(asyncio.IncompleteReadError):
                        await reader.readuntil(b"You are ")
                    connection = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    await reader.read()
                writer.close()

    async with asyncio.TaskGroup() as tasks:
        flooders = [tasks.create_task(come_and_go(number)) for number in range(FLOODERS)]
        await asyncio.sleep(day.hold)
        for flooder in flooders:
            flooder.cancel()
    day.check_no_loss()


async def add_slow_readers(day: Day) -> None:
    """Let people join and read nothing."""
    with slow_readers(day.daemon.port):
        await asyncio.sleep(day.hold)
    day.check_no_loss()


@contextmanager
def slow_readers(port: int) -> Iterator[None]:
    """Open connections with a nickname and a small receive buffer."""
    sockets = [socket.socket() for _ in range(SLOW_READERS)]
    try:
        for number, slow in enumerate(sockets):
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            slow.sendall(f"slow{number}\n".encode())
        yield
    finally:
        for slow in sockets:
            slow.close()


async def kill_and_start(day: Day) -> None:
    """Kill the server under load, and start it again."""
    day.daemon.send_signal(signal.SIGKILL)
    await day.daemon.wait_for_end()
    (day.daemon.disk / "twistd.pid").unlink()
    day.daemon.start()


FAULTS: Sequence[Fault] = (
    Fault("log rotation", rotate_log, "Reopened|reopened"),
    Fault("full disk", fill_disk, "disk is full"),
    Fault("moved folder", move_folder, "moved|removed|replaced"),
    Fault("suspended process", suspend, "stood still for"),
    Fault("changed clock", change_clock, ""),
    Fault("flood of joins", flood_with_joins, "joins .* from"),
    Fault("flood of resets", flood_with_resets, "joins .* from"),
    Fault("slow readers", add_slow_readers, ""),
    Fault("killed and started again", kill_and_start, "Listening"),
)


@asynccontextmanager
async def daemon_in(folder: Path) -> AsyncIterator[Daemon]:
    """Provide a daemon that ends with the block."""
    daemon = Daemon(folder)
    try:
        yield daemon
    finally:
        daemon.close()


async def run(seconds: float, folder: Path) -> int:
    """Run the day and print its report. Return the exit status."""
    async with daemon_in(folder) as daemon:
        try:
            problems = await Day(daemon, seconds).run()
        finally:
            (folder / "log").write_text(daemon.log())
    for line in (folder / "log").read_text().splitlines():
        if not re.search(r"p\d+ (joined|left)|slow\d+ ", line):
            _write(f"   {line}")
    for problem in problems:
        _write(f"WRONG: {problem}")
    return int(bool(problems))


def main() -> int:
    """Run the day as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.day", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="duration of all faults and the pauses (3600)")
    options = parser.parse_args()
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        parser.error("unshare and nsenter are needed, which util-linux has")
    folder = Path(mkdtemp(prefix="broadcast-day-"))
    _write(f"{strftime('%Y-%m-%d %H:%M')}: {PEOPLE} people, {options.seconds:g} s, files in {folder}")
    status = 1
    try:
        status = asyncio.run(run(options.seconds, folder))
    except* DayError as group:
        for error in group.exceptions:
            _write(f"WRONG: {error}")
    return status


if __name__ == "__main__":
    sys.exit(main())
