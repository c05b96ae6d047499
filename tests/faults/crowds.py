"""People on plain sockets, who read only what the test lets them."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import deferLater

from tests.real.programs import PATIENCE, Programs

SPARE = 100
"""So many more files than people may the test need."""


class Crowd:
    """*count* people in the room of the server at *port*, called *name* and a number."""

    def __init__(self, programs: Programs, port: int) -> None:
        self._programs = programs
        self._port = port
        self.sockets: list[socket.socket] = []
        self.seen: dict[socket.socket, bytes] = {}

    async def come(self, name: str, count: int, *, narrow: bool = False) -> list[socket.socket]:
        """Let people come, and read that they are here.

        Where *narrow*, the system holds little of what they do not read.
        """
        came = [self.connect(narrow=narrow) for _ in range(count)]
        for number, person in enumerate(came):
            person.sendall(f"{name}{number}\n".encode())
        for number, person in enumerate(came):
            await self.until(person, f"You are {name}{number}.")
        return came

    def connect(self, *, narrow: bool = False) -> socket.socket:
        """Somebody who has said nothing yet."""
        person = socket.socket()
        self.sockets.append(person)
        self.seen[person] = b""
        if narrow:
            person.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            person.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        person.settimeout(PATIENCE)
        person.connect(("127.0.0.1", self._port))
        person.setblocking(False)
        return person

    async def until(self, person: socket.socket, text: str) -> None:
        """Wait until *person* has read *text*."""
        await self.when(lambda: text.encode() in self.read(person), lambda: f"{text!r} in {self.seen[person]!r}")

    async def when(self, arrived: Callable[[], bool], what: Callable[[], str]) -> None:
        """Wait until *arrived*, for ``PATIENCE`` at most."""
        clock = self._programs.clock
        end = clock.seconds() + PATIENCE
        while not arrived():
            assert clock.seconds() < end, what()
            await deferLater(clock, 0.01)

    def read(self, person: socket.socket) -> bytes:
        """All that *person* has read, up to now."""
        try:
            while data := person.recv(65536):
                self.seen[person] += data
        except BlockingIOError:
            pass
        return self.seen[person]

    def reset(self) -> None:
        """All of them at once break their connection, as a crash of their machine would."""
        for person in self.sockets:
            person.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """All of them go."""
        for person in self.sockets:
            person.close()
        self.sockets.clear()


def need_files(count: int) -> None:
    """Let this process have so many files, and some; skips the test where the system allows it less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + SPARE:
        pytest.skip(f"a process may have only {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + SPARE), hard))


class Process:
    """What the system says of the process *pid*; skips the test where it says nothing."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        if not self._folder.exists():
            pytest.skip("the system tells nothing of other processes in /proc")

    def most_memory(self) -> int:
        """The most physical memory that it has had, in bytes."""
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")

    def processor_seconds(self) -> float:
        """How much of the processors' time it has had."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def highest_file(self) -> int:
        """The highest number of a file that it has open."""
        return max(int(entry.name) for entry in (self._folder / "fd").iterdir())
