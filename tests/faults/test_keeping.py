"""The journal cannot be written for a while: only the authors are told, all else goes on, and the server recovers.

The server is a process of its own. The faults are real: a full disk, a limit of the file size, and a lock.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from tests.faults.processes import Process
from tests.real.programs import TWISTD, Programs, Server, Talker

LONG = bool(os.environ.get("BROADCAST_LONG"))
SECONDS = 30 if LONG else 0
"""Minimum duration of the fault."""
REJECTIONS = 3
"""The fault lasts until this many lines have been rejected one after the other."""
TIMES = 5 if LONG else 1
PADDING = "x" * 1000
"""Makes lines need room on the disk."""


class Fault(Protocol):
    """Something that prevents writing the journal in *data*."""

    reason: str
    """The reason that authors read."""
    command: Sequence[str]
    """The command that runs twistd so that the fault can begin."""

    def begin(self, process: Process) -> None:
        """Prevent writing."""

    def end(self, process: Process) -> None:
        """Allow it again."""


class FullDisk:
    """The journal is on a file system of its own, which another file fills to the last byte."""

    reason = "the disk is full"

    def __init__(self, data: Path) -> None:
        mount = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"', str(data))
        if shutil.which("unshare") is None:
            pytest.skip("unshare is not installed")
        data.mkdir()
        trial = subprocess.run([*mount, "true"], capture_output=True, text=True, check=False, timeout=200)  # noqa: S603
        if trial.returncode:
            pytest.skip(f"no file system can be mounted here: {trial.stderr.strip()}")
        self.command: Sequence[str] = (*mount, TWISTD)
        self._data = data

    def begin(self, process: Process) -> None:
        self._filler = Path(f"{process.folder}/root{self._data}/filler")  # only the server sees the file system
        with self._filler.open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def end(self, process: Process) -> None:
        self._filler.unlink()


class FileSizeLimit:
    """The system lets the server's files grow no more. For SQLite, this is an I/O error."""

    reason = "the journal cannot be written: disk I/O error"
    command: Sequence[str] = (TWISTD,)

    def __init__(self, data: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("the limits of another process can be changed only on Linux")

    def begin(self, process: Process) -> None:
        process.limit("FSIZE", 1)

    def end(self, process: Process) -> None:
        process.limit("FSIZE", None)


class Locked:
    """Another program has locked the journal."""

    reason = "another program has locked the journal"
    command: Sequence[str] = (TWISTD,)

    def __init__(self, data: Path) -> None:
        self._path = data / "journal.sqlite"

    def begin(self, process: Process) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("BEGIN IMMEDIATE")

    def end(self, process: Process) -> None:
        self._db.execute("ROLLBACK")
        self._db.close()


class Author:
    """Says lines with receipts, and notes which are stored and which are rejected."""

    def __init__(self, person: Talker) -> None:
        self._person = person
        self.stored: list[str] = []
        self.rejections: set[str] = set()

    async def say(self, text: str) -> bool:
        """Return whether *text* was stored, under the next number."""
        answer = await self.ask(text)
        if answer.startswith("-> #"):
            self.stored.append(text)
            assert answer == f"-> #{len(self.stored)}"
            return True
        self.rejections.add(answer)
        return False

    async def ask(self, line: str) -> str:
        """Return the server's answer to *line*."""
        self._person.seen = b""
        self._person.say(line)
        await self._person.when(lambda: re.search(rb"^-> .*\r\n", self._person.seen, re.MULTILINE) is not None)
        return next(answer for answer in self._person.whole_lines() if answer.startswith("-> "))


@pytest.mark.parametrize("kind", [FullDisk, FileSizeLimit, Locked])
@ensureDeferred
async def test_line_that_cannot_be_stored_is_reported_to_its_author_alone(
    programs: Programs, tmp_path: Path, kind: Callable[[Path], Fault]
) -> None:
    fault = kind(tmp_path / "data")
    server = await programs.server("--data", str(tmp_path / "data"), "--limits", "off", command=fault.command)
    process = Process(server.pid)
    ann, bob = Author(await programs.talker(server.port, "ann")), await programs.talker(server.port, "bob")
    assert await ann.ask("/receipts on") == "-> receipts are on."

    for time in range(TIMES):
        assert await ann.say(f"before {time}")
        await bob.until(f"ann: before {time}\r\n")
        fault.begin(process)
        await until_nothing_is_stored(ann, time, programs.clock)
        await everything_else_works(programs, server, bob, f"carol{time}")
        assert not await ann.say(f"still not {time}")
        fault.end(process)
        assert await ann.say(f"after {time}"), "the server recovers by itself"
        await bob.until(f"ann: after {time}\r\n")

    assert ann.rejections == {f"-> Error: not kept: {fault.reason}"}
    assert re.findall(r"^ann: (.*)$", bob.text(), re.MULTILINE) == ann.stored
    bob.say(f"/history #{max(1, len(ann.stored) - 900)}-#{len(ann.stored)}", "/ping")
    await bob.until("-> pong")
    assert re.findall(r"^-> #\d+ \[[0-9:]+\] ann: (.*)$", bob.text(), re.MULTILINE) == ann.stored[-901:]
    assert "Traceback" not in server.program.text()


async def until_nothing_is_stored(ann: Author, time: int, clock: IReactorTime) -> None:
    """Let *ann* talk until her lines are rejected again and again."""
    until = monotonic() + SECONDS
    rejections = count = 0
    while rejections < REJECTIONS or monotonic() < until:
        count += 1
        stored = await ann.say(f"during {time}.{count} {PADDING}")
        rejections = 0 if stored else rejections + 1
        if rejections > REJECTIONS:
            await deferLater(clock, 0.1)
        assert count < 1000 or rejections, "the fault prevents nothing"


async def everything_else_works(programs: Programs, server: Server, bob: Talker, nick: str) -> None:
    """Let somebody join, send a private message, change the nickname, and leave."""
    carol = await programs.talker(server.port, nick)
    await bob.until(f" * {nick} joined.\r\n")
    carol.say("/msg bob psst", f"/nick {nick}x")
    await carol.until("-> sent to bob.\r\n")
    await bob.until(f"[{nick}] psst\r\n * {nick} is now {nick}x.\r\n")
    carol.say("quit")
    await carol.until(f" * Goodbye, {nick}x.\r\n")
    await bob.until(f" * {nick}x left.\r\n")
