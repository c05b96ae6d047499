"""Hundreds of clients that read nothing, or a byte a second, cost the server next to nothing."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from pytest_twisted import ensureDeferred
from twisted.internet.task import LoopingCall

from tests.faults.processes import Process, need_files
from tests.real.programs import Programs, Talker

PEOPLE = 1000 if os.environ.get("BROADCAST_LONG") else 200
"""Half of them read nothing, half a byte a second."""
LINES = 24_000
PADDING = "x" * 1000
MOST_BYTES = 64 * 1024 * 1024
"""The lines are 24 MB and the replay buffer 4 MiB. If a few clients had a copy of the rest, it would be more."""


@ensureDeferred
async def test_clients_that_read_little_or_nothing_take_no_memory_and_stay(programs: Programs) -> None:
    need_files(PEOPLE)
    server = await programs.server("--ephemeral", "--limits", "off")
    process = Process(server.pid)
    ann, bob = Counting("ann", programs.clock), await programs.talker(server.port, "bob")
    await programs.connect(server.port, ann)
    people = await programs.talkers(server.port, *(f"p{number}" for number in range(PEOPLE)), narrow=True)
    for person in people:
        person.stop_reading()
    ann.say("/ping")
    await ann.until("-> pong\r\n")
    before = process.most_memory()

    def read_a_byte() -> None:
        for person in people[::2]:
            with suppress(BlockingIOError):
                assert person.tcp.getHandle().recv(1), "a slow reader stays connected"

    reading = LoopingCall(read_a_byte)
    reading.clock = programs.clock
    reading.start(1)
    for number in range(LINES):
        bob.say(f"{number} {PADDING}")
    await ann.when(lambda: ann.lines >= LINES)
    reading.stop()

    assert process.most_memory() - before < MOST_BYTES
    assert " left" not in server.program.text(), "a slow reader stays connected"
    for person in people[:2]:
        person.say("/ping")
        person.read_on()
        await person.until("-> pong\r\n")
        assert re.search(rb" \* You missed \d+ lines \(#\d+-#\d+\)\.\r\n", person.seen)


class Counting(Talker):
    """Counts lines, and forgets them."""

    lines = 0

    def dataReceived(self, data: bytes) -> None:
        self.lines += data.count(b"\n")
        self.seen = self.seen[-100:]
        super().dataReceived(data)
