"""A thousand connections are reset at once: each client leaves once."""

from __future__ import annotations

import re

from pytest_twisted import ensureDeferred

from tests.faults.processes import need_files
from tests.real.programs import Programs

PEOPLE = 1000
MOST_NOTICES = PEOPLE // 5
"""More notices would mean that the server does not count leaves."""


@ensureDeferred
async def test_thousand_resets_at_once_are_shown_as_numbers_and_logged_once(programs: Programs) -> None:
    need_files(PEOPLE)
    server = await programs.server("--ephemeral")
    ann = await programs.talker(server.port, "ann")
    people = await programs.talkers(server.port, *(f"p{number}" for number in range(PEOPLE)))
    for person in people[::3]:
        person.tcp.write(b"/names\nunfinished")
    ann.say("/ping")
    await ann.until("-> pong\r\n")
    seen = len(ann.text())

    for person in people:
        person.tcp.abortConnection()
    await ann.when(lambda: sum(left(ann.text()[seen:])) == PEOPLE)
    ann.say("/names", "/ping", "still here")
    await ann.when(lambda: ann.text().endswith("-> pong\n"))

    shown = ann.text()[seen:]
    assert "-> 1 here: ann\n" in shown
    counts = left(shown)
    assert sum(counts) == PEOPLE
    assert len(counts) <= MOST_NOTICES
    named = re.findall(r"^ \* (p\d+) left: connection lost$", shown, re.MULTILINE)
    assert len(set(named)) == len(named)
    ann.say("quit")
    await ann.lost
    await server.program.stop("TERM")
    log = server.program.text()
    named = re.findall(r"(p\d+) left: connection lost \(", log)
    gathered = sum(map(int, re.findall(r"(\d+) leaves? from 127\.0\.0\.1", log)))
    assert len(set(named)) == len(named)
    assert len(named) + gathered + log.count("ann left (") == PEOPLE + 1
    assert "Traceback" not in log


def left(shown: str) -> list[int]:
    """Return the number of people of each notice that says who has left."""
    return [int(number or 1) for number in re.findall(r"^ \* (?:(\d+) people|p\d+) left[.:]", shown, re.MULTILINE)]
