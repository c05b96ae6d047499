"""A thousand connections are reset at once: each client leaves once."""

from __future__ import annotations

import re
from collections import Counter

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
    await server.program.when(lambda: len(left(server.program.text())) == PEOPLE)
    ann.say("/names", "/ping", "still here")
    await ann.when(lambda: ann.text().endswith("-> pong\n"))

    shown = ann.text()[seen:]
    assert "-> 1 here: ann\n" in shown
    one_by_one = re.findall(r"^ \* (p\d+) left: connection lost$", shown, re.MULTILINE)
    together = [int(count) for count in re.findall(r"^ \* (\d+) people left\.$", shown, re.MULTILINE)]
    assert len(one_by_one) + sum(together) == PEOPLE
    assert len(set(one_by_one)) == len(one_by_one)
    assert len(one_by_one) + len(together) <= MOST_NOTICES
    assert set(Counter(left(server.program.text())).values()) == {1}
    assert "Traceback" not in server.program.text()


def left(log: str) -> list[str]:
    """Return the nicknames that have left because their connection was lost."""
    return re.findall(r"(p\d+) left: connection lost \(", log)
