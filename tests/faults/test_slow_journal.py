"""A journal whose commits take long: authors wait, memory stays bounded, and no line is lost."""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.faults.processes import Process, wait_until
from tests.real.programs import Programs, Talker

PATIENT = """
import sys
from broadcast.journals.sqlite import database
database.connect.__kwdefaults__["timeout"] = 600
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""
"""The server, which waits for a lock without a time-out: a commit lasts while another program holds the journal."""

WRITERS = 4
LINES = 6000
PADDING = "x" * 2000
"""All lines together are six times the size of the journal's queue (8 MiB)."""
MOST_BYTES = 32 * 1024 * 1024
"""The queue, with the objects of its lines. It is far less than all lines together."""


class Brief(Talker):
    """Remembers lines without their padding."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data.replace(b"x", b""))

    def lines_of(self, nick: str) -> list[int]:
        """Return the numbers of the lines of *nick*."""
        return [int(line) for line in re.findall(rf"^{nick}: (\d+) $", self.text(), re.MULTILINE)]


class Writer(Talker):
    """Sends as much as the server accepts, and forgets what it receives."""

    def begin(self) -> None:
        """Begin to write, on the socket itself: the transport would accept everything."""
        # With larger buffers, the system would hold megabytes, and the test would wait longer for them.
        self.tcp.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.rest = b"".join(b"%d %s\n" % (number, PADDING.encode()) for number in range(LINES))

    def go_on(self) -> None:
        """Send more."""
        self.seen = b""
        with suppress(BlockingIOError):
            while self.rest:
                self.rest = self.rest[self.tcp.getHandle().send(self.rest[: 1 << 20]) :]


@ensureDeferred
async def test_authors_wait_for_a_slow_journal_and_all_is_stored_in_order(programs: Programs, tmp_path: Path) -> None:
    server = await programs.server("--data", str(tmp_path), "--limits", "off", command=(sys.executable, "-c", PATIENT))
    process = Process(server.pid)
    writers = [Writer(f"p{number}", programs.clock) for number in range(WRITERS)]
    ann = Brief("ann", programs.clock)
    for person in (*writers, ann):
        await programs.connect(server.port, person)
    for writer in writers:
        writer.begin()
    before = process.most_memory()

    def write_all() -> bool:
        for writer in writers:
            writer.go_on()
        return not any(writer.rest for writer in writers)

    with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stalled, last = 0, -1
        while stalled < 20:  # until no writer has been able to send anything for a while
            assert not write_all(), "no writer had to wait"
            rest = sum(len(writer.rest) for writer in writers)
            stalled, last = (stalled + 1 if rest == last else 0), rest
            await deferLater(programs.clock, 0.05)
        assert process.most_memory() - before < MOST_BYTES
        assert not ann.lines_of("p0"), "no line is shown that is not stored"
        other.execute("ROLLBACK")

    await wait_until(programs, write_all, "the writers still have lines to send")
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        count = journal.cursor()
        everything = (WRITERS * LINES,)
        await wait_until(
            programs,
            lambda: count.execute("SELECT count(*) FROM events").fetchone() == everything,
            "some lines are not stored",
        )
        rows = journal.execute("SELECT seq, nick, text FROM events ORDER BY seq").fetchall()
    ann.say("/ping")
    await ann.until("-> pong\r\n")
    assert process.most_memory() - before < MOST_BYTES
    assert [seq for seq, _nick, _text in rows] == list(range(1, WRITERS * LINES + 1))
    for author in (f"p{number}" for number in range(WRITERS)):
        said = [text.removesuffix(f" {PADDING}") for _seq, nick, text in rows if nick == author]
        assert said == [*map(str, range(LINES))]
        seen = ann.lines_of(author)
        assert seen == sorted(seen), "she reads the lines in order, or a gap notice names them"
