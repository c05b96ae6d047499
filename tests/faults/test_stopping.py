"""The server is stopped while fifty clients talk: all are notified, and the lines that they saw are stored."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs
from tests.real.test_kill import check_stored

MOMENTS = 20 if os.environ.get("BROADCAST_LONG") else 2
PEOPLE = 40
LINES = 120
"""All lines together are fewer than the replay buffer holds, so that nobody misses any."""
DOWN = " * The server is going down."


@pytest.mark.parametrize("seed", range(MOMENTS))
@ensureDeferred
async def test_stop_under_load_notifies_everybody_and_stores_what_was_seen(
    programs: Programs, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- when to end is no secret
    data = tmp_path / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    people = await programs.talkers(server.port, *(f"p{number}" for number in range(PEOPLE)))
    if seed == 0:  # Clients that read nothing delay the end for as long as possible.
        for unread in await programs.talkers(server.port, "reads-nothing", "nor-this", narrow=True):
            unread.stop_reading()
    stranger = await programs.talker(server.port)
    await stranger.until("Nickname: ")
    for person in people:
        person.say("/receipts on", *(f"line {number} of {person.nick}" for number in range(LINES)))
    # Some lines have been delivered when the end comes, and most are on their way.
    await people[0].lines_seen(random.randrange(1, PEOPLE * LINES // 2))

    server.program.process.signalProcess("TERM")
    for person in people:
        await person.until(DOWN)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    for person in people:
        await person.lost
    assert await server.program.end() is None, "it ends by the signal, as twistd does"

    await stranger.until(DOWN)
    assert not (data / "journal.sqlite-wal").exists(), "the journal was closed"
    said = check_stored(data, people)
    for person in people:
        own = [f"{person.nick}: line {number} of {person.nick}" for number in range(LINES)]
        stored = [line for line in said if line.startswith(f"{person.nick}: ")]
        assert stored == own[: len(stored)], "the author's order is stored"
        assert person.whole_lines()[-1] == DOWN
        assert sum(line.startswith("-> #") for line in person.whole_lines()) == len(stored), "each has its receipt"
    if seed == 0:
        assert "Aborting connections that have not received everything: " in server.program.text()
    assert "Traceback" not in server.program.text()


@ensureDeferred
async def test_stop_delivers_and_stores_input_behind_the_rate_limit(programs: Programs, tmp_path: Path) -> None:
    """A paste of more than 40 lines waits in the server, until the end releases it."""
    server = await programs.server("--data", str(tmp_path))
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    said = [f"line {number}" for number in range(90)]
    ann.say(*said)
    await bob.until("ann: line 39\r\n")
    server.program.process.signalProcess("TERM")
    await bob.until(DOWN)
    await bob.lost
    await server.program.end()
    assert re.findall(r"^ann: (.*)$", bob.text(), re.MULTILINE) == said
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        assert [text for (text,) in journal.execute("SELECT text FROM events ORDER BY seq")] == said
