"""A journal is read as it is at one moment, and a server that starts meanwhile is noticed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broadcast.admin.database import SqliteReader, open_to_read
from broadcast.admin.reading import ROWS
from broadcast.admin.status import AdminError
from broadcast.core.errors import JournalDamaged
from tests.admin.conftest import Run
from tests.admin.journals import Writer
from tests.harness import NOON


def add_lines(path: Path, first: int, last: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        rows = ((number, NOON, "said", "ann", "x") for number in range(first, last + 1))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()


def test_a_server_that_starts_meanwhile_is_reported(folder: Path) -> None:
    path = folder / "journal.sqlite"
    with pytest.raises(AdminError, match="a server was started meanwhile"), open_to_read(path):
        add_lines(path, 4, 4)


def test_lines_that_are_added_meanwhile_are_left_out(used_folder: Path) -> None:
    path = used_folder / "journal.sqlite"
    add_lines(path, 4, 2 * ROWS)
    with open_to_read(path) as db:
        journal = SqliteReader(db)
        parts = journal.lines(journal.rooms()[0])
        numbers = [line.seq for line in next(parts)]
        add_lines(path, 2 * ROWS + 1, 3 * ROWS)
        numbers += [line.seq for part in parts for line in part]
    assert numbers == [*range(1, 2 * ROWS + 1)]


def test_a_journal_whose_server_was_killed_is_read_with_its_newest_lines(run: Run, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "live")
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    writer.journal.close()
    assert (tmp_path / "killed" / "journal.sqlite-wal").stat().st_size
    assert run("export", data=tmp_path / "killed") == run("export")
    assert run("verify", data=tmp_path / "killed").status == 0


def test_errors_of_the_output_are_not_taken_for_errors_of_the_journal(folder: Path) -> None:
    path = folder / "journal.sqlite"
    with pytest.raises(BrokenPipeError), open_to_read(path):
        raise BrokenPipeError
    with pytest.raises(JournalDamaged), open_to_read(path) as db:
        db.execute("SELECT * FROM missing")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root can read everything")
def test_a_folder_that_cannot_be_read_is_reported(run: Run, folder: Path) -> None:
    folder.chmod(0)
    try:
        ended = run("accounts")
    finally:
        folder.chmod(0o700)
    assert ended.status == 3
    assert "run this command as the user of the server, or as root" in ended.error


def test_an_empty_log_that_cannot_be_used_is_no_obstacle(run: Run, folder: Path) -> None:
    expected = run("export")
    (folder / "journal.sqlite-wal").touch()
    (folder / "journal.sqlite-shm").mkdir()  # as on a full disk or a read-only file system, SQLite cannot use this file
    assert run("export") == expected
    (folder / "journal.sqlite-wal").write_bytes(b"x" * 100)
    assert run("export").status == 3
