"""A journal whose commits take long: who writes is made to wait, and nothing piles up, nor is anything lost."""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.faults.crowds import Crowd, Process
from tests.real.programs import Programs, Talker

PATIENT = """
import sys
from broadcast.journals.sqlite import database
database.connect.__kwdefaults__["timeout"] = 600
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""
"""The server, which waits for a lock as long as it takes: a commit lasts as long as somebody else holds the journal."""

WRITERS = 4
LINES = 6000
PADDING = "x" * 2000
"""In all, they have six times as much to say as may wait for the journal (8 MiB)."""
MOST_BYTES = 32 * 1024 * 1024
"""What waits for the journal, with what each line is as an object; far less than is said."""


class Brief(Talker):
    """Remembers lines without their padding."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data.replace(b"x", b""))

    def lines_of(self, nick: str) -> list[int]:
        """The numbers that *nick* has said."""
        return [int(line) for line in re.findall(rf"^{nick}: (\d+) $", self.text(), re.MULTILINE)]


class Writer:
    """Says as much as the server takes, on the socket *person*."""

    def __init__(self, person: socket.socket) -> None:
        self._person = person
        # Else the system holds megabytes of what is not read, and it takes longer to wait for the end of it.
        person.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self._rest = b"".join(b"%d %s\n" % (number, PADDING.encode()) for number in range(LINES))

    @property
    def waits(self) -> int:
        """How much they still have to say, in bytes."""
        return len(self._rest)

    def go_on(self) -> None:
        """Say some more."""
        with suppress(BlockingIOError):
            while self._rest:
                self._rest = self._rest[self._person.send(self._rest[: 1 << 20]) :]


@ensureDeferred
async def test_authors_wait_for_a_slow_journal_and_all_is_stored_in_order(
    programs: Programs, crowd: Callable[[int], Crowd], tmp_path: Path
) -> None:
    server = await programs.server("--data", str(tmp_path), "--limits", "off", command=(sys.executable, "-c", PATIENT))
    process = Process(server.pid)
    people = crowd(server.port)
    writers = [Writer(person) for person in await people.come("p", WRITERS)]
    ann = Brief("ann", programs.clock)
    await programs.connect(server.port, ann)
    before = process.most_memory()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # Until nobody can say any more for a while.
        stalled, last = 0, -1
        while stalled < 20:
            for writer in writers:
                writer.go_on()
            waits = sum(writer.waits for writer in writers)
            stalled, last = (stalled + 1 if waits == last else 0), waits
            assert waits, "nobody was made to wait"
            await deferLater(programs.clock, 0.05)
        assert process.most_memory() - before < MOST_BYTES
        assert not ann.lines_of("p0"), "nobody sees what is not kept"
        other.execute("ROLLBACK")

    def everybody_has_spoken() -> bool:
        for writer in writers:
            writer.go_on()
        for person in people.sockets:
            people.read(person)
            people.seen[person] = b""
        return not any(writer.waits for writer in writers)

    await people.when(everybody_has_spoken, lambda: "they still have something to say")
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        count = journal.cursor()
        await people.when(
            lambda: count.execute("SELECT count(*) FROM events").fetchone() == (WRITERS * LINES,),
            lambda: "not all of it is kept",
        )
        kept = journal.execute("SELECT seq, nick, text FROM events ORDER BY seq").fetchall()
    ann.say("/ping")
    await ann.until("-> pong\r\n")
    assert process.most_memory() - before < MOST_BYTES
    assert [seq for seq, _nick, _text in kept] == list(range(1, WRITERS * LINES + 1))
    for author in (f"p{number}" for number in range(WRITERS)):
        said = [text.removesuffix(f" {PADDING}") for _seq, nick, text in kept if nick == author]
        assert said == [*map(str, range(LINES))]
        seen = ann.lines_of(author)
        assert seen == sorted(seen), "in their order; should she have been too slow for some, she was told which"
