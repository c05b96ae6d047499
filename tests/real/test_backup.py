"""The commands of docs/backup.rst that copy a journal, and those that salvage a damaged one, word for word."""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from shutil import copyfile

from pytest_twisted import ensureDeferred

from broadcast.journals.sqlite.database import fetch
from broadcast.journals.sqlite.record_tables import read_records
from tests.real.programs import Programs, Talker, found

KITCHEN = 5 << 40
"""The key of number 0 in the room with the id 5."""
DOCUMENT = (Path(__file__).parents[2] / "docs" / "backup.rst").read_text("utf-8")


def commands(about: str, home: Path) -> str:
    """Return the block with the text *about*, for a shell in the data folder, with *home* for /var/backups."""
    (block,) = [block for block in re.findall(r"::\n\n((?:    .*\n|\n)+)", DOCUMENT) if about in block]
    lines = [line for line in block.splitlines() if not re.match(r" +(systemctl|cd|mkdir) ", line)]
    return "\n".join(["set -e", *lines]).replace("/var/backups/", f"{home}/")


def stored(journal: Path) -> list[tuple[int, str]]:
    """Return the lines of *journal*, and check its integrity."""
    with closing(sqlite3.connect(journal)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return db.execute("SELECT seq, text FROM events ORDER BY seq").fetchall()


async def history(programs: Programs, data: Path, last: str) -> Talker:
    """Return a client of a new server on *data* that has been shown the line *last*."""
    server = await programs.server("--data", str(data))
    person = await programs.talker(server.port, "newcomer")
    await person.until(last)
    return person


@ensureDeferred
async def test_backup_made_while_people_talk_is_dense_and_usable(programs: Programs, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    ann.say(*(f"line {number}" for number in range(3000)))
    await bob.lines_seen(100)
    script = commands("backup /var/backups", tmp_path).replace("/var/lib/broadcast", str(data))
    backup = programs.run("/bin/sh", "-c", script.replace("broadcast-admin", f"{sys.executable} -m broadcast.admin"))
    assert await backup.end() == 0, backup.text()
    assert backup.text().endswith("The journal is intact.\n")
    ann.say("the last")
    await bob.until("ann: the last")
    copy = tmp_path / "copy.sqlite"
    lines = stored(copy)
    assert 100 <= len(lines) <= 3000
    assert lines == [(number + 1, f"line {number}") for number in range(len(lines))]
    assert copy.stat().st_mode & 0o077 == 0
    (tmp_path / "restored").mkdir()
    copyfile(copy, tmp_path / "restored" / "journal.sqlite")
    newcomer = await history(programs, tmp_path / "restored", f"ann: {lines[-1][1]}\r\n")
    newcomer.say("/receipts on", "and on")
    await newcomer.until(f"-> #{len(lines) + 1}\r\n")


@ensureDeferred
async def test_lines_before_and_after_the_damage_of_a_journal_are_salvaged(programs: Programs, tmp_path: Path) -> None:
    found("sqlite3")
    data, damaged = tmp_path / "data", tmp_path / "damaged"
    server = await programs.server("--data", str(data))
    await server.program.stop("TERM")
    with closing(sqlite3.connect(data / "journal.sqlite")) as db:
        rows = ((number, 1.7e9, "said", "ann", f"line {number}") for number in range(1, 3001))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, ?, ?, ?, ?)", rows)
        kitchen = ((KITCHEN | number, 1.7e9, "said", "ann", f"pot {number}", f"u{number}", 77) for number in (1, 2, 3))
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", kitchen)
        shared = ((KITCHEN | number, 1.7e9, "shared", "ann", f"{number}.txt", None, 77) for number in (4, 5))
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", shared)
        db.execute("INSERT INTO files VALUES (?, 'id', 3, 'text/plain', 'hash', 0, 0)", (KITCHEN | 4,))
        db.execute("INSERT INTO rooms VALUES (5, 'kitchen', 'lunch')")
        db.execute("INSERT INTO accounts VALUES (3, 'ann', 'hash', '', 1.0, 1.0, '', '', '')")
        db.execute("INSERT INTO private_lines VALUES (1, 1.0, 7, 'bob', 3, 'ann', 'psst', 0, 'message', '')")
        db.commit()
        page = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged.mkdir()
    with (data / "journal.sqlite").open("r+b") as file:
        file.seek(-10 * page, 2)  # in the midst of the lines, which fill the file
        file.write(b"\xff" * page)
    again = await programs.server("--data", str(tmp_path / "new"))  # as the block says
    await again.program.stop("TERM")
    new = tmp_path / "new" / "journal.sqlite"
    (data / "journal.sqlite").rename(damaged / "journal.sqlite")
    salvage = programs.run("/bin/sh", "-c", f"cd {new.parent}\n{commands('row_number', tmp_path)}")
    assert await salvage.end() == 0, salvage.text()
    *lines, first, second, third, fourth, fifth = stored(new)
    assert [first, second, third] == [(KITCHEN | number, f"pot {number}") for number in (1, 2, 3)]
    assert [fourth, fifth] == [(KITCHEN | number, f"{number}.txt") for number in (4, 5)]
    with closing(sqlite3.connect(new)) as db:
        assert db.execute("SELECT * FROM rooms").fetchall() == [(0, "lobby", ""), (5, "kitchen", "lunch")]
        assert db.execute("SELECT upto FROM indexed").fetchall() == [(0,), (KITCHEN,)]
        assert [type(event).__name__ for event in fetch(db, 5, 4, 5)] == ["Shared", "Message"]
        records = read_records(db)
        assert [account.name for account in records.accounts] == ["ann"]
        assert records.next_account == 1008
        assert [[*senders.values()] for senders in records.waiting.values()] == [[7]]
        assert [*records.waiting] == [3]
    assert [seq for seq, _text in lines] == list(range(1, len(lines) + 1))
    texts = [text for _seq, text in lines]
    assert (texts[0], texts[-1]) == ("line 1", "line 3000")
    assert 2500 < len(texts) < 3000
    await history(programs, new.parent, "ann: line 3000\r\n")
