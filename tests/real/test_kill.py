"""The server is killed while clients talk: every line that was seen, or has a receipt, is stored."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
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
    people = await programs.talkers(server.port, *(f"p{number}" for number in range(PEOPLE)))
    for person in people:
        person.say("/receipts on", *(f"line {number} of {person.nick}" for number in range(2000)))
    # Some lines have been delivered when the end comes, and most are on their way.
    await people[random.randrange(PEOPLE)].lines_seen(random.randrange(1, 1500))
    await server.program.stop("KILL")
    for person in people:
        await person.lost

    again = await programs.server("--data", str(data))
    newcomer = await programs.talker(again.port, "newcomer")
    newcomer.say("/history #1-#1000")
    await newcomer.until("-> #1 ")
    check_stored(data, people)


def check_stored(data: Path, people: Sequence[Talker]) -> list[str]:
    """Return the stored lines, and check that *people* saw them in order and that receipts name their own lines."""
    with closing(sqlite3.connect(data / "journal.sqlite")) as journal:
        rows = journal.execute("SELECT seq, nick, text FROM events ORDER BY seq").fetchall()
    assert [seq for seq, _nick, _text in rows] == list(range(1, len(rows) + 1))
    said = [f"{nick}: {text}" for _seq, nick, text in rows]
    assert len(set(said)) == len(said), "no line is stored twice"
    for person in people:
        lines = person.whole_lines()
        seen = [line for line in lines if re.match(r"p\d+: line ", line)]
        others = [line for line in said if not line.startswith(f"{person.nick}: ")]
        assert seen == others[: len(seen)]
        receipts = [int(line[4:]) for line in lines if re.fullmatch(r"-> #\d+", line)]
        own = [number for number, line in enumerate(said, 1) if line.startswith(f"{person.nick}: ")]
        assert receipts == own[: len(receipts)]
    return said
