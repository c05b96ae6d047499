"""A crowd on real sockets, some of whom stop reading and go on: every line is explained."""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import cast

from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IPushProducer, IReactorTime

from tests.real.programs import Programs, Talker

PEOPLE = 300 if os.environ.get("BROADCAST_LONG") else 80
STOPPING = 50 if os.environ.get("BROADCAST_LONG") else 30
WRITERS = 20
LINES = 20_000
"""Twice as many as the window holds."""
PADDING = "x" * 60
"""More than what the system holds of all these lines for who does not read."""

_NOTICE = re.compile(rb" \* You missed \d+ lines? \(#(\d+)-#(\d+)\)\.\r\n")


class Listener(Talker):
    """Keeps what it is sent, in little room, and counts the lines that are explained: received, or named as missed."""

    def __init__(self, nick: str, clock: IReactorTime) -> None:
        super().__init__(nick, clock)
        self.explained = 0
        self.looked: Callable[[], None] = lambda: None
        """Called when some more are."""
        self._stream = zlib.compressobj(1)
        self._all = b""
        self._tail = b""

    def stop(self) -> None:
        """Read nothing more."""
        cast(IPushProducer, self.transport).pauseProducing()

    def go_on(self) -> None:
        """Read on."""
        cast(IPushProducer, self.transport).resumeProducing()

    def begin(self) -> None:
        """What comes from here on counts; ``seen`` holds only its end."""
        self.seen, self.explained = b"", 0
        self._stream, self._all = zlib.compressobj(1), b""

    def dataReceived(self, data: bytes) -> None:
        self._all += self._stream.compress(data)
        whole, end, self._tail = (self._tail + data).rpartition(b"\n")
        if whole:
            self.explained += whole.count(b"\n") + 1
            for notice in _NOTICE.finditer(whole + end):
                self.explained += int(notice[2]) - int(notice[1])
        self.seen = self.seen[-100:]
        self.looked()
        super().dataReceived(data)

    def answered(self) -> bool:
        """Whether the last that came is the answer to a ping."""
        return self.seen.endswith(b"-> pong\r\n")

    def lines(self) -> list[str]:
        """All that came, as whole lines."""
        return zlib.decompress(self._all + self._stream.flush()).decode().split("\r\n")[:-1]


class Stops:
    """Lets people stop and go on, at random places, as the *reference* gets on."""

    def __init__(self, reference: Listener, people: Sequence[Listener], random: Random) -> None:
        self._reference = reference
        steps: list[tuple[int, Listener, bool]] = []
        for number, person in enumerate(people):
            if number % 3:
                places = sorted(random.sample(range(LINES), 2 * random.randrange(1, 6)))
            else:
                places = [random.randrange(1000), random.randrange(15_000, LINES)]
            steps += [(place, person, bool(at % 2)) for at, place in enumerate(places)]
        self._steps = deque(sorted(steps, key=lambda step: step[0]))
        reference.looked = self._look

    def _look(self) -> None:
        while self._steps and self._steps[0][0] < self._reference.explained:
            _place, person, reads = self._steps.popleft()
            if reads:
                person.go_on()
            else:
                person.stop()


@ensureDeferred
async def test_every_line_is_received_or_in_a_gap_notice(programs: Programs, tmp_path: Path) -> None:
    random = Random(4)  # noqa: S311 -- where they stop is no secret
    data = tmp_path / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    people = [Listener(f"p{number}", programs.clock) for number in range(PEOPLE)]
    stopping = people[-STOPPING:]
    for person in people:
        await programs.connect(server.port, person, narrow=person in stopping)
    writers = [*people[1:WRITERS], stopping[0]]
    await everybody_has_come(people)
    for person in people:
        person.begin()
    Stops(people[0], stopping, random)

    for number in range(LINES):
        writers[number % WRITERS].say(f"line {number} {PADDING}")
    await people[0].when(lambda: people[0].explained == LINES)
    await everybody_has_come(people)

    with sqlite3.connect(data / "journal.sqlite") as journal:
        said = [f"{nick}: {text}" for nick, text in journal.execute("SELECT nick, text FROM events ORDER BY seq")]
    assert len(said) == len(set(said)) == LINES
    missed = [explain(person, said) for person in people]
    assert sum(missed[-STOPPING:]) > 0, "some were behind for too long"


async def everybody_has_come(people: Sequence[Listener]) -> None:
    """Wait until everybody has got what was told up to now: an answer keeps its place behind it."""
    for person in people:
        person.say("/ping")
    await gatherResults([person.when(person.answered) for person in people])


def explain(person: Listener, said: Sequence[str]) -> int:
    """Follow the stream of *person* line by line through all that was *said*; how much of it they missed."""
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
