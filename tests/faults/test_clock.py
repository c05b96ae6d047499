"""The machine's clock jumps by an hour, both ways: no client times out, and the lines keep their order."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs

HOUR = 3600
STRANGERS = 20

JUMPING = f"""
import os, signal, sys, time
real, ahead = time.time, 0
def jump(number, frame):
    global ahead
    ahead += {HOUR} if number == signal.SIGUSR1 else -{HOUR}
    os.write(1, b"It is another time.\\n")
time.time = lambda: real() + ahead
signal.signal(signal.SIGUSR1, jump)
signal.signal(signal.SIGUSR2, jump)
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""
"""The server, whose wall clock jumps forward at SIGUSR1, and back at SIGUSR2."""


@pytest.mark.parametrize("way", [signal.SIGUSR1, signal.SIGUSR2], ids=["forward", "back"])
@ensureDeferred
async def test_clock_jump_times_nobody_out_and_lines_keep_their_order(
    programs: Programs, tmp_path: Path, way: signal.Signals
) -> None:
    server = await programs.server("--data", str(tmp_path), command=(sys.executable, "-c", JUMPING))
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    strangers = await programs.talkers(server.port, *[""] * STRANGERS)
    for stranger in strangers:
        await stranger.until("Nickname: ")
    ann.say("before")
    await bob.until("ann: before\r\n")

    os.kill(server.pid, way)
    await server.program.until("It is another time.")
    ann.say("after")
    await bob.until("ann: after\r\n")
    for number, stranger in enumerate(strangers):
        stranger.say(f"p{number}")
        await stranger.until(f"You are p{number}.")
    bob.say("/history")
    await bob.until("-> #2 ")
    await bob.when(lambda: bob.seen.endswith(b"ann: after\r\n"))

    found = re.findall(r"^-> (#\d) \[.*\] (.*)$", bob.text(), re.MULTILINE)
    assert found == [("#1", "ann: before"), ("#2", "ann: after")]
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        (before,), (after,) = journal.execute("SELECT at FROM events ORDER BY seq").fetchall()
    assert round((after - before) / HOUR) == (1 if way is signal.SIGUSR1 else -1), "each line has its own time"
    assert "Traceback" not in server.program.text()
