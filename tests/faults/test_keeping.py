"""The journal cannot be written for a while: its authors are told, nobody sees it, all else goes on, and then all does.

The server is a process of its own, and so are the faults: a full disk, a system that takes no more bytes, and a lock.
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

from tests.real.programs import TWISTD, Programs, Server, Talker

LONG = bool(os.environ.get("BROADCAST_LONG"))
SECONDS = 30 if LONG else 0
"""How long the fault lasts, at least."""
REFUSALS = 3
"""It lasts until so many lines were refused one after the other."""
TIMES = 5 if LONG else 1
PADDING = "x" * 1000
"""Lines that need room."""


class Fault(Protocol):
    """Something that keeps the journal in *folder* from being written."""

    why: str
    """What authors are told."""
    command: Sequence[str]
    """How twistd is started so that it can happen."""

    def begin(self, server: Server) -> None:
        """From here on nothing can be written."""

    def end(self) -> None:
        """From here on everything can."""


class FullDisk:
    """The journal is on a file system of its own, which somebody else fills to the last byte."""

    why = "the disk is full"

    def __init__(self, data: Path) -> None:
        mount = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"', str(data))
        if shutil.which("unshare") is None:
            pytest.skip("unshare is not installed")
        data.mkdir()
        trial = subprocess.run([*mount, "true"], capture_output=True, text=True, check=False)  # noqa: S603
        if trial.returncode:
            pytest.skip(f"no file system can be mounted here: {trial.stderr.strip()}")
        self.command: Sequence[str] = (*mount, TWISTD)
        self._data = data

    def begin(self, server: Server) -> None:
        # It is mounted where only the server sees it.
        self._filler = Path(f"/proc/{server.pid}/root{self._data}/filler")
        with self._filler.open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def end(self) -> None:
        self._filler.unlink()


class NoMoreBytes:
    """The system lets the server's files grow no more, which SQLite takes for an I/O error."""

    why = "the journal cannot be written: disk I/O error"
    command: Sequence[str] = (TWISTD,)

    def __init__(self, data: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("the limits of another process can be changed only on Linux")

    def begin(self, server: Server) -> None:
        self._pid = server.pid
        self._limit(1)

    def end(self) -> None:
        self._limit(-1)

    def _limit(self, most: int) -> None:
        if sys.platform == "linux":  # for mypy, elsewhere
            import resource  # noqa: PLC0415 -- not on every system

            hard = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (hard if most < 0 else most, hard))


class Locked:
    """Another program has locked the journal."""

    why = "another program has locked the journal"
    command: Sequence[str] = (TWISTD,)

    def __init__(self, data: Path) -> None:
        self._path = data / "journal.sqlite"

    def begin(self, server: Server) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._db.execute("ROLLBACK")
        self._db.close()


FAULTS: Sequence[Callable[[Path], Fault]] = (FullDisk, NoMoreBytes, Locked)


class Author:
    """Says one line after the other, with receipts, and notes what became of each."""

    def __init__(self, person: Talker) -> None:
        self.person = person
        self.kept: list[str] = []
        self.refused: list[str] = []
        self._answers = 0
        person.say("/receipts on")

    async def begin(self) -> None:
        """Read that receipts are on."""
        assert await self._answer() == "-> receipts are on."

    async def say(self, text: str) -> bool:
        """Whether *text* was kept, under the next number."""
        self.person.say(text)
        answer = await self._answer()
        if answer.startswith("-> #"):
            self.kept.append(text)
            assert answer == f"-> #{len(self.kept)}"
        else:
            self.refused.append(answer)
        return answer.startswith("-> #")

    async def _answer(self) -> str:
        """The next line of the server's to this person alone."""
        await self.person.when(lambda: self.person.seen.count(b"\r\n-> ") > self._answers)
        await self.person.when(lambda: self.person.seen.endswith(b"\r\n"))
        self._answers += 1
        answers: list[str] = re.findall(r"^-> .*$", self.person.text(), re.MULTILINE)
        return answers[self._answers - 1]


@pytest.mark.parametrize("kind", FAULTS)
@ensureDeferred
async def test_line_that_cannot_be_stored_is_reported_to_its_author_alone(
    programs: Programs, tmp_path: Path, kind: Callable[[Path], Fault]
) -> None:
    fault = kind(tmp_path / "data")
    server = await programs.server("--data", str(tmp_path / "data"), "--limits", "off", command=fault.command)
    ann, bob = Author(await programs.talker(server.port, "ann")), await programs.talker(server.port, "bob")
    await ann.begin()

    for time in range(TIMES):
        assert await ann.say(f"before {time}")
        await bob.until(f"ann: before {time}\r\n")
        fault.begin(server)
        await until_nothing_is_kept(ann, time, programs.clock)
        await everything_else_goes_on(programs, server, bob, f"carol{time}")
        assert not await ann.say(f"still not {time}")
        fault.end()
        assert await ann.say(f"after {time}"), "it goes on by itself"
        await bob.until(f"ann: after {time}\r\n")

    assert set(ann.refused) == {f"-> Error: not kept: {fault.why}"}
    assert re.findall(r"^ann: (.*)$", bob.text(), re.MULTILINE) == ann.kept
    bob.say(f"/history #{max(1, len(ann.kept) - 900)}-#{len(ann.kept)}", "/ping")
    await bob.until("-> pong")
    assert re.findall(r"^-> #\d+ \[[0-9:]+\] ann: (.*)$", bob.text(), re.MULTILINE) == ann.kept[-901:]
    assert "Traceback" not in server.program.text()


async def until_nothing_is_kept(ann: Author, time: int, clock: IReactorTime) -> None:
    """*ann* talks on, until it is refused again and again."""
    until = monotonic() + SECONDS
    refusals = count = 0
    while refusals < REFUSALS or monotonic() < until:
        count += 1
        kept = await ann.say(f"during {time}.{count} {PADDING}")
        refusals = 0 if kept else refusals + 1
        if refusals > REFUSALS:
            await deferLater(clock, 0.1)
        assert count < 1000 or refusals, "the fault keeps nothing from being kept"


async def everything_else_goes_on(programs: Programs, server: Server, bob: Talker, nick: str) -> None:
    """Somebody comes, whispers, changes their name, and goes."""
    carol = await programs.talker(server.port, nick)
    await bob.until(f" * {nick} joined.\r\n")
    carol.say("/msg bob psst", f"/nick {nick}x")
    await carol.until("-> sent to bob.\r\n")
    await bob.until(f"[{nick}] psst\r\n * {nick} is now {nick}x.\r\n")
    carol.say("quit")
    await carol.until(f" * Goodbye, {nick}x.\r\n")
    await bob.until(f" * {nick}x left.\r\n")
