"""The machine's clock jumps by an hour, both ways: nobody is timed out, and nothing loses its order."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from tests.faults.crowds import Crowd
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

COMMAND = (sys.executable, "-c", JUMPING)


@pytest.mark.parametrize("way", [signal.SIGUSR1, signal.SIGUSR2], ids=["forward", "back"])
@ensureDeferred
async def test_clock_jump_times_nobody_out_and_lines_keep_their_order(
    programs: Programs, crowd: Callable[[int], Crowd], tmp_path: Path, way: signal.Signals
) -> None:
    server = await programs.server("--data", str(tmp_path), command=COMMAND)
    ann, bob = [await programs.talker(server.port, nick) for nick in ("ann", "bob")]
    people = crowd(server.port)
    for _ in range(STRANGERS):
        await people.until(people.connect(), "Nickname: ")
    ann.say("before")
    await bob.until("ann: before\r\n")

    os.kill(server.pid, way)
    await server.program.until("It is another time.")
    ann.say("after")
    await bob.until("ann: after\r\n")
    for number, person in enumerate(people.sockets):
        person.sendall(f"p{number}\n".encode())
        await people.until(person, f"You are p{number}.")
    bob.say("/history")
    await bob.until("-> #2 ")
    await bob.when(lambda: bob.seen.endswith(b"ann: after\r\n"))

    found = re.findall(r"^-> (#\d) \[.*\] (.*)$", bob.text(), re.MULTILINE)
    assert found == [("#1", "ann: before"), ("#2", "ann: after")]
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        (before,), (after,) = journal.execute("SELECT at FROM events ORDER BY seq").fetchall()
    assert round((after - before) / HOUR) == (1 if way is signal.SIGUSR1 else -1), "each has the time that it was"
    assert "Traceback" not in server.program.text()


@ensureDeferred
async def test_clock_step_back_delays_no_deadline(programs: Programs, crowd: Callable[[int], Crowd]) -> None:
    server = await programs.server("--ephemeral", "--nickname-seconds", "2", command=COMMAND)
    people = crowd(server.port)
    stranger = people.connect()
    await people.until(stranger, "Nickname: ")
    os.kill(server.pid, signal.SIGUSR2)
    await server.program.until("It is another time.")
    await people.until(stranger, " * No nickname in 2 seconds.\r\n")
