"""The server is told to end while fifty people talk: everybody is told, and what they saw is kept."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from pytest_twisted import ensureDeferred

from tests.faults.crowds import Crowd
from tests.real.programs import Programs
from tests.real.test_kill import check

MOMENTS = 20 if os.environ.get("BROADCAST_LONG") else 2
PEOPLE = 50
LINES = 150
"""In all, fewer than the window holds: nobody misses any."""
DOWN = " * The server is going down."


@pytest.mark.parametrize("seed", range(MOMENTS))
@ensureDeferred
async def test_stop_under_load_notifies_everybody_and_stores_what_was_seen(
    programs: Programs, crowd: Callable[[int], Crowd], tmp_path: Path, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- when to end is no secret
    data = tmp_path / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    people = [await programs.talker(server.port, f"p{number}") for number in range(PEOPLE)]
    others = crowd(server.port)
    if seed == 0:
        await others.come("reads-nothing", 2, narrow=True)  # they hold the end for as long as anybody can
    stranger = others.connect()
    await others.until(stranger, "Nickname: ")
    for person in people:
        person.say("/receipts on")
        for number in range(LINES):
            person.say(f"line {number} of {person.nick}")
    # Some of it has come back when the end comes, and most of it is on its way.
    await people[0].lines_seen(random.randrange(1, PEOPLE * LINES // 2))

    server.program.process.signalProcess("TERM")
    for person in people:
        await person.until(DOWN)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    for person in people:
        await person.lost
    assert await server.program.end() is None, "it ends by the signal, as twistd does"

    await others.until(stranger, DOWN)
    assert not (data / "journal.sqlite-wal").exists(), "the journal was closed"
    with closing(sqlite3.connect(data / "journal.sqlite")) as journal:
        kept = journal.execute("SELECT seq, nick, text FROM events ORDER BY seq").fetchall()
    assert [seq for seq, _nick, _text in kept] == list(range(1, len(kept) + 1))
    said = [f"{nick}: {text}" for _seq, nick, text in kept]
    assert len(set(said)) == len(said), "none is kept twice"
    for person in people:
        check(person, said)
        own = [f"{person.nick}: line {number} of {person.nick}" for number in range(LINES)]
        mine = [line for line in said if line.startswith(f"{person.nick}: ")]
        assert mine == own[: len(mine)], "nothing is kept out of order"
        assert person.whole_lines()[-1] == DOWN
        assert sum(line.startswith("-> #") for line in person.whole_lines()) == len(mine), "each has its receipt"
    if seed == 0:
        assert "Aborting connections that have not received everything: " in server.program.text()
    assert "Traceback" not in server.program.text()


@ensureDeferred
async def test_stop_delivers_and_stores_input_behind_the_rate_limit(programs: Programs, tmp_path: Path) -> None:
    """Past 40 lines at once, a paste waits in the server; at the end nobody waits any more."""
    server = await programs.server("--data", str(tmp_path))
    ann, bob = [await programs.talker(server.port, nick) for nick in ("ann", "bob")]
    ann.say(*(f"line {number}" for number in range(90)))
    await bob.until("ann: line 39\r\n")
    server.program.process.signalProcess("TERM")
    await bob.until(DOWN)
    await bob.lost
    await server.program.end()
    said = [f"line {number}" for number in range(90)]
    assert re.findall(r"^ann: (.*)$", bob.text(), re.MULTILINE) == said
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        assert [text for (text,) in journal.execute("SELECT text FROM events ORDER BY seq")] == said
