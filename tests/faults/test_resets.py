"""A thousand connections break at once: every one of them leaves, once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from pytest_twisted import ensureDeferred

from tests.faults.crowds import Crowd, need_files
from tests.real.programs import Programs

PEOPLE = 1000
NOTICES = PEOPLE // 5
"""More lines than this would not be told together."""


@ensureDeferred
async def test_thousand_resets_at_once_are_shown_as_numbers_and_logged_once(
    programs: Programs, crowd: Callable[[int], Crowd]
) -> None:
    need_files(PEOPLE)
    server = await programs.server("--ephemeral")
    ann = await programs.talker(server.port, "ann")
    people = crowd(server.port)
    await people.come("p", PEOPLE)
    for number, person in enumerate(people.sockets):
        if number % 3 == 0:
            person.send(b"/names\nunfinished")
    ann.say("/ping")
    await ann.until("-> pong\r\n")
    seen = len(ann.text())

    people.reset()
    await server.program.when(lambda: len(left(server.program.text())) == PEOPLE)
    ann.say("/names", "/ping", "still here")
    await ann.when(lambda: ann.text().endswith("-> pong\n"))

    told = ann.text()[seen:]
    assert "-> 1 here: ann\n" in told
    one_by_one = re.findall(r"^ \* (p\d+) left: connection lost$", told, re.MULTILINE)
    together = [int(count) for count in re.findall(r"^ \* (\d+) people left\.$", told, re.MULTILINE)]
    assert len(one_by_one) + sum(together) == PEOPLE
    assert len(set(one_by_one)) == len(one_by_one)
    assert len(one_by_one) + len(together) <= NOTICES
    assert set(Counter(left(server.program.text())).values()) == {1}
    assert "Traceback" not in server.program.text()


def left(log: str) -> list[str]:
    """Who left because their connection was lost."""
    return re.findall(r"(p\d+) left: connection lost \(", log)
