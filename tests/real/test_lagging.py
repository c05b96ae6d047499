"""Many clients on real sockets, some of which stop reading and go on: every line is explained."""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorTime

from tests.real.programs import Programs, Talker

PEOPLE = 300 if os.environ.get("BROADCAST_LONG") else 50
STOPPING = 50 if os.environ.get("BROADCAST_LONG") else 20
WRITERS = 20
LINES = 20_000
"""Twice as many as the replay buffer holds."""
PADDING = "x" * 60
"""All these lines are more than the system holds for a client that does not read."""

_NOTICE = re.compile(rb" \* You missed \d+ lines? \(#(\d+)-#(\d+)\)\.\r\n")


class Listener(Talker):
    """Stores everything received in compressed form, and counts the lines that were received or named as missed."""

    def __init__(self, nick: str, clock: IReactorTime) -> None:
        super().__init__(nick, clock)
        self.on_lines: Callable[[], None] = lambda: None
        """Called when more lines are explained."""
        self.begin()

    def begin(self) -> None:
        """Forget everything received so far. ``seen`` holds only the end."""
        self.seen, self.explained = b"", 0
        self._compress, self._compressed, self._tail = zlib.compressobj(1), b"", b""

    def dataReceived(self, data: bytes) -> None:
        self._compressed += self._compress.compress(data)
        whole, end, self._tail = (self._tail + data).rpartition(b"\n")
        if whole:
            self.explained += whole.count(b"\n") + 1
            for notice in _NOTICE.finditer(whole + end):
                self.explained += int(notice[2]) - int(notice[1])
        self.seen = self.seen[-100:]
        self.on_lines()
        super().dataReceived(data)

    def lines(self) -> list[str]:
        """Return all received lines."""
        return zlib.decompress(self._compressed + self._compress.flush()).decode().split("\r\n")[:-1]


def stop_at_random(reference: Listener, people: Sequence[Listener], random: Random) -> None:
    """Let *people* stop reading and go on at random lines of the *reference*."""
    steps: list[tuple[int, Callable[[], None]]] = []
    for number, person in enumerate(people):
        if number % 3:
            places = sorted(random.sample(range(LINES), 2 * random.randrange(1, 6)))
        else:
            places = [random.randrange(1000), random.randrange(15_000, LINES)]
        steps += [(place, person.read_on if at % 2 else person.stop_reading) for at, place in enumerate(places)]
    steps.sort(key=lambda step: -step[0])

    def on_lines() -> None:
        while steps and steps[-1][0] < reference.explained:
            steps.pop()[1]()

    reference.on_lines = on_lines


@ensureDeferred
async def test_every_line_is_received_or_in_a_gap_notice(programs: Programs, tmp_path: Path) -> None:
    random = Random(4)  # noqa: S311 -- the places are no secret
    data = tmp_path / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    people = [Listener(f"p{number}", programs.clock) for number in range(PEOPLE)]
    stopping = people[-STOPPING:]
    for person in people:
        await programs.connect(server.port, person, narrow=person in stopping)
    writers = [*people[1:WRITERS], stopping[0]]
    people[0].say("/msg p1 hi")  # the notices of the last joins, which may wait a moment, come before it
    await people[1].until("[p0] hi\r\n")
    await all_answered(people)
    for person in people:
        person.begin()
    stop_at_random(people[0], stopping, random)

    for number in range(LINES):
        writers[number % WRITERS].say(f"line {number} {PADDING}")
    await people[0].when(lambda: people[0].explained == LINES)
    await all_answered(people)

    with sqlite3.connect(data / "journal.sqlite") as journal:
        said = [f"{nick}: {text}" for nick, text in journal.execute("SELECT nick, text FROM events ORDER BY seq")]
    assert len(said) == len(set(said)) == LINES
    missed = [explain(person, said) for person in people]
    assert sum(missed[-STOPPING:]) > 0, "some lagged too far behind"


async def all_answered(people: Sequence[Listener]) -> None:
    """Wait for an answer to each client, which comes after all lines that were said before."""
    for person in people:
        person.say("/ping")
    await gatherResults([person.when(lambda p=person: p.seen.endswith(b"-> pong\r\n")) for person in people])  # type: ignore[misc]


def explain(person: Listener, said: Sequence[str]) -> int:
    """Check that *person* has received or missed everything that was *said*. Return the number of missed lines."""
    *lines, pong = person.lines()
    assert pong == "-> pong"
    own = f"{person.nick}: "
    at = missed = 0
    for line in lines:
        if notice := re.fullmatch(r" \* You missed (\d+) lines? \(#(\d+)-#(\d+)\)\.", line):
            count, first, last = map(int, notice.groups())
            assert count == last - first + 1 > 0
            assert all(skipped.startswith(own) for skipped in said[at : first - 1])
            at = last
            missed += count
        else:
            while said[at].startswith(own):
                at += 1
            assert line == said[at]
            at += 1
    assert all(skipped.startswith(own) for skipped in said[at:])
    return missed
