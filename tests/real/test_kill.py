"""The server is killed in mid-burst: what anybody has seen, and every receipt, is kept."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from random import Random

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs, Talker

MOMENTS = 200 if os.environ.get("BROADCAST_LONG") else 6
PEOPLE = 3


@pytest.mark.parametrize("seed", range(MOMENTS))
@ensureDeferred
async def test_every_line_that_was_seen_survives_a_kill_at_any_moment(
    programs: Programs, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- when to kill is no secret
    data = tmp_path / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    people = [await programs.talker(server.port, f"p{number}") for number in range(PEOPLE)]
    for person in people:
        person.say("/receipts on")
        for number in range(2000):
            person.say(f"line {number} of {person.nick}")
    # Some of it has come back when the end comes, and most of it is on its way.
    await people[random.randrange(PEOPLE)].lines_seen(random.randrange(1, 1500))
    await server.program.stop("KILL")
    for person in people:
        await person.lost

    again = await programs.server("--data", str(data))
    newcomer = await programs.talker(again.port, "newcomer")
    newcomer.say("/history #1-#1000")
    await newcomer.until("-> #1 ")
    with sqlite3.connect(data / "journal.sqlite") as journal:
        kept = journal.execute("SELECT seq, nick, text FROM events ORDER BY seq").fetchall()
    assert [seq for seq, _nick, _text in kept] == list(range(1, len(kept) + 1))
    said = [f"{nick}: {text}" for _seq, nick, text in kept]
    assert len(set(said)) == len(said), "none is kept twice"
    for person in people:
        check(person, said)


def check(person: Talker, said: list[str]) -> None:
    """Everything that *person* saw is among what was *said*, in that order; their receipts name their own lines."""
    lines = person.whole_lines()
    seen = [line for line in lines if re.match(r"p\d+: line ", line)]
    others = [line for line in said if not line.startswith(f"{person.nick}: ")]
    assert seen == others[: len(seen)]
    receipts = [int(line[4:]) for line in lines if re.fullmatch(r"-> #\d+", line)]
    own = [number for number, line in enumerate(said, 1) if line.startswith(f"{person.nick}: ")]
    assert receipts == own[: len(receipts)]
