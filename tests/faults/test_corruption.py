"""A journal that is corrupt, or becomes so while the server runs: the server never replaces it."""

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

from broadcast.journals.sqlite.opening import open_database
from tests.real.programs import Programs, Talker

SEEDS = 60 if os.environ.get("BROADCAST_LONG") else 2
LINES = 3000
"""Number of earlier lines: some hundred pages."""
OVERWRITES = 40
"""Number of places that are overwritten each time."""
SAID = 10
"""Number of lines that are said after each time."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of many lines, not open."""
    path = tmp_path / "data" / "journal.sqlite"
    path.parent.mkdir(mode=0o700)
    db = open_database(path, 0).db
    with closing(db):
        db.execute("BEGIN")
        rows = ((seq, 1.5, "said", "bob", f"old line {seq} {'x' * 150}") for seq in range(1, LINES + 1))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    return path


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change the file as a failing disk would, without an error."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"hello" * 1000),
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "the newest lines are overwritten": lambda path: overwrite(path, path.stat().st_size - 8192, b"\xff" * 8192),
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("damage", DAMAGE)
@ensureDeferred
async def test_damaged_journal_is_rejected_at_the_start_and_not_changed(
    programs: Programs, journal: Path, damage: str
) -> None:
    DAMAGE[damage](journal)
    before = journal.read_bytes()
    await check_rejected(programs, journal)
    assert journal.read_bytes() == before


async def check_rejected(programs: Programs, journal: Path) -> None:
    """Check that the server does not start, and says why in one line."""
    program = programs.start("--data", str(journal.parent))
    assert await program.end() == 1
    (error,) = [line for line in program.text().splitlines() if line.startswith("broadcast: ")]
    assert str(journal) in error
    assert "restore it from a backup" in error


@pytest.mark.parametrize("seed", range(SEEDS))
@ensureDeferred
async def test_no_line_is_shown_that_is_not_on_disk_while_damage_is_done(
    programs: Programs, journal: Path, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- where a disk fails is no secret
    server = await programs.server("--data", str(journal.parent), "--limits", "off")
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    ann.say("/receipts on")
    await ann.until("-> receipts are on.\r\n")
    shown: list[str] = []

    async def talk(about: str) -> None:
        for number in range(SAID):
            line = f"{about}-{seed}-{number}-{random.getrandbits(64):x}"
            if await is_stored(ann, line):
                await bob.until(f"ann: {line}\r\n")
                shown.append(line)
                assert on_disk(journal, line)

    await talk("sound")
    assert len(shown) == SAID
    for time in range(3):
        for _ in range(OVERWRITES):
            length = random.choice((1, 100, 4096, 8192))
            data = random.choice((b"\0" * length, b"\xff" * length, random.randbytes(length)))
            overwrite(journal, random.randrange(100, journal.stat().st_size - length), data)
        if time == 1:
            # After a passing fault, the server connects again and reads the file anew.
            with closing(sqlite3.connect(journal, isolation_level=None)) as other, suppress(sqlite3.DatabaseError):
                other.execute("BEGIN IMMEDIATE")
                assert not await is_stored(ann, "while it is locked")
        await talk(f"damaged-{time}")
        bob.say("/history #1-#100", "/search old", "/ping")
        await bob.until("-> pong\r\n")
        bob.seen = bob.seen.replace(b"-> pong\r\n", b"")

    assert re.findall(r"^ann: (.*)$", bob.text(), re.MULTILINE) == shown
    assert "Traceback" not in server.program.text()
    undamaged = [line for line in shown if on_disk(journal, line)]
    await server.program.stop("TERM")
    assert all(on_disk(journal, line) for line in undamaged)

    # A restarted server either has all lines or rejects the journal; it never begins a new one.
    again = programs.start("--data", str(journal.parent))
    await again.when(lambda: b"Listening on " in again.output or b"broadcast: " in again.output)
    if b"Listening on " in again.output:
        with closing(sqlite3.connect(journal)) as db:
            assert db.execute("SELECT max(seq) FROM events").fetchone() == (LINES + len(shown),)
    else:
        await check_rejected(programs, journal)


async def is_stored(ann: Talker, line: str) -> bool:
    """Let *ann* say *line*. Return whether she gets a receipt."""
    before = len(ann.whole_lines())
    ann.say(line)

    def answers() -> list[str]:
        return [line for line in ann.whole_lines()[before:] if line.startswith(("-> #", "-> Error: not kept: "))]

    await ann.when(lambda: bool(answers()))
    return answers()[0].startswith("-> #")


def on_disk(journal: Path, text: str) -> bool:
    """Return whether *text* is anywhere in the files of the journal."""
    log = journal.with_name(f"{journal.name}-wal")
    files = [path.read_bytes() for path in (journal, log) if path.exists()]
    return any(text.encode() in data for data in files)
