"""A journal that is corrupt, or becomes so while the server runs: it is never trusted, and never replaced."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest
from pytest_twisted import ensureDeferred

from broadcast.journals.sqlite.database import prepare
from tests.real.programs import TWISTD, Programs, Talker

SEEDS = 60 if os.environ.get("BROADCAST_LONG") else 2
LINES = 3000
"""What was said before: some hundred pages."""
HITS = 40
"""So many places are overwritten each time."""
SAID = 10
"""So many lines are said after each time."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of many lines, not open."""
    path = tmp_path / "data" / "journal.sqlite"
    path.parent.mkdir(mode=0o700)
    db, _, _ = prepare(path, 0)
    with closing(db):
        db.execute("BEGIN")
        rows = ((seq, 1.5, "said", "bob", f"old line {seq} {'x' * 150}") for seq in range(1, LINES + 1))
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    return path


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change the file as a failing disk would, with nobody being told."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"hello" * 1000),
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "its newest lines overwritten": lambda path: overwrite(path, path.stat().st_size - 8192, b"\xff" * 8192),
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("damage", DAMAGE)
@ensureDeferred
async def test_damaged_journal_is_rejected_at_the_start_and_not_changed(
    programs: Programs, journal: Path, damage: str
) -> None:
    DAMAGE[damage](journal)
    before = journal.read_bytes()
    await refuses(programs, journal)
    assert journal.read_bytes() == before


async def refuses(programs: Programs, journal: Path) -> None:
    """The server does not start, and says why in one line."""
    program = programs.run(TWISTD, "-n", "--pidfile=", "broadcast", "--port", "0", "--data", str(journal.parent))
    assert await program.end() == 1
    complaint = [line for line in program.text().splitlines() if line.startswith("broadcast: ")]
    assert len(complaint) == 1
    assert str(journal) in complaint[0]
    assert "restore it from a backup" in complaint[0]


@pytest.mark.parametrize("seed", range(SEEDS))
@ensureDeferred
async def test_no_line_is_shown_that_is_not_on_disk_while_damage_is_done(
    programs: Programs, journal: Path, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- where a disk fails is no secret
    server = await programs.server("--data", str(journal.parent), "--limits", "off")
    ann, bob = [await programs.talker(server.port, nick) for nick in ("ann", "bob")]
    ann.say("/receipts on")
    await ann.until("-> receipts are on.\r\n")
    shown: list[str] = []

    async def talk(about: str) -> None:
        for number in range(SAID):
            line = f"{about}-{seed}-{number}-{random.getrandbits(64):x}"
            if await is_kept(ann, line):
                await bob.until(f"ann: {line}\r\n")
                shown.append(line)
                assert on_disk(journal, line)

    await talk("sound")
    assert len(shown) == SAID
    for time in range(3):
        for _ in range(HITS):
            length = random.choice((1, 100, 4096, 8192))
            data = random.choice((b"\0" * length, b"\xff" * length, random.randbytes(length)))
            overwrite(journal, random.randrange(100, journal.stat().st_size - length), data)
        if time == 1:
            # A fault that passes: the server connects again, and looks at the file anew.
            with closing(sqlite3.connect(journal, isolation_level=None)) as other, suppress(sqlite3.DatabaseError):
                other.execute("BEGIN IMMEDIATE")
                assert not await is_kept(ann, "while it is locked")
        await talk(f"damaged-{time}")
        bob.say("/history #1-#100", "/search old", "/ping")
        await bob.until("-> pong\r\n")
        bob.seen = bob.seen.replace(b"-> pong\r\n", b"")

    assert re.findall(r"^ann: (.*)$", bob.text(), re.MULTILINE) == shown
    assert "Traceback" not in server.program.text()
    spared = [line for line in shown if on_disk(journal, line)]
    await server.program.stop("TERM")
    assert all(on_disk(journal, line) for line in spared)

    # Afterwards it is either as good as it was, or refused; never begun anew.
    again = programs.run(TWISTD, "-n", "--pidfile=", "broadcast", "--port", "0", "--data", str(journal.parent))
    await again.when(lambda: b"Listening on " in again.output or b"broadcast: " in again.output)
    if b"Listening on " in again.output:
        with closing(sqlite3.connect(journal)) as db:
            assert db.execute("SELECT max(seq) FROM events").fetchone() == (LINES + len(shown),)
    else:
        await refuses(programs, journal)


async def is_kept(ann: Talker, line: str) -> bool:
    """Let *ann* say *line*: whether she got a receipt for it."""
    before = len(ann.whole_lines())
    ann.say(line)
    await ann.when(lambda: any(map(is_answer, ann.whole_lines()[before:])))
    return any(answer.startswith("-> #") for answer in ann.whole_lines()[before:])


def is_answer(line: str) -> bool:
    """Whether *line* says what became of one."""
    return line.startswith(("-> #", "-> Error: not kept: "))


def on_disk(journal: Path, text: str) -> bool:
    """Whether *text* is in the files of the journal, wherever."""
    log = journal.with_name(f"{journal.name}-wal")
    files = [path.read_bytes() for path in (journal, log) if path.exists()]
    return any(text.encode() in data for data in files)
