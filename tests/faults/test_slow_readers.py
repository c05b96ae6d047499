"""Hundreds of people who read nothing, or a byte a second, cost the server next to nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress

from pytest_twisted import ensureDeferred
from twisted.internet.task import LoopingCall

from tests.faults.crowds import Crowd, Process, need_files
from tests.real.programs import Programs, Talker

PEOPLE = 1000 if os.environ.get("BROADCAST_LONG") else 200
"""Half of them read nothing, half a byte a second."""
LINES = 24_000
PADDING = "x" * 1000
MOST_BYTES = 64 * 1024 * 1024
"""What is said are 24 MB. The window is 4 MiB; a few people with a copy of the rest would be more."""


@ensureDeferred
async def test_clients_that_read_little_or_nothing_take_no_memory_and_stay(
    programs: Programs, crowd: Callable[[int], Crowd]
) -> None:
    need_files(PEOPLE)
    server = await programs.server("--ephemeral", "--limits", "off")
    process = Process(server.pid)
    ann, bob = Counting("ann", programs.clock), await programs.talker(server.port, "bob")
    await programs.connect(server.port, ann)
    people = crowd(server.port)
    came = await people.come("p", PEOPLE, narrow=True)
    ann.say("/ping")
    await ann.until("-> pong\r\n")
    before = process.most_memory()

    def read_a_byte() -> None:
        for person in came[::2]:
            with suppress(BlockingIOError):
                assert person.recv(1), "nobody is disconnected for it"

    reading = LoopingCall(read_a_byte)
    reading.clock = programs.clock
    reading.start(1)
    for number in range(LINES):
        bob.say(f"{number} {PADDING}")
    await ann.when(lambda: ann.lines >= LINES)
    reading.stop()

    assert process.most_memory() - before < MOST_BYTES
    assert " left" not in server.program.text(), "nobody is disconnected for it"
    for person in came[:2]:
        person.sendall(b"/ping\n")
        await people.until(person, "-> pong\r\n")
        assert re.search(rb" \* You missed \d+ lines \(#\d+-#\d+\)\.\r\n", people.seen[person])


class Counting(Talker):
    """Counts lines, and forgets them."""

    lines = 0

    def dataReceived(self, data: bytes) -> None:
        self.lines += data.count(b"\n")
        self.seen = self.seen[-100:]
        super().dataReceived(data)
